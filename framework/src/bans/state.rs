//! What the clones of [`Bans`](super::Bans) share.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use parking_lot::{Mutex, RwLock};
use tokio::sync::broadcast;

use super::ban::BanChange;
use super::counters::Counters;
use super::outgoing::Outgoing;
use super::store::Store;
use super::strikes::StrikeTable;
use super::table::BanTable;
use crate::log_throttle::LogThrottle;
use crate::settings::BanSettings;

/// Maximum changes that a subscriber may be behind. Further behind, it misses the oldest and receives an error.
const CHANGES: usize = 128;

#[derive(Debug)]
pub(super) struct Inner {
    /// The length of the table, which most lookups read alone.
    pub(super) len: AtomicUsize,
    pub(super) table: RwLock<BanTable>,
    pub(super) strikes: Mutex<StrikeTable>,
    pub(super) counts_strikes: AtomicBool,
    pub(super) settings: RwLock<BanSettings>,
    /// Created with the first subscriber: it allocates a place for each change.
    changes: OnceLock<broadcast::Sender<BanChange>>,
    pub(super) counters: Counters,
    pub(super) store: Store,
    pub(super) outgoing: Outgoing,
    pub(super) full: LogThrottle,
}

impl Inner {
    pub(super) fn new(settings: BanSettings) -> Self {
        Self {
            len: AtomicUsize::new(0),
            table: RwLock::default(),
            strikes: Mutex::default(),
            counts_strikes: AtomicBool::new(!settings.strikes.is_off()),
            changes: OnceLock::new(),
            counters: Counters::default(),
            store: Store::new(settings.file.clone()),
            settings: RwLock::new(settings),
            outgoing: Outgoing::default(),
            full: LogThrottle::default(),
        }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<BanChange> {
        self.changes.get_or_init(|| broadcast::Sender::new(CHANGES)).subscribe()
    }

    /// Tells the subscribers, if there are any.
    pub(super) fn changed(&self, change: impl FnOnce() -> BanChange) {
        if let Some(changes) = self.changes.get() {
            let _ = changes.send(change()); // fails without a subscriber
        }
    }
}
