//! A server that runs: where it listens, who is there, and how all of it stops.

use parking_lot::{Mutex, MutexGuard};
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::address::Endpoint;
use crate::connection::ControlSignal;
use crate::drain::Phase;
use crate::server::listener::{Count, ListenerHandle};
use crate::settings::{DrainSettings, deadline_after};
use crate::transport::Transports;

/// How long what was cut has to notice it; longer than a handler's `close` may take.
const CUT_GRACE: Duration = Duration::from_secs(2);
/// How long the accept loops have to close.
pub(super) const BACKLOG_TIMEOUT: Duration = Duration::from_secs(1);

/// A server that runs. Dropped, it cuts everything; [`drain`](Self::drain) is the polite way.
pub struct Running {
    state: Arc<Mutex<State>>,
    pub(super) transports: Transports,
    /// One reload after another.
    pub(super) reloading: tokio::sync::Mutex<()>,
    /// From here on there is no reload.
    pub(super) draining: watch::Sender<bool>,
    abort_handle: AbortHandle,
    /// Others listen on its sockets; until then it drains.
    pub(super) handed_over: OnceLock<Instant>,
}

/// What runs.
pub(super) struct State {
    pub(super) listeners: Vec<ListenerHandle>,
    /// Those that no configuration names any more, until they have stopped.
    pub(super) stopping: Vec<ListenerHandle>,
    pub(super) drain: DrainSettings,
}

/// What a drain came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drained {
    /// Connections that were open when the listeners closed, and datagrams that were under way at the deadline.
    pub open: usize,
    /// Connections, and datagrams under way, that had not finished and were cut.
    pub cut: usize,
}

/// Ends a drain early. Clones do the same.
#[derive(Debug, Clone)]
pub struct AbortHandle(Arc<watch::Sender<bool>>);

impl AbortHandle {
    /// Whatever is still open is cut now, or as soon as the drain begins.
    pub fn cut(&self) {
        self.0.send_replace(true);
    }

    async fn called(&self) {
        // An error would say that there is no sender any more, and we are one.
        let _ = self.0.subscribe().wait_for(|cut| *cut).await;
    }
}

impl Running {
    pub(super) fn new(transports: Transports, listeners: Vec<ListenerHandle>, drain: DrainSettings) -> Self {
        Self {
            state: Arc::new(Mutex::new(State { listeners, stopping: Vec::new(), drain })),
            transports,
            reloading: tokio::sync::Mutex::default(),
            draining: watch::Sender::new(false),
            abort_handle: AbortHandle(Arc::new(watch::Sender::new(false))),
            handed_over: OnceLock::new(),
        }
    }

    /// Each listener's name and where it listens, with the port that the system chose.
    pub fn addresses(&self) -> Vec<(String, Endpoint)> {
        self.state
            .lock()
            .listeners
            .iter()
            .map(|listener| (listener.spec.name.clone(), listener.endpoint.clone()))
            .collect()
    }

    /// Where the only, or first, listener listens.
    pub fn address(&self) -> Option<Endpoint> {
        self.state.lock().listeners.first().map(|listener| listener.endpoint.clone())
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.all_listeners().iter().map(ListenerHandle::open).sum()
    }

    /// Waits until every listener has ended by itself and nobody is connected any more: only transports that run dry do
    /// that.
    pub async fn ended(&self) {
        loop {
            let listeners = self.all_listeners();
            join_all(listeners.iter().map(ListenerHandle::ended)).await;
            // A reload may have begun others meanwhile.
            if self.all_listeners().iter().all(ListenerHandle::has_ended) {
                return;
            }
        }
    }

    /// A handle that ends a drain early.
    pub fn abort_handle(&self) -> AbortHandle {
        self.abort_handle.clone()
    }

    /// Stops politely: the listeners close after `announce`; connections that are idle close at once, busy ones when what is
    /// under way is answered; what is left at the deadline is cut.
    pub async fn drain(&self) -> Drained {
        // A reload gives up, unless it is at the point where nothing can fail any more.
        self.draining.send_replace(true);
        drop(self.reloading.lock().await);
        let DrainSettings { announce, deadline } = self.state().drain;
        tracing::info!(open = self.open(), "draining");
        let handed_over = self.handed_over.get().copied();
        if handed_over.is_none() {
            tokio::select! {
                () = tokio::time::sleep(announce) => {}
                () = self.abort_handle.called() => {}
            }
        }
        let deadline = handed_over.unwrap_or_else(|| deadline_after(Instant::now(), deadline));
        let drained = drain(&self.all_listeners(), deadline, self.abort_handle.called()).await;
        tracing::info!(open = drained.open, cut = drained.cut, "drained");
        drained
    }

    /// Has a listener that is not wanted any more stop by itself, as in a drain of all.
    pub(super) fn stop(&self, listener: ListenerHandle, deadline: Duration) {
        let state = Arc::downgrade(&self.state);
        let abort_handle = self.abort_handle();
        tokio::spawn(async move {
            let deadline = deadline_after(Instant::now(), deadline);
            let Drained { open, cut } = drain(std::slice::from_ref(&listener), deadline, abort_handle.called()).await;
            tracing::info!(listener = listener.spec.name, address = %listener.endpoint, open, cut, "no longer listening");
            if let Some(state) = state.upgrade() {
                state.lock().stopping.retain(|stopping| !stopping.is(&listener));
            }
        });
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn all_listeners(&self) -> Vec<ListenerHandle> {
        let state = self.state.lock();
        state.listeners.iter().chain(&state.stopping).cloned().collect()
    }
}

/// Stops these listeners politely. What is left at the deadline, or when it is `called` off, is cut.
async fn drain(listeners: &[ListenerHandle], deadline: Instant, called: impl Future<Output = ()>) -> Drained {
    let sum = || listeners.iter().map(ListenerHandle::count).fold(Count::default(), Count::plus);
    let before = sum();
    listeners.iter().for_each(|listener| listener.advance(Phase::Draining { deadline }));
    // The doors take in whom the system has let in before, and close; then everybody is there to be counted and told.
    let _ = tokio::time::timeout(BACKLOG_TIMEOUT, join_all(listeners.iter().map(ListenerHandle::closed))).await;
    let entered = sum().entered;
    broadcast(listeners, ControlSignal::Drain);
    let by = tokio::select! {
        _ = join_all(listeners.iter().map(ListenerHandle::ended)) => None,
        () = tokio::time::sleep_until(deadline) => Some(ControlSignal::DrainDeadline),
        () = called => Some(ControlSignal::Kill),
    };
    let mut left = 0;
    if let Some(signal) = by {
        listeners.iter().for_each(|listener| listener.advance(Phase::Cutting));
        broadcast(listeners, signal);
        if tokio::time::timeout(CUT_GRACE, join_all(listeners.iter().map(ListenerHandle::ended))).await.is_err() {
            left = listeners.iter().map(ListenerHandle::open).sum();
        }
    }
    let after = sum();
    let datagrams = after.datagrams - before.datagrams;
    Drained { open: entered - before.gone + datagrams, cut: left + after.cut - before.cut + datagrams }
}

fn broadcast(listeners: &[ListenerHandle], signal: ControlSignal) {
    listeners.iter().for_each(|listener| listener.broadcast(signal));
}

impl Drop for Running {
    fn drop(&mut self) {
        let listeners = self.all_listeners();
        listeners.iter().for_each(|listener| listener.advance(Phase::Cutting));
        broadcast(&listeners, ControlSignal::Kill);
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("addresses", &self.addresses()).finish_non_exhaustive()
    }
}
