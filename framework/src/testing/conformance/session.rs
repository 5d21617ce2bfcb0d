//! One run: a server, its clients, and what happened. Time is paused, so a step ends when the server waits.

use std::cell::Cell;
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::address::Address;
use crate::close_reason::CloseReason;
use crate::connection::Connection;
use crate::script::{Action, Data, Step};
use crate::server::Drained;
use crate::testing::conformance::record::{CallRecord, Disturbance, Record};
use crate::testing::conformance::subject::Subject;
use crate::testing::conformance::tasks::alive_tasks;
use crate::testing::pipe::{Pipe, Received};
use crate::testing::server::Running;

/// The bytes that one read or write transfers, unless a law says otherwise.
pub(super) const WINDOW: usize = 64 * 1024;
/// The shortest step: the resolution of the timer.
pub(super) const TICK: Duration = Duration::from_millis(1);
/// The longest step while something is in progress.
const MAX_STEP: Duration = Duration::from_secs(1);
/// How long a call may take, and how long a client waits for its close. Of paused time.
pub(super) const PATIENCE: Duration = Duration::from_secs(3600);
/// How long a message may wait in a layer before it counts as answered by the layer.
const LAYER_PATIENCE: Duration = Duration::from_secs(20);

/// How often every task that is ready gets a turn, for everything that is ready to be done.
const TURNS: usize = 32;

/// What the run has done, for the script of a failure.
#[derive(Debug, Clone)]
pub(super) enum Event {
    Step(Step),
    Note(String),
}

/// A rule that does not hold, with the client that it concerns.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) what: String,
    pub(super) client: usize,
    /// What the client should have received.
    pub(super) expected: Option<Vec<u8>>,
    pub(super) reason: Option<CloseReason>,
    pub(super) events: Vec<Event>,
}

/// How one client fared.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    /// The replies, normalised.
    pub(super) frames: Vec<Vec<u8>>,
    pub(super) reason: CloseReason,
    pub(super) calls: CallRecord,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    pub(super) clients: Vec<Outcome>,
    /// Tasks that the connections have left behind, and those that are left after the handler has stopped.
    pub(super) left_tasks: usize,
    pub(super) left_after_stop: usize,
    pub(super) drained: Drained,
    pub(super) largest_message: usize,
    pub(super) events: Vec<Event>,
}

struct Client {
    pipe: Arc<Pipe>,
    connection: Arc<OnceLock<Connection>>,
    unsent: BytesMut,
    received: BytesMut,
    /// The end of the input is sent behind `unsent`.
    ends: bool,
    is_closed: bool,
    codec: usize,
}

/// A run in progress.
pub(super) struct Session<'a> {
    subject: &'a dyn Subject,
    server: Running,
    pub(super) record: Record,
    clients: Vec<Client>,
    events: Vec<Event>,
    /// Tasks before the first client.
    tasks: usize,
    drain: Option<JoinHandle<Drained>>,
}

thread_local! {
    /// The runtime of the last run of this thread, without tasks.
    static IDLE: Cell<Option<Runtime>> = const { Cell::new(None) };
}

/// Runs a future on a runtime with paused time and without other tasks.
pub(super) fn isolated<T>(run: impl Future<Output = T>) -> T {
    let runtime = IDLE.take().unwrap_or_else(|| {
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("the system provides a runtime")
    });
    let result = runtime.block_on(run);
    // Tasks that are left end with their runtime.
    if runtime.metrics().num_alive_tasks() == 0 {
        IDLE.set(Some(runtime));
    }
    result
}

impl<'a> Session<'a> {
    pub(super) async fn start(subject: &'a dyn Subject, disturbance: Disturbance, window: usize) -> Self {
        let record = Record::new(disturbance);
        let server = subject.start(record.clone(), window).await;
        sleep(TICK).await;
        let tasks = alive_tasks();
        Self { subject, server, record, clients: Vec::new(), events: Vec::new(), tasks, drain: None }
    }

    /// Connects a client, and waits for its greeting.
    pub(super) async fn open(&mut self) -> usize {
        let number = self.connect(None).await;
        self.settle().await;
        number
    }

    /// Connects a client that reads nothing yet.
    pub(super) async fn open_stopped(&mut self) -> usize {
        self.connect(Some(0)).await
    }

    async fn connect(&mut self, credit: Option<usize>) -> usize {
        let number = self.clients.len();
        let host = u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes();
        let peer = SocketAddr::from((Ipv4Addr::new(192, 0, host[0], host[1]), 4000));
        let codec = self.record.codecs();
        let opened = self.server.open_pipe(Address::Inet(peer)).await;
        let (pipe, connection) = opened.expect("a server that is not drained listens");
        if let Some(credit) = credit {
            pipe.set_credit(credit);
        }
        let (unsent, received) = (BytesMut::new(), BytesMut::new());
        self.clients.push(Client { pipe, connection, unsent, received, ends: false, is_closed: false, codec });
        self.add(number, Action::Open);
        number
    }

