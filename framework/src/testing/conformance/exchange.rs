//! One run with datagrams: what was sent, and which replies came.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{advance, sleep};

use crate::metrics::Outcome;
use crate::script::{Action, Data, Step};
use crate::testing::conformance::record::{Disturbance, Record};
use crate::testing::conformance::session::{Event, Fault, PATIENCE, TICK, WINDOW};
use crate::testing::conformance::subject::Subject;
use crate::testing::conformance::tasks::{alive_tasks, left_after_stop};
use crate::testing::datagram::DatagramPeer;

/// What a run does.
#[derive(Debug, Clone)]
pub(super) enum Sent {
    /// The peer with this number sends a datagram. Nothing is awaited.
    Datagram(usize, Bytes),
    /// All replies are awaited.
    Settle,
    /// The process is stopped for this long, with everything that was sent.
    Jump(Duration),
    /// The server drains.
    Drain,
}

/// The replies of one run.
#[derive(Debug)]
pub(super) struct Exchange {
    /// The replies to each peer that came after each step.
    pub(super) replies: Vec<Vec<Vec<Vec<u8>>>>,
    pub(super) panics: u64,
    pub(super) cut: usize,
    pub(super) left_tasks: usize,
    pub(super) left_after_stop: usize,
    pub(super) slowest: Duration,
    pub(super) polls: Vec<usize>,
    pub(super) events: Vec<Event>,
}

impl Exchange {
    /// All replies to a peer.
    pub(super) fn all(&self, peer: usize) -> Vec<Vec<u8>> {
        self.replies.iter().flat_map(|step| step[peer].clone()).collect()
    }

    /// A fault of this run.
    pub(super) fn fault(&self, peer: usize, what: impl Into<String>, expected: &[Vec<u8>]) -> Fault {
        let (what, expected) = (what.into(), Some(expected.concat()));
        Fault { what, client: peer, expected, reason: None, events: self.events.clone() }
    }
}

/// Runs these steps with a new server. One more peer sends nothing and must receive nothing.
pub(super) async fn exchange(subject: &dyn Subject, peers: usize, steps: &[Sent]) -> Result<Exchange, Fault> {
    let record = Record::new(Disturbance::default());
    let server = subject.start(record.clone(), WINDOW).await;
    sleep(TICK).await;
    let tasks = alive_tasks();
    let address = |number: usize| {
        let host = u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes();
        SocketAddr::from((Ipv4Addr::new(192, 0, host[0], host[1]), 4000))
    };
    let mut all: Vec<_> = (0..=peers).map(|number| server.datagram_peer(address(number))).collect();
    let (mut replies, mut events, mut slowest) = (Vec::new(), Vec::new(), Duration::ZERO);
    let mut drained = None;
    for step in steps.iter().chain([&Sent::Settle]) {
        match step {
            Sent::Datagram(peer, bytes) => {
                events.push(Event::Step(Step::Peer(*peer, Action::Send(Data::from(bytes)))));
                all[*peer].send(bytes).await;
            }
            Sent::Settle => {
                slowest = slowest.max(settle(&record).await);
                events.push(Event::Step(Step::Wait(TICK)));
            }
            Sent::Jump(time) => {
                events.push(Event::Note(format!("the process is stopped for {} s", time.as_secs())));
                advance(*time).await;
            }
            Sent::Drain => {
                events.push(Event::Note("the server drains".to_owned()));
                drained = Some(server.drain().await);
            }
        }
        replies.push(all.iter().map(|peer| received(subject, peer)).collect());
    }
    let report = server.report();
    let panics = report.iter().flat_map(|listener| &listener.messages);
    let panics = panics.filter(|(outcome, _)| *outcome == Outcome::Panic).map(|(_, count)| count).sum();
    let left_tasks = if drained.is_some() { 0 } else { alive_tasks().saturating_sub(tasks) };
    let drained = match drained {
        Some(drained) => drained,
        None => server.drain().await,
    };
    drop((server, all));
    let polls = record.first_calls().polls;
    let (cut, left_after_stop) = (drained.cut, left_after_stop().await);
    let exchange = Exchange { replies, panics, cut, left_tasks, left_after_stop, slowest, polls, events };
    if drained.stop_failures > 0 {
        return Err(exchange.fault(0, "stop of the handler failed or did not end", &[]));
    }
    if !exchange.all(peers).is_empty() {
        return Err(exchange.fault(peers, "a peer that has sent nothing got a datagram", &[]));
    }
    Ok(exchange)
}

/// Waits until no call is in progress. Returns how long it took.
async fn settle(record: &Record) -> Duration {
    let (mut step, mut waited) = (TICK, Duration::ZERO);
    loop {
        sleep(step).await;
        waited += step;
        if record.running() == 0 || waited >= PATIENCE {
            return waited;
        }
        step = (step * 2).min(Duration::from_secs(1));
    }
}

fn received(subject: &dyn Subject, peer: &DatagramPeer) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| peer.try_next()).map(|datagram| subject.normalise(&datagram)).collect()
}
