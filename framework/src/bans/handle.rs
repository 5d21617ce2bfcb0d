//! The handle to the bans of a server ([`Bans`]).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use tokio::sync::broadcast;
use tokio::time::Instant;

use super::ban::{Ban, BanChange, BanError, BanOrigin, NewBan, banned_network};
use super::counters::BanReport;
use super::file::Contents;
use super::outgoing::Change;
use super::state::Inner;
use super::store::Store;
use super::strikes::{Exceeded, StrikeTable};
use super::table::{BanTable, Inserted};
use crate::address::Source;
use crate::close_reason::CloseReason;
use crate::metrics::Counts;
use crate::settings::{BanSettings, Network, deadline_after};

/// The bans of a server, and the strikes of its clients. Clones refer to the same bans.
///
/// ```
/// use switchboard::bans::{Bans, NewBan};
///
/// let bans = Bans::default();
/// bans.add(NewBan::new("2001:db8::1".parse()?))?;
/// assert!(bans.is_banned("2001:db8::2".parse()?), "the same /64");
/// assert!(bans.remove("2001:db8::/64".parse()?, None).is_some());
/// assert!(!bans.is_banned("2001:db8::2".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Bans(pub(super) Arc<Inner>);

/// A handle that keeps nothing alive.
#[derive(Debug, Clone)]
pub(crate) struct WeakBans(Weak<Inner>);

impl WeakBans {
    pub(crate) fn upgrade(&self) -> Option<Bans> {
        self.0.upgrade().map(Bans)
    }
}

impl Default for Bans {
    /// No bans, and no bans by strikes.
    fn default() -> Self {
        Self::new(BanSettings::by_hand())
    }
}

impl Bans {
    /// No bans. [`load`](Self::load) reads those of the file.
    pub fn new(settings: BanSettings) -> Self {
        Self(Arc::new(Inner::new(settings)))
    }

    /// The settings.
    pub fn settings(&self) -> BanSettings {
        self.0.settings.read().clone()
    }

    /// Changes the settings, except the file. Bans in effect and strikes so far stay.
    pub fn configure(&self, settings: BanSettings) {
        self.0.counts_strikes.store(!settings.strikes.is_off(), Relaxed);
        let mut current = self.0.settings.write();
        let file = current.file.take();
        *current = BanSettings { file, ..settings };
    }

    /// Bans a network. A ban by an operator replaces an earlier one of the same network; any other only extends it.
    ///
    /// # Errors
    ///
    /// The request is invalid, or the table is full.
    pub fn add(&self, new: NewBan) -> Result<Ban, BanError> {
        new.check()?;
        let NewBan { network, duration, reason, origin } = new;
        let duration = duration.unwrap_or_else(|| self.0.settings.read().term);
        self.insert(Ban {
            network: banned_network(network),
            reason: reason.into(),
            origin,
            times: 0,
            began: SystemTime::now(),
            until: deadline_after(Instant::now(), duration),
        })
    }

    /// Removes the ban of a network, if it has this origin, and forgets the strikes of the network. Returns the removed
    /// ban.
    pub fn remove(&self, network: Network, origin: Option<BanOrigin>) -> Option<Ban> {
        let network = banned_network(network);
        let mut table = self.0.table.write();
        let known = table.get(&network)?;
        let is_ended = known.until <= Instant::now();
        if is_ended || origin.is_some_and(|origin| origin != known.origin) {
            return None;
        }
        let removed = table.remove(&network);
        self.0.len.store(table.len(), Relaxed);
        self.0.outgoing.add(network, Change::Removed);
        drop(table);
        self.0.strikes.lock().forget(network);
        removed.inspect(|ban| self.removed(ban, "removed"))
    }

    /// Whether an address is banned. Access lists are not considered.
    pub fn is_banned(&self, address: IpAddr) -> bool {
        !self.is_empty() && self.0.table.read().is_banned(address)
    }

    /// At most `limit` bans in the order of their networks, from the first network above `after`.
    pub fn list(&self, after: Option<Network>, limit: usize) -> Vec<Ban> {
        // Lookups wait only for a copy of the networks.
        let networks: Vec<Network> = self.0.table.read().all().map(|ban| ban.network).collect();
        let now = Instant::now();
        let sorted: BTreeSet<Network> =
            networks.into_iter().filter(|network| after.is_none_or(|after| *network > after)).collect();
        let table = self.0.table.read();
        let bans = sorted.iter().filter_map(|network| table.get(network)).filter(|ban| ban.until > now);
        bans.take(limit).cloned().collect()
    }

    /// Adds the counts of another process.
    pub(crate) fn add_counts(&self, counts: &Counts) {
        self.0.counters.add(counts);
    }

    /// The number of bans, the counters and the state of the file.
    pub fn report(&self) -> BanReport {
        self.remove_ended();
        let Inner { counters, store, settings, .. } = &*self.0;
        BanReport {
            active: self.0.len.load(Relaxed),
            entries: settings.read().entries,
            bans: counters.bans(),
            strikes: counters.strikes(),
            file: store.file.clone(),
            file_error: store.error(),
        }
    }

