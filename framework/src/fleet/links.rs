//! What is known of the links of a fleet that transport data: the rooms of hubs, and the bans.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

/// A snapshot of a link between the instances of a fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FleetLinkReport {
    /// `bans`, or the name of the handler and of its hub: `chat:rooms`.
    pub name: String,
    /// Whether it is connected to the server.
    pub is_connected: bool,
    /// Why not.
    pub error: Option<String>,
    /// Frames or changes of bans that were sent.
    pub sent: u64,
    /// Frames or changes of bans of other instances.
    pub received: u64,
    /// Frames that were dropped because too many waited, and gaps that members got; or the bans that did not fit.
    pub lost: u64,
    /// How often the connection or a call failed.
    pub failures: u64,
}

/// The links of an instance by name.
#[derive(Default)]
pub(super) struct Links(Mutex<BTreeMap<String, Arc<State>>>);

#[derive(Default)]
struct State {
    /// Tasks with this name: a reload can have a new one before the old one has ended.
    tasks: AtomicUsize,
    connected: AtomicUsize,
    error: Mutex<Option<String>>,
    sent: AtomicU64,
    received: AtomicU64,
    lost: AtomicU64,
    failures: AtomicU64,
}

/// The state of a link, for the task that drives it.
pub(crate) struct LinkState {
    state: Arc<State>,
    is_connected: AtomicBool,
}

impl Links {
    pub(super) fn add(&self, name: &str) -> LinkState {
        let state = self.0.lock().entry(name.to_owned()).or_default().clone();
        state.tasks.fetch_add(1, Relaxed);
        LinkState { state, is_connected: AtomicBool::new(false) }
    }

    pub(super) fn report(&self) -> Vec<FleetLinkReport> {
        let links = self.0.lock();
        let active = links.iter().filter(|(_, state)| state.tasks.load(Relaxed) > 0);
        let report = |(name, state): (&String, &Arc<State>)| FleetLinkReport {
            name: name.clone(),
            is_connected: state.connected.load(Relaxed) == state.tasks.load(Relaxed),
            error: state.error.lock().clone(),
            sent: state.sent.load(Relaxed),
            received: state.received.load(Relaxed),
            lost: state.lost.load(Relaxed),
            failures: state.failures.load(Relaxed),
        };
        active.map(report).collect()
    }
}

#[cfg(feature = "fleet")]
impl LinkState {
    pub(crate) fn connected(&self) {
        self.set_connected(true);
        *self.state.error.lock() = None;
    }

    pub(crate) fn failed(&self, error: String) {
        self.set_connected(false);
        *self.state.error.lock() = Some(error);
        self.state.failures.fetch_add(1, Relaxed);
    }

    pub(crate) fn sent(&self, count: usize) {
        self.state.sent.fetch_add(count as u64, Relaxed);
    }

    pub(crate) fn received(&self, count: usize) {
        self.state.received.fetch_add(count as u64, Relaxed);
    }

    pub(crate) fn lost(&self, count: u64) {
        self.state.lost.fetch_add(count, Relaxed);
    }
}

impl LinkState {
    fn set_connected(&self, is_connected: bool) {
        match (self.is_connected.swap(is_connected, Relaxed), is_connected) {
            (false, true) => self.state.connected.fetch_add(1, Relaxed),
            (true, false) => self.state.connected.fetch_sub(1, Relaxed),
            _ => 0,
        };
    }
}

/// A task that panics stays in the report, without a connection.
impl Drop for LinkState {
    fn drop(&mut self) {
        self.set_connected(false);
        if std::thread::panicking() {
            tracing::error!(target: "switchboard::fleet", "the task of a link failed");
            *self.state.error.lock() = Some("the task has failed; restart the server".to_owned());
        } else {
            self.state.tasks.fetch_sub(1, Relaxed);
        }
    }
}