    /// Sends bytes when the server reads. Does not wait.
    pub(super) fn send(&mut self, client: usize, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.add(client, Action::Send(Data::from(bytes)));
            self.clients[client].unsent.extend_from_slice(bytes);
        }
    }

    /// Ends the input of the server behind everything sent. Does not wait.
    pub(super) fn half_close(&mut self, client: usize) {
        if !self.clients[client].ends {
            self.add(client, Action::HalfClose);
            self.clients[client].ends = true;
        }
    }

    pub(super) fn reset(&mut self, client: usize) {
        self.add(client, Action::Reset);
        let client = &mut self.clients[client];
        client.unsent.clear();
        client.ends = true;
        client.is_closed = true;
        client.pipe.reset();
    }

    pub(super) fn stop_reading(&mut self, client: usize) {
        self.add(client, Action::Pause);
        self.clients[client].pipe.set_reading(false);
    }

    /// The client reads so many bytes more.
    pub(super) fn allow(&mut self, client: usize, bytes: usize) {
        self.clients[client].pipe.set_credit(bytes);
    }

    /// Begins a drain of the server.
    pub(super) fn drain(&mut self) {
        self.note("the server drains");
        let server = self.server.shared();
        self.drain = Some(tokio::spawn(async move { server.drain().await }));
    }

    /// The clock jumps. What was sent before arrives in the meantime, as with a stopped process.
    pub(super) async fn jump(&mut self, time: Duration) {
        self.note(&format!("the process is stopped for {} s", time.as_secs()));
        for client in &mut self.clients {
            client.pipe.send_unnoticed(&client.unsent.split());
        }
        // The timers fire together with the input.
        tokio::time::advance(time).await;
        self.clients.iter().for_each(|client| client.pipe.notice());
    }

    pub(super) fn note(&mut self, note: &str) {
        self.events.push(Event::Note(note.to_owned()));
    }

    fn add(&mut self, client: usize, action: Action) {
        self.events.push(Event::Step(Step::Peer(client, action)));
    }

    /// Moves the bytes of all clients as far as possible.
    fn pump(&mut self, cx: &mut Context<'_>) {
        for client in &mut self.clients {
            while !client.unsent.is_empty() {
                let Poll::Ready(sent) = client.pipe.poll_send(cx, &client.unsent) else { break };
                client.unsent.advance(sent);
            }
            if client.ends && client.unsent.is_empty() {
                client.pipe.half_close();
            }
            while !client.is_closed {
                match client.pipe.poll_receive(cx, &mut client.received) {
                    Poll::Ready(Received::Bytes) => {}
                    Poll::Ready(Received::Ended | Received::Reset) => {
                        client.is_closed = true;
                        client.pipe.close();
                    }
                    Poll::Pending => break,
                }
            }
        }
    }

    /// Lets time pass, which happens only while nothing is ready to run.
    pub(super) async fn pass(&mut self, time: Duration) {
        let mut passed = pin!(sleep(time));
        poll_fn(|cx| {
            self.pump(cx);
            passed.as_mut().poll(cx)
        })
        .await;
    }

    pub(super) fn is_closed(&self, client: usize) -> bool {
        self.clients[client].is_closed
    }

    /// Runs everything that is ready, without letting time pass.
    pub(super) async fn run_ready(&mut self) {
        for _ in 0..TURNS {
            poll_fn(|cx| {
                self.pump(cx);
                Poll::Ready(())
            })
            .await;
            tokio::task::yield_now().await;
        }
    }

    /// Waits until the server has done everything that the input so far asks for.
    /// Returns how long it took.
    pub(super) async fn settle(&mut self) -> Duration {
        let (mut step, mut waited) = (TICK, Duration::ZERO);
        loop {
            self.pass(step).await;
            waited += step;
            let is_busy = self.record.running() > 0 && waited < PATIENCE;
            if !is_busy && (waited >= LAYER_PATIENCE || self.is_handled()) {
                break;
            }
            step = (step * 2).min(MAX_STEP);
        }
        self.events.push(Event::Step(Step::Wait(TICK)));
        waited
    }

    /// Whether every received message has reached the handler, which has returned.
    fn is_handled(&self) -> bool {
        self.clients.iter().filter_map(|client| client.connection.get()).all(|connection| {
            connection.close_reason().is_some() || connection.messages() <= self.record.handled(connection.id())
        })
    }

    /// A fault of this run.
    pub(super) fn fault(&self, client: usize, what: impl Into<String>) -> Fault {
        Fault { what: what.into(), client, expected: None, reason: None, events: self.events.clone() }
    }
}

mod finish;
mod observe;
