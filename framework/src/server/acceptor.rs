//! The accept loop: takes clients in, and never ends in silence.
//!
//! It does nothing that a client could make slow: handshakes run in the connection's own task.

use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::coop::unconstrained;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::address::Endpoint;
use crate::connection::{AddressKnown, Connection, ConnectionTable, Kind};
use crate::drain::DrainSignal;
use crate::driver::ServiceSnapshot;
use crate::error::chain;
use crate::layer::Panicked;
use crate::log_throttle::LogThrottle;
use crate::metrics::AcceptErrorClass as Class;
use crate::pipeline::ConnectionService;
use crate::server::accept_error::classify;
use crate::server::connection_task;
use crate::server::listener::OpenSocket;
use crate::settings::SocketOptions;
use crate::transport::{Accepted, StreamListener};
use crate::transport::{Bind, BoxTransport, Listener};

/// The pause after running out of something, doubled each time up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// So many clients in a row may fail before the loop takes a breath.
const FAILURES_IN_A_ROW: u32 = 128;
/// Pauses between attempts to bind a broken listener again.
const FIRST_REBIND: Duration = Duration::from_millis(100);
const LONGEST_REBIND: Duration = Duration::from_secs(5);

/// Runs the accept loop of a listener; when the listener breaks, binds it again until that succeeds or it shall close.
pub(super) async fn run(mut acceptor: Acceptor, mut listener: Box<dyn StreamListener>, transport: BoxTransport) {
    let mut pause = FIRST_REBIND;
    let mut since = Instant::now();
    let mut again = false;
    loop {
        // Not even a transport that panics closes the door in silence.
        let ended = AssertUnwindSafe(acceptor.accept_from(&mut *listener)).catch_unwind().await;
        let ended = ended.unwrap_or_else(|payload| {
            let error = Panicked::new(&*payload).to_string();
            tracing::error!(listener = &*acceptor.name(), error, "a listener is broken");
            Ended::Broken
        });
        acceptor.socket.clear();
        if ended != Ended::Broken {
            return;
        }
        drop(listener);
        let (mut drain, retired) = (acceptor.drain(), acceptor.retired.clone());
        // At once the first time; one that breaks again and again is given time.
        let soon = again && since.elapsed() < LONGEST_REBIND;
        pause = if soon { (pause * 2).min(LONGEST_REBIND) } else { FIRST_REBIND };
        let wait = if soon { pause } else { Duration::ZERO };
        let bound = tokio::select! {
            () = drain.draining() => return,
            () = retired.cancelled() => return,
            bound = acceptor.rebind(&transport, wait) => bound,
        };
        acceptor.socket.fill(bound.share());
        (listener, since, again) = (bound, Instant::now(), true);
    }
}

/// How an accept loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// A drain has begun, or another door has taken over.
    Closing,
    /// The transport says that nobody will come any more.
    NoMore,
    /// The listener is broken.
    Broken,
}

/// Takes in the clients of one listener, under the settings of now.
pub(super) struct Acceptor {
    snapshot: watch::Receiver<ServiceSnapshot<ConnectionService>>,
    /// Where it listens, with the port that the system chose, and how.
    endpoint: Endpoint,
    options: SocketOptions,
    /// Another door has taken over.
    retired: CancellationToken,
    socket: Arc<OpenSocket>,
    /// Somebody wants to know whether it still goes round.
    heartbeat: mpsc::Receiver<oneshot::Sender<()>>,
    failed: LogThrottle,
}

impl Acceptor {
    pub(super) fn new(
        snapshot: watch::Receiver<ServiceSnapshot<ConnectionService>>,
        endpoint: Endpoint,
        options: SocketOptions,
        retired: CancellationToken,
        socket: Arc<OpenSocket>,
        heartbeat: mpsc::Receiver<oneshot::Sender<()>>,
    ) -> Self {
        Self { snapshot, endpoint, options, retired, socket, heartbeat, failed: LogThrottle::default() }
    }

    fn name(&self) -> Arc<str> {
        self.snapshot.borrow().listener_context.info.name.clone()
    }

    fn drain(&self) -> DrainSignal {
        self.snapshot.borrow().listener_context.info.drain.clone()
    }

