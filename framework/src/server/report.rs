//! What a server that runs says of itself: its listeners and what they have counted, who is connected, how far a stop is.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use futures_util::future::join_all;

use crate::address::Endpoint;
use crate::connection::{Connection, ControlSignal, Kind, Rejection};
use crate::drain::Phase;
use crate::metrics::{AcceptErrorClass, Latency, Outcome};
use crate::reason::CloseReason;
use crate::server::listener::ListenerHandle;
use crate::server::running::Running;

/// One listener at one moment. Counts begin with the process, and go on over reloads.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ListenerReport {
    /// Its name.
    pub name: String,
    /// Where it listens, with the port that the system chose.
    pub endpoint: Endpoint,
    /// Whether it brings connections or datagrams.
    pub kind: Kind,
    /// What it does.
    pub state: ListenerStatus,
    /// Connections that are open.
    pub open: usize,
    /// Datagram peers that are remembered.
    pub sessions: usize,
    /// Connections that were let in.
    pub accepted: u64,
    /// Connections that were closed, by why.
    pub closed: Vec<(CloseReason, u64)>,
    /// Connections that were not let in, by why.
    pub rejected: Vec<(CloseReason, u64)>,
    /// Messages, by how they ended.
    pub messages: Vec<(Outcome, u64)>,
    /// How long handled messages took, from the read that brought one until its answer was written.
    pub latency: Latency,
    /// Bytes that came: framing counts, TLS does not.
    pub bytes_in: u64,
    /// Bytes that went, likewise.
    pub bytes_out: u64,
    /// Errors of accept, by what they were about.
    pub accept_errors: Vec<(&'static str, u64)>,
}

/// What a listener does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenerStatus {
    /// It listens.
    Listening,
    /// It is broken, and is being bound again.
    Down,
    /// It listens no more, and whoever is there finishes.
    Draining,
    /// Its transport says that nobody will come any more.
    Ended,
}

impl ListenerStatus {
    /// The name in reports, fixed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Listening => "listening",
            Self::Down => "down",
            Self::Draining => "draining",
            Self::Ended => "ended",
        }
    }
}

impl Running {
    /// What every listener does and has counted, by name. One that a reload has stopped is there until the last connection has
    /// left; one that has moved to another address is one.
    ///
    /// ```
    /// use switchboard::prelude::*;
    /// use switchboard::transport::memory;
    /// use tokio::io::{AsyncReadExt, AsyncWriteExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// let echo = handler_fn(|_: Context, message: Bytes| async move { Ok(Reply::send(message)) });
    /// let running = Server::bind("mem:report").start(echo).await?;
    /// let mut client = memory::connect("report").await?;
    /// client.write_all(b"hi").await?;
    /// client.read_exact(&mut [0; 2]).await?;
    /// let report = running.report();
    /// assert_eq!((&*report[0].name, report[0].open, report[0].bytes_in), ("main", 1, 2));
    /// # Ok(())
    /// # }
    /// ```
    pub fn report(&self) -> Vec<ListenerReport> {
        let mut reports: BTreeMap<String, ListenerReport> = BTreeMap::new();
        let is_draining = *self.draining.borrow();
        for listener in self.all_listeners() {
            match reports.get_mut(&listener.spec.name) {
                // They count together; only who is there is told apart.
                Some(report) => {
                    report.open += listener.open();
                    report.accepted += listener.count().entered as u64;
                    listener.table().with_open(|there| add_open(report, there));
                }
                None => drop(reports.insert(listener.spec.name.clone(), report(&listener, is_draining))),
            }
        }
        reports.into_values().collect()
    }

    /// Everybody who is connected; not the peers of datagram sockets.
    pub fn connections(&self) -> Vec<Connection> {
        let listeners = self.all_listeners();
        let of = |listener: &ListenerHandle| listener.table().with_open(|there| there.cloned().collect::<Vec<_>>());
        listeners.iter().flat_map(of).collect()
    }

    /// Closes one connection at once, by its [number](Connection::id); false if nobody has that number.
    pub fn kill(&self, id: u64) -> bool {
        let found = self.all_listeners().iter().find_map(|listener| listener.table().get(id));
        found.is_some_and(|connection| {
            connection.signal(ControlSignal::Kill);
            true
        })
    }

