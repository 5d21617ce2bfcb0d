//! The handle to a running server: its listeners, and its graceful shutdown.

use parking_lot::{Mutex, MutexGuard};
use std::fmt;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::address::Endpoint;
use crate::bans::Bans;
#[cfg(feature = "fleet")]
use crate::bans::run_fleet;
use crate::connection::ControlSignal;
use crate::deadline_timer::{self, DeadlineTimer};
use crate::drain::Phase;
use crate::server::ban_enforcer;
use crate::server::evacuation::Evacuations;
use crate::server::handlers::StartedHandlers;
use crate::server::listener::ListenerHandle;
use crate::server::listener_state::Count;
use crate::settings::{DrainSettings, deadline_after};
use crate::transport::Transports;

/// How long aborted tasks have to stop; longer than a handler's `close` may take.
const ABORT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the last write of the file of the bans may take.
const SAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the accept loops have to accept the backlog and close.
pub(super) const BACKLOG_TIMEOUT: Duration = Duration::from_secs(1);

/// A running server. Dropping it aborts all connections, and the handlers stop in the background;
/// [`drain`](Self::drain) shuts it down gracefully.
#[must_use = "dropping it aborts all connections"]
pub struct Running {
    state: Arc<Mutex<State>>,
    pub(super) transports: Transports,
    /// Serializes reloads.
    pub(super) reloading: tokio::sync::Mutex<()>,
    /// Set when a drain begins. Reloads are rejected from then on.
    pub(super) draining: watch::Sender<bool>,
    abort_handle: AbortHandle,
    /// The drain deadline after another process has taken over the sockets.
    pub(super) handed_over: OnceLock<Instant>,
    pub(super) bans: Bans,
    pub(super) handlers: StartedHandlers,
    pub(super) evacuations: Evacuations,
}

pub(super) struct State {
    pub(super) listeners: Vec<ListenerHandle>,
    /// Listeners that a reload has removed, until their connections have closed.
    pub(super) stopping: Vec<ListenerHandle>,
    pub(super) drain: DrainSettings,
}

impl State {
    pub(super) fn all_listeners(&self) -> Vec<ListenerHandle> {
        self.listeners.iter().chain(&self.stopping).cloned().collect()
    }
}

/// The result of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Drained {
    /// Connections that were open when the listeners closed, and datagrams in progress at the deadline.
    pub open: usize,
    /// Connections and datagrams in progress that were aborted.
    pub cut: usize,
    /// Handlers whose `stop` failed or did not end in time, since the start of the server.
    pub stop_failures: usize,
}

impl Drained {
    /// Whether every connection finished and every handler stopped.
    pub fn is_complete(&self) -> bool {
        self.cut == 0 && self.stop_failures == 0
    }
}

/// Aborts a drain. Clones do the same.
#[derive(Debug, Clone)]
pub struct AbortHandle(CancellationToken);

impl AbortHandle {
    /// Aborts all open connections, now or when the drain begins.
    pub fn abort(&self) {
        self.0.cancel();
    }
}

impl Running {
    pub(super) fn new(
        transports: Transports,
        listeners: Vec<ListenerHandle>,
        drain: DrainSettings,
        bans: Bans,
        handlers: StartedHandlers,
    ) -> Self {
        handlers.use_fleet_of(listeners.iter().map(|listener| &*listener.spec));
        let state = Arc::new(Mutex::new(State { listeners, stopping: Vec::new(), drain }));
        bans.start_saving();
        let of_state = Arc::downgrade(&state);
        let all_listeners = move || of_state.upgrade().map(|state| state.lock().all_listeners());
        tokio::spawn(ban_enforcer::run(bans.downgrade(), bans.subscribe(), all_listeners));
        #[cfg(feature = "fleet")]
        tokio::spawn(run_fleet(bans.downgrade(), handlers.fleets()));
        Self {
            state,
            transports,
            reloading: tokio::sync::Mutex::default(),
            draining: watch::Sender::new(false),
            abort_handle: AbortHandle(CancellationToken::new()),
            handed_over: OnceLock::new(),
            bans,
            handlers,
            evacuations: Evacuations::default(),
        }
    }

    /// The name of each listener and the endpoint that it listens on, with the real port.
    pub fn addresses(&self) -> Vec<(String, Endpoint)> {
        let state = self.state();
        state.listeners.iter().map(|listener| (listener.spec.name.clone(), listener.endpoint.clone())).collect()
    }

    /// The endpoint of the first listener, with the real port.
    pub fn address(&self) -> Option<Endpoint> {
        self.state().listeners.first().map(|listener| listener.endpoint.clone())
    }

