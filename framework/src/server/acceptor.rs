//! The accept loop of a listener. It runs until the listener closes, and binds a failed listener again.
//!
//! Nothing here waits for a client: handshakes run in the task of the connection.

use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use nix::errno::Errno;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::coop::unconstrained;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::address::Endpoint;
use crate::connection::{AddressKnown, Connection, Kind, ListenerContext};
use crate::driver::ServiceSnapshot;
use crate::error::chain;
use crate::layer::Panicked;
use crate::log_throttle::LogThrottle;
use crate::metrics::AcceptErrorClass as Class;
use crate::server::bind::Binder;
use crate::server::connection_task;
use crate::server::listener_state::OpenSocket;
use crate::server::reachability::Reachability;
use crate::settings::SocketOptions;
use crate::transport::{Accepted, ConnectionService, Listener, StreamListener};

/// The tracing target of all events of listeners. Log filters of operators depend on it.
const TARGET: &str = "switchboard::listener";
/// The pause after resources are exhausted; doubles up to the maximum.
const MIN_PAUSE: Duration = Duration::from_millis(5);
const MAX_PAUSE: Duration = Duration::from_millis(100);
/// After this many consecutive errors of any kind, the loop pauses.
const MAX_FAILURES_IN_A_ROW: u32 = 128;
/// The pause between attempts to bind a failed listener again; doubles up to the maximum.
const MIN_REBIND_PAUSE: Duration = Duration::from_millis(100);
const MAX_REBIND_PAUSE: Duration = Duration::from_secs(5);

/// Runs the accept loop of a listener. If the listener fails, binds it again until that succeeds or the listener
/// closes.
pub(super) async fn run(mut acceptor: Acceptor, mut listener: Box<dyn StreamListener>, binder: Binder) {
    let mut pause = MIN_REBIND_PAUSE;
    let mut bound_at = Instant::now();
    let mut is_rebound = false;
    loop {
        let has_failed = AssertUnwindSafe(acceptor.accept_from(&mut *listener)).catch_unwind().await;
        let info = acceptor.context().info.clone();
        let has_failed = has_failed.unwrap_or_else(|payload| {
            let error = Panicked::new(&*payload).to_string();
            tracing::error!(target: TARGET, listener = &*info.name, error, "listener failed; retrying");
            true
        });
        acceptor.socket.set_closed();
        if !has_failed {
            return;
        }
        drop(listener);
        let (mut drain, retired) = (info.drain.clone(), acceptor.retired.clone());
        // The first attempt is immediate. A listener that fails repeatedly is bound again with a growing pause.
        let fails_again = is_rebound && bound_at.elapsed() < MAX_REBIND_PAUSE;
        pause = if fails_again { (pause * 2).min(MAX_REBIND_PAUSE) } else { MIN_REBIND_PAUSE };
        let wait = if fails_again { pause } else { Duration::ZERO };
        let bound = tokio::select! {
            () = drain.draining() => return,
            () = retired.cancelled() => return,
            bound = acceptor.rebind(&binder, wait) => bound,
        };
        acceptor.socket.set_open(bound.share());
        (listener, bound_at, is_rebound) = (bound, Instant::now(), true);
    }
}

/// Accepts the clients of one listener with its current settings.
pub(super) struct Acceptor {
    pub(super) snapshot: watch::Receiver<ServiceSnapshot<ConnectionService>>,
    pub(super) endpoint: Endpoint,
    pub(super) options: SocketOptions,
    /// The number of open connections at which the loop pauses.
    pub(super) pause_at: Option<usize>,
    /// Cancelled when another accept loop takes over the socket.
    pub(super) retired: CancellationToken,
    pub(super) socket: Arc<OpenSocket>,
    pub(super) heartbeats: mpsc::Receiver<oneshot::Sender<()>>,
    pub(super) failures: LogThrottle,
}

impl Acceptor {
    fn context(&self) -> Arc<ListenerContext> {
        self.snapshot.borrow().listener_context.clone()
    }