    /// How far a stop is. It is still `Running` while the stop is [announced](Self::is_ready).
    pub fn phase(&self) -> Phase {
        self.state().listeners.iter().map(ListenerHandle::phase).max_by_key(how_far).unwrap_or(Phase::Running)
    }

    /// Whether a stop has begun, if only by its announcement.
    pub fn is_stopping(&self) -> bool {
        *self.draining.borrow()
    }

    /// Waits until every listener has shown that it still does its work: its task has gone round once more. One that is being
    /// bound again, or whose thread is held up, shows nothing, so this is best awaited for a bounded time. For a watchdog.
    ///
    /// ```
    /// use switchboard::prelude::*;
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// let echo = handler_fn(|_: Context, message: Bytes| async move { Ok(Reply::send(message)) });
    /// let running = Server::bind("mem:answers").start(echo).await?;
    /// assert!(tokio::time::timeout(Duration::from_secs(5), running.answers()).await.is_ok());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn heartbeat(&self) {
        let listeners = self.state().listeners.clone();
        join_all(listeners.iter().map(ListenerHandle::heartbeat)).await;
    }

    /// Whether everybody who comes is served: it is not [draining](Self::drain), which is announced before listeners close, and
    /// every listener listens. Else a sentence that says why not.
    pub fn is_ready(&self) -> Result<(), String> {
        if *self.draining.borrow() {
            return Err("draining".to_owned());
        }
        let down: Vec<String> = self
            .report()
            .into_iter()
            .filter(|report| matches!(report.state, ListenerStatus::Down | ListenerStatus::Ended))
            .map(|report| format!("listener {} is {}", report.name, report.state.as_str()))
            .collect();
        if down.is_empty() { Ok(()) } else { Err(down.join(", ")) }
    }
}

fn how_far(phase: &Phase) -> u8 {
    match phase {
        Phase::Running => 0,
        Phase::Draining { .. } => 1,
        Phase::Cutting => 2,
    }
}

fn report(listener: &ListenerHandle, is_draining: bool) -> ListenerReport {
    let metrics = listener.metrics();
    let latency = metrics.latency.read();
    let mut failed = metrics.failed.counts();
    failed[Outcome::Ok as usize] = latency.count;
    let rejected = metrics.rejected.counts();
    let mut report = ListenerReport {
        name: listener.spec.name.clone(),
        endpoint: listener.endpoint.clone(),
        kind: listener.kind(),
        state: match listener.phase() {
            Phase::Running if listener.is_open() => ListenerStatus::Listening,
            Phase::Running if listener.is_over() => ListenerStatus::Ended,
            Phase::Running => ListenerStatus::Down,
            _ => ListenerStatus::Draining,
        },
        open: 0,
        sessions: metrics.sessions.load(Relaxed),
        accepted: 0,
        closed: Vec::new(),
        rejected: Rejection::REASONS.map(|reason| (reason, rejected[reason as usize])).into(),
        messages: named(Outcome::ALL, failed),
        latency,
        bytes_in: 0,
        bytes_out: 0,
        accept_errors: named(AcceptErrorClass::ALL.map(AcceptErrorClass::as_str), metrics.accept_errors.counts()),
    };
    if is_draining {
        report.state = ListenerStatus::Draining;
    }
    // Who leaves meanwhile is counted here or there, never both.
    listener.table().with_open(|there| {
        report.closed = named(CloseReason::ALL, metrics.closed.counts());
        report.bytes_in = metrics.bytes_in.load(Relaxed);
        report.bytes_out = metrics.bytes_out.load(Relaxed);
        add_open(&mut report, there);
    });
    (report.open, report.accepted) = (listener.open(), listener.count().entered as u64);
    report
}

fn add_open(report: &mut ListenerReport, there: &mut dyn Iterator<Item = &Connection>) {
    for connection in there {
        report.bytes_in += connection.bytes_in();
        report.bytes_out += connection.bytes_out();
    }
}

fn named<T: Copy, const N: usize>(names: [T; N], counts: [u64; N]) -> Vec<(T, u64)> {
    names.into_iter().zip(counts).collect()
}