    /// The IP address and port of the first listener. `None` if its transport has no IP address.
    ///
    /// ```
    /// use switchboard::prelude::*;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// let echo = handler_fn(|_: Context, message: Bytes| async move { Ok(Reply::send(message)) });
    /// let running = Server::bind("tcp://localhost:0").start(echo).await?;
    /// let address = running.socket_addr().expect("TCP has an IP address");
    /// assert!(address.ip().is_loopback() && address.port() != 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        self.state().listeners.first()?.socket_addr()
    }

    /// The bans of the server.
    pub fn bans(&self) -> &Bans {
        &self.bans
    }

    /// The number of open connections.
    pub fn open(&self) -> usize {
        self.all_listeners().iter().map(ListenerHandle::open).sum()
    }

    /// Waits until every listener has ended by itself and no connection is open. Only transports without more clients
    /// end by themselves. Waits forever after [`hand_over`](Self::hand_over): another process has the sockets then.
    pub async fn ended(&self) {
        loop {
            let listeners = self.all_listeners();
            join_all(listeners.iter().map(ListenerHandle::ended)).await;
            // A reload may have started other listeners in the meantime.
            if self.handed_over.get().is_some() {
                return pending().await;
            }
            if self.all_listeners().iter().all(ListenerHandle::has_ended) {
                return;
            }
        }
    }

    /// A handle that aborts a drain.
    pub fn abort_handle(&self) -> AbortHandle {
        self.abort_handle.clone()
    }

    /// Shuts down gracefully (drains). The listeners close after the announcement. Idle connections close immediately;
    /// busy ones close after their replies in progress. At the deadline the remaining connections are aborted. Then the
    /// handlers [stop](crate::Handler::stop), until the deadline and for at least 2 s.
    pub async fn drain(&self) -> Drained {
        // A reload in progress is cancelled, unless it has begun to apply its changes.
        self.draining.send_replace(true);
        drop(self.reloading.lock().await);
        let DrainSettings { announce, deadline } = self.state().drain;
        tracing::info!(target: "switchboard", open = self.open(), "draining");
        let handed_over = self.handed_over.get().copied();
        if handed_over.is_none() {
            tokio::select! {
                () = tokio::time::sleep(announce) => {}
                () = self.abort_handle.0.cancelled() => {}
            }
        }
        let deadline = handed_over.unwrap_or_else(|| deadline_after(Instant::now(), deadline));
        self.handlers.advance(Phase::Draining { deadline });
        let drained = drain(&self.all_listeners(), deadline, self.abort_handle.0.cancelled()).await;
        let drained = Drained { stop_failures: self.stop_handlers(deadline).await, ..drained };
        let Drained { open, cut, stop_failures } = drained;
        tracing::info!(target: "switchboard", open, cut, stop_failures, "drained");
        drained
    }

    /// Stops the handlers after every listener has [ended by itself](Self::ended).
    pub(super) async fn finish(&self) -> Drained {
        let time = self.state().drain.deadline;
        let deadline = self.handed_over.get().copied().unwrap_or_else(|| deadline_after(Instant::now(), time));
        self.handlers.advance(Phase::Draining { deadline });
        Drained { stop_failures: self.stop_handlers(deadline).await, ..Drained::default() }
    }

    async fn stop_handlers(&self, deadline: Instant) -> usize {
        let failures = self.handlers.stop_until(deadline, self.abort_handle.0.cancelled()).await;
        // The strikes of the last connections can have led to bans. An error is logged.
        let _ = deadline_timer::timeout(SAVE_TIMEOUT, self.bans.save()).await;
        failures
    }

    /// Drains a removed listener in a background task.
    pub(super) fn stop(&self, listener: ListenerHandle, deadline: Duration) {
        let state = Arc::downgrade(&self.state);
        let abort_handle = self.abort_handle();
        tokio::spawn(async move {
            let deadline = deadline_after(Instant::now(), deadline);
            let Drained { open, cut, .. } =
                drain(std::slice::from_ref(&listener), deadline, abort_handle.0.cancelled()).await;
            let (name, address) = (&listener.spec.name, &listener.endpoint);
            tracing::info!(target: "switchboard::listener", listener = name, %address, open, cut, "listener removed");
            if let Some(state) = state.upgrade() {
                state.lock().stopping.retain(|stopping| !stopping.is(&listener));
            }
        });
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn all_listeners(&self) -> Vec<ListenerHandle> {
        self.state().all_listeners()
    }
}

/// Drains these listeners. Aborts the remaining connections at the deadline, or when `aborted` resolves.
async fn drain(listeners: &[ListenerHandle], deadline: Instant, aborted: impl Future<Output = ()>) -> Drained {
    let sum = || listeners.iter().map(ListenerHandle::count).fold(Count::default(), Count::plus);
    let before = sum();
    listeners.iter().for_each(|listener| listener.advance(Phase::Draining { deadline }));
    // The backlog is accepted first, so that all connections are counted and signalled.
    let _ = deadline_timer::timeout(BACKLOG_TIMEOUT, join_all(listeners.iter().map(ListenerHandle::closed))).await;
    let accepted = sum().accepted;
    broadcast(listeners, ControlSignal::Drain);
    let abort = tokio::select! {
        biased;
        _ = join_all(listeners.iter().map(ListenerHandle::ended)) => None,
        () = DeadlineTimer::new(deadline) => Some(ControlSignal::DrainDeadline),
        () = aborted => Some(ControlSignal::Kill),
    };
    let mut left = 0;
    if let Some(signal) = abort {
        listeners.iter().for_each(|listener| listener.advance(Phase::Cutting));
        broadcast(listeners, signal);
        if deadline_timer::timeout(ABORT_TIMEOUT, join_all(listeners.iter().map(ListenerHandle::ended))).await.is_err()
        {
            left = listeners.iter().map(ListenerHandle::open).sum();
        }
    }
    let after = sum();
    let datagrams = after.datagrams - before.datagrams;
    let (open, cut) = (accepted - before.closed + datagrams, left + after.cut - before.cut + datagrams);
    Drained { open, cut, ..Drained::default() }
}

fn broadcast(listeners: &[ListenerHandle], signal: ControlSignal) {
    listeners.iter().for_each(|listener| listener.broadcast(signal));
}

impl Drop for Running {
    fn drop(&mut self) {
        let listeners = self.all_listeners();
        listeners.iter().for_each(|listener| listener.advance(Phase::Cutting));
        self.handlers.advance(Phase::Cutting);
        broadcast(&listeners, ControlSignal::Kill);
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("addresses", &self.addresses()).finish_non_exhaustive()
    }
}