    /// Receives the changes from now on. A receiver that is more than 128 changes behind misses the oldest, and reads
    /// the [list](Self::list) instead.
    pub fn subscribe(&self) -> broadcast::Receiver<BanChange> {
        self.0.subscribe()
    }

    /// Whether there is no ban.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.len.load(Relaxed) == 0
    }

    /// The strikes for a close reason.
    pub(crate) fn weight(&self, reason: CloseReason) -> u32 {
        if self.counts_strikes() { self.0.settings.read().weights.of(reason) } else { 0 }
    }

    pub(crate) fn counts_strikes(&self) -> bool {
        self.0.counts_strikes.load(Relaxed)
    }

    /// Counts strikes of a source, and bans it if they exceed the rate. `cause` is the close reason, or `handler`.
    pub(crate) fn strike(&self, source: Source, strikes: u32, cause: &str) {
        if strikes == 0 || !self.counts_strikes() {
            return;
        }
        self.0.counters.struck(strikes);
        let now = Instant::now();
        let exceeded = {
            let settings = self.0.settings.read();
            self.0.strikes.lock().add(source, strikes, &settings, now)
        };
        let Some(Exceeded { strikes, times, duration }) = exceeded else { return };
        let inserted = self.insert(Ban {
            network: source.into(),
            reason: format!("{strikes} strikes, the last for {cause}").into(),
            origin: BanOrigin::Strikes,
            times,
            began: SystemTime::now(),
            until: deadline_after(now, duration),
        });
        if let Err(error) = inserted {
            let error = error.to_string();
            self.0.full.log(|| move |count| tracing::warn!(target: TARGET, error, count, "ban by strikes failed"));
        }
    }

    /// Removes bans that have ended. Returns when the next one ends, which may have passed.
    pub(crate) fn remove_ended(&self) -> Option<Instant> {
        let now = Instant::now();
        let next = self.0.table.read().next_end()?;
        if next > now {
            return Some(next);
        }
        let mut table = self.0.table.write();
        let (ended, next) = (table.remove_ended(now), table.next_end());
        self.0.len.store(table.len(), Relaxed);
        drop(table);
        ended.iter().for_each(|ban| log_removed(ban, "ended"));
        next
    }

    pub(crate) fn downgrade(&self) -> WeakBans {
        WeakBans(Arc::downgrade(&self.0))
    }

    pub(super) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(super) fn contents(&self) -> Contents {
        let now = Instant::now();
        let bans = self.0.table.read().all().filter(|ban| ban.until > now).cloned().collect();
        Contents { bans, repeats: self.0.strikes.lock().repeats(now).collect() }
    }

    /// Replaces the bans and the remembered sources. More bans than `bans.entries` are kept until they end.
    pub(super) fn replace_with(&self, Contents { bans, repeats }: Contents) {
        let (mut table, mut strikes) = (BanTable::default(), StrikeTable::default());
        for ban in bans {
            table.insert(ban, usize::MAX);
        }
        repeats.into_iter().for_each(|repeat| strikes.remember(repeat, Instant::now()));
        self.0.len.store(table.len(), Relaxed);
        *self.0.table.write() = table;
        *self.0.strikes.lock() = strikes;
    }

    fn insert(&self, ban: Ban) -> Result<Ban, BanError> {
        self.remove_ended();
        let entries = self.0.settings.read().entries;
        let mut table = self.0.table.write();
        let inserted = table.insert(ban.clone(), entries);
        self.0.len.store(table.len(), Relaxed);
        if matches!(inserted, Inserted::Added { .. }) {
            self.0.outgoing.add(ban.network, Change::Added);
        }
        drop(table);
        match inserted {
            Inserted::Full => return Err(BanError::Full(entries)),
            Inserted::Kept(known) => return Ok(known),
            Inserted::Added { replaced } => replaced.iter().for_each(|ban| self.removed(ban, "replaced")),
        }
        self.0.counters.banned(ban.origin);
        let Ban { network, reason, origin, times, .. } = &ban;
        let seconds = ban.time_left().as_secs_f64().round();
        tracing::info!(target: TARGET, %network, %reason, %origin, seconds, times, "banned");
        self.added(&ban);
        Ok(ban)
    }

    pub(super) fn added(&self, ban: &Ban) {
        self.0.changed(|| BanChange::Added(ban.clone()));
        self.0.store.change();
    }

    pub(super) fn removed(&self, ban: &Ban, cause: &str) {
        log_removed(ban, cause);
        self.0.changed(|| BanChange::Removed(ban.clone()));
        self.0.store.change();
    }
}

/// The tracing target of all events of bans.
pub(super) const TARGET: &str = "switchboard::bans";

fn log_removed(ban: &Ban, cause: &str) {
    let Ban { network, reason, origin, .. } = ban;
    let seconds = ban.time_left().as_secs_f64().round();
    tracing::info!(target: TARGET, %network, %reason, %origin, seconds, cause, "ban removed");
}