    async fn rebind(&self, binder: &Binder, wait: Duration) -> Box<dyn StreamListener> {
        tokio::time::sleep(wait).await;
        let mut pause = MIN_REBIND_PAUSE;
        loop {
            let (context, address) = (self.context(), &self.endpoint);
            let listener = &*context.info.name;
            let bound = AssertUnwindSafe(binder.bind(&self.endpoint, &self.options, None)).catch_unwind().await;
            match bound.unwrap_or_else(|payload| Err(Panicked::new(&*payload).into())) {
                Ok(Listener::Stream(bound)) => {
                    tracing::warn!(target: TARGET, listener, %address, "listener restored");
                    return bound;
                }
                Ok(Listener::Datagram(_)) => {
                    let error = "socket type changed from stream to datagram; cannot re-bind";
                    tracing::error!(target: TARGET, listener, "{error}");
                }
                Err(error) => {
                    let error = chain(&*error);
                    tracing::error!(target: TARGET, listener, %address, error, "cannot re-bind listener; retrying");
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_REBIND_PAUSE);
        }
    }

    /// Accepts until the loop has to close, the transport has no more clients, or the listener fails.
    /// Returns whether the listener has failed.
    async fn accept_from(&mut self, listener: &mut dyn StreamListener) -> bool {
        let (context, retired) = (self.context(), self.retired.clone());
        let (mut drain, table) = (context.info.drain.clone(), context.table.clone());
        let (name, socket) = (context.info.name.clone(), self.socket.clone());
        drop(context); // a reload replaces it
        let mut reachability = Reachability::of(&socket);
        let mut retired = pin!(retired.cancelled());
        let mut pause = MIN_PAUSE;
        let mut failures_in_a_row = 0;
        loop {
            let has_room = self.pause_at.is_none_or(|limit| table.len() < limit);
            let accepted = tokio::select! {
                // A retired loop leaves the backlog to the loop that has taken over, even during a drain.
                biased;
                () = &mut retired => return false,
                () = drain.draining() => {
                    if drain.deadline().is_some() {
                        self.accept_backlog(listener).await;
                    }
                    return false;
                }
                Some(answer) = self.heartbeats.recv() => {
                    let _ = answer.send(()); // the caller may have stopped waiting
                    continue;
                }
                () = table.connection_closed(), if !has_room => continue,
                accepted = listener.accept(), if has_room => accepted,
                () = reachability.path_lost(&socket, &name) => return true,
            };
            let error = match accepted {
                Ok(Some(accepted)) => {
                    (pause, failures_in_a_row) = (MIN_PAUSE, 0);
                    self.admit(accepted);
                    continue;
                }
                Ok(None) => return false,
                Err(error) => error,
            };
            failures_in_a_row += 1;
            match self.record(&error) {
                Class::Again | Class::Connection if failures_in_a_row < MAX_FAILURES_IN_A_ROW => {}
                Class::Listener => return true,
                Class::Again | Class::Connection | Class::Exhausted | Class::Other => {
                    // A connection that closes frees its descriptor, so the pause ends then.
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = table.connection_closed() => {}
                        () = drain.draining() => {}
                        () = &mut retired => return false,
                    }
                    pause = (pause * 2).min(MAX_PAUSE);
                }
            }
        }
    }

    /// Accepts the clients that were in the kernel's backlog when the drain began.
    async fn accept_backlog(&mut self, listener: &mut dyn StreamListener) {
        tokio::task::yield_now().await; // lets the runtime poll the socket for readiness
        for _ in 0..self.options.backlog {
            // Unconstrained: tokio's cooperative budget would end the loop early.
            match unconstrained(listener.accept()).now_or_never() {
                Some(Ok(Some(accepted))) => self.admit(accepted),
                Some(Err(error)) if classify(&error) == Class::Connection => {}
                _ => break,
            }
        }
    }

    fn admit(&mut self, accepted: Accepted) {
        let snapshot = self.snapshot.borrow().clone();
        let listener_context = &snapshot.listener_context;
        let Accepted { peer, local, credentials, descriptor, handshake, .. } = accepted;
        let connection = Connection::new(listener_context.info.clone(), Kind::Stream, peer, local, credentials);
        #[cfg(feature = "testing")]
        if let Some(observer) = accepted.observer {
            let _ = observer.set(connection.clone()); // a client is accepted only once
        }
        let (admission, table) = (&listener_context.admission, &listener_context.table);
        let admitted = admission
            .check_descriptor(table, &connection, descriptor)
            .and_then(|()| admission.check(table, &connection, AddressKnown::Socket));
        if admitted.is_ok() {
            connection_task::spawn(snapshot, handshake, connection);
        }
    }

    /// Counts and logs an accept error.
    fn record(&self, error: &io::Error) -> Class {
        let class = classify(error);
        self.snapshot.borrow().listener_context.info.metrics.accept_errors.add(class as usize, 1);
        if class != Class::Again {
            self.failures.log(|| {
                let (context, error, class) = (self.context(), error.to_string(), class.as_str());
                move |count| {
                    tracing::warn!(target: TARGET, listener = &*context.info.name, error, class, count, "accept failed");
                }
            });
        }
        class
    }
}

/// Classifies an accept error. Linux also reports pending network errors of the new connection here; accept(2)
/// recommends to retry.
fn classify(error: &io::Error) -> Class {
    use Errno as E;
    if let Some(code) = error.raw_os_error() {
        return match E::from_raw(code) {
            E::EINTR | E::EAGAIN => Class::Again,
            E::ECONNABORTED | E::ECONNRESET | E::EPROTO | E::EPERM | E::ETIMEDOUT => Class::Connection,
            E::ENETDOWN | E::ENETUNREACH | E::EHOSTDOWN | E::EHOSTUNREACH | E::ENONET => Class::Connection,
            E::ENOPROTOOPT | E::EOPNOTSUPP => Class::Connection,
            E::EMFILE | E::ENFILE | E::ENOBUFS | E::ENOMEM => Class::Exhausted,
            E::EBADF | E::ENOTSOCK | E::EINVAL | E::EFAULT => Class::Listener,
            _ => Class::Other,
        };
    }
    match error.kind() {
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => Class::Again,
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::TimedOut => {
            Class::Connection
        }
        io::ErrorKind::OutOfMemory => Class::Exhausted,
        _ => Class::Other,
    }
}

#[cfg(test)]
mod tests;
