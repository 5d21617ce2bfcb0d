//! A server that runs: where it listens, who is there, and how all of it stops.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::address::Endpoint;
use crate::drain::Phase;
use crate::lock::lock;
use crate::roster::Order;
use crate::server::line::{Count, Line};
use crate::spec::{DrainSpec, after};
use crate::transport::Transports;

/// How long what was cut has to notice it; longer than a handler's `close` may take.
const CUT_GRACE: Duration = Duration::from_secs(2);
/// How long the accept loops have to close.
pub(super) const LAST_CALL: Duration = Duration::from_secs(1);

/// A server that runs. Dropped, it cuts everything; [`drain`](Self::drain) is the polite way.
pub struct Running {
    state: Arc<Mutex<State>>,
    pub(super) transports: Transports,
    /// One reload after another.
    pub(super) reloading: tokio::sync::Mutex<()>,
    /// From here on there is no reload.
    pub(super) draining: watch::Sender<bool>,
    cutter: Cutter,
    /// Others listen on its sockets; until then it drains.
    pub(super) handed_over: OnceLock<Instant>,
}

/// What runs.
pub(super) struct State {
    pub(super) lines: Vec<Line>,
    /// Those that no configuration names any more, until they have stopped.
    pub(super) leaving: Vec<Line>,
    pub(super) drain: DrainSpec,
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
pub struct Cutter(Arc<watch::Sender<bool>>);

impl Cutter {
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
    pub(super) fn new(transports: Transports, lines: Vec<Line>, drain: DrainSpec) -> Self {
        Self {
            state: Arc::new(Mutex::new(State { lines, leaving: Vec::new(), drain })),
            transports,
            reloading: tokio::sync::Mutex::default(),
            draining: watch::Sender::new(false),
            cutter: Cutter(Arc::new(watch::Sender::new(false))),
            handed_over: OnceLock::new(),
        }
    }

    /// Each listener's name and where it listens, with the port that the system chose.
    pub fn addresses(&self) -> Vec<(String, Endpoint)> {
        lock(&self.state).lines.iter().map(|line| (line.spec.name.clone(), line.endpoint.clone())).collect()
    }

    /// Where the only, or first, listener listens.
    pub fn address(&self) -> Option<Endpoint> {
        lock(&self.state).lines.first().map(|line| line.endpoint.clone())
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.everything().iter().map(Line::open).sum()
    }

    /// Waits until every listener has ended by itself and nobody is connected any more: only transports that run dry do
    /// that.
    pub async fn ended(&self) {
        loop {
            let lines = self.everything();
            join_all(lines.iter().map(Line::ended)).await;
            // A reload may have begun others meanwhile.
            if self.everything().iter().all(Line::has_ended) {
                return;
            }
        }
    }

    /// A handle that ends a drain early.
    pub fn cutter(&self) -> Cutter {
        self.cutter.clone()
    }

    /// Stops politely: the listeners close after `announce`; connections that are idle close at once, busy ones when what is
    /// under way is answered; what is left at the deadline is cut.
    pub async fn drain(&self) -> Drained {
        // A reload gives up, unless it is at the point where nothing can fail any more.
        self.draining.send_replace(true);
        drop(self.reloading.lock().await);
        let DrainSpec { announce, deadline } = self.state().drain;
        tracing::info!(open = self.open(), "draining");
        let handed_over = self.handed_over.get().copied();
        if handed_over.is_none() {
            tokio::select! {
                () = tokio::time::sleep(announce) => {}
                () = self.cutter.called() => {}
            }
        }
        let deadline = handed_over.unwrap_or_else(|| after(Instant::now(), deadline));
        let drained = drain(&self.everything(), deadline, self.cutter.called()).await;
        tracing::info!(open = drained.open, cut = drained.cut, "drained");
        drained
    }

    /// Has a listener that is not wanted any more stop by itself, as in a drain of all.
    pub(super) fn stop(&self, line: Line, deadline: Duration) {
        let state = Arc::downgrade(&self.state);
        let cutter = self.cutter();
        tokio::spawn(async move {
            let deadline = after(Instant::now(), deadline);
            let Drained { open, cut } = drain(std::slice::from_ref(&line), deadline, cutter.called()).await;
            tracing::info!(listener = line.spec.name, address = %line.endpoint, open, cut, "no longer listening");
            if let Some(state) = state.upgrade() {
                lock(&state).leaving.retain(|leaving| !leaving.is(&line));
            }
        });
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn everything(&self) -> Vec<Line> {
        let state = lock(&self.state);
        state.lines.iter().chain(&state.leaving).cloned().collect()
    }
}

/// Stops these listeners politely. What is left at the deadline, or when it is `called` off, is cut.
async fn drain(lines: &[Line], deadline: Instant, called: impl Future<Output = ()>) -> Drained {
    let sum = || lines.iter().map(Line::count).fold(Count::default(), Count::plus);
    let before = sum();
    lines.iter().for_each(|line| line.advance(Phase::Draining { deadline }));
    // The doors take in whom the system has let in before, and close; then everybody is there to be counted and told.
    let _ = tokio::time::timeout(LAST_CALL, join_all(lines.iter().map(Line::closed))).await;
    let entered = sum().entered;
    tell_all(lines, Order::Leave);
    let by = tokio::select! {
        _ = join_all(lines.iter().map(Line::ended)) => None,
        () = tokio::time::sleep_until(deadline) => Some(Order::Cut),
        () = called => Some(Order::Kill),
    };
    let mut left = 0;
    if let Some(order) = by {
        lines.iter().for_each(|line| line.advance(Phase::Cutting));
        tell_all(lines, order);
        if tokio::time::timeout(CUT_GRACE, join_all(lines.iter().map(Line::ended))).await.is_err() {
            left = lines.iter().map(Line::open).sum();
        }
    }
    let after = sum();
    let datagrams = after.datagrams - before.datagrams;
    Drained { open: entered - before.gone + datagrams, cut: left + after.cut - before.cut + datagrams }
}

fn tell_all(lines: &[Line], order: Order) {
    lines.iter().for_each(|line| line.tell_all(order));
}

impl Drop for Running {
    fn drop(&mut self) {
        let lines = self.everything();
        lines.iter().for_each(|line| line.advance(Phase::Cutting));
        tell_all(&lines, Order::Kill);
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("addresses", &self.addresses()).finish_non_exhaustive()
    }
}