    fn table(&self) -> Arc<ConnectionTable> {
        self.snapshot.borrow().listener_context.table.clone()
    }

    async fn rebind(&self, transport: &BoxTransport, wait: Duration) -> Box<dyn StreamListener> {
        tokio::time::sleep(wait).await;
        let mut pause = FIRST_REBIND;
        loop {
            let bind = Bind::new(self.endpoint.clone(), self.options.clone());
            let bound = AssertUnwindSafe(transport.clone().oneshot(bind)).catch_unwind().await;
            match bound.unwrap_or_else(|payload| Err(Panicked::new(&*payload).into())) {
                Ok(Listener::Stream(listener)) => {
                    tracing::warn!(listener = &*self.name(), address = %self.endpoint, "listening again");
                    return listener;
                }
                Ok(Listener::Datagram(_)) => tracing::error!(listener = &*self.name(), "it now brings datagrams"),
                Err(error) => {
                    let error = chain(&*error);
                    tracing::error!(listener = &*self.name(), address = %self.endpoint, error, "cannot listen again");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_REBIND);
        }
    }

    /// Accepts until it shall close, nobody will come any more, or the listener is broken.
    pub(super) async fn accept_from(&mut self, listener: &mut dyn StreamListener) -> Ended {
        let (mut drain, table, retired) = (self.drain(), self.table(), self.retired.clone());
        let mut retired = pin!(retired.cancelled());
        let mut pause = FIRST_PAUSE;
        let mut in_a_row = 0;
        loop {
            let accepted = tokio::select! {
                biased; // who waits is left to the other door, even if that drains by now
                () = &mut retired => return Ended::Closing,
                () = drain.draining() => {
                    if drain.deadline().is_some() {
                        self.accept_backlog(listener).await;
                    }
                    return Ended::Closing;
                }
                Some(answer) = self.heartbeat.recv() => {
                    let _ = answer.send(()); // whoever local_ip may have given up
                    continue;
                }
                accepted = listener.accept() => accepted,
            };
            let error = match accepted {
                Ok(Some(accepted)) => {
                    (pause, in_a_row) = (FIRST_PAUSE, 0);
                    self.admit(accepted);
                    continue;
                }
                Ok(None) => return Ended::NoMore,
                Err(error) => error,
            };
            in_a_row += 1;
            match self.tell(&error) {
                Class::Again | Class::Connection if in_a_row < FAILURES_IN_A_ROW => {}
                Class::Listener => return Ended::Broken,
                Class::Again | Class::Connection | Class::Exhausted | Class::Other => {
                    // A connection that leaves gives its descriptor back: no need to wait longer than that.
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = table.connection_closed() => {}
                        () = drain.draining() => {}
                        () = &mut retired => return Ended::Closing,
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Takes in those whom the system has already let in: they connected before the drain began.
    async fn accept_backlog(&mut self, listener: &mut dyn StreamListener) {
        tokio::task::yield_now().await; // so that the runtime hears of them
        for _ in 0..self.options.backlog {
            // However many there are: this is no time to give way.
            match unconstrained(listener.accept()).now_or_never() {
                Some(Ok(Some(accepted))) => self.admit(accepted),
                Some(Err(error)) if classify(&error) == Class::Connection => {}
                _ => break,
            }
        }
    }

    fn admit(&mut self, accepted: Accepted) {
        let ServiceSnapshot { listener_context, service, handshake_timeout, .. } = self.snapshot.borrow().clone();
        let Accepted { peer, local, credentials, stage } = accepted;
        let connection = Connection::new(listener_context.info.clone(), Kind::Stream, peer, local, credentials);
        if listener_context.admission.check(&listener_context.table, &connection, AddressKnown::Socket).is_ok() {
            let guard = listener_context.table.guard(&connection);
            connection_task::spawn(service, stage, handshake_timeout, connection, guard, listener_context);
        }
    }

    fn tell(&mut self, error: &io::Error) -> Class {
        let class = classify(error);
        self.snapshot.borrow().listener_context.info.metrics.accept_errors.add(class as usize, 1);
        if class != Class::Again
            && let Some(count) = self.failed.count()
        {
            let (listener, class) = (&*self.name(), class.as_str());
            tracing::warn!(listener, %error, class, count, "accept failed");
        }
        class
    }
}
