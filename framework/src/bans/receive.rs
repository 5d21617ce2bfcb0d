//! Applies what other instances of a fleet have banned.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::Instant;

use super::ban::{Ban, BanOrigin};
use super::handle::{Bans, TARGET};
use super::outgoing::{Change, Outgoing};
use super::strikes::Repeat;
use super::table::{BanTable, Inserted};
use crate::address::Source;
use crate::settings::{Network, deadline_after};

/// A ban whose end differs by less is the same.
const SAME: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Changed,
    Unchanged,
    /// The table is full.
    Full,
}

impl Bans {
    /// Applies the ban that the fleet has of a network, unless the fleet does not have the last change here yet.
    pub(super) fn receive(&self, ban: &Ban) -> Outcome {
        let now = Instant::now();
        let entries = self.settings().entries;
        let inserted = self.change(|table, outgoing| {
            let (known, waiting) = (table.get(&ban.network), outgoing.get(&ban.network));
            let is_newer_here = match waiting {
                Some(Change::Added | Change::Removed) => true,
                Some(Change::Known) => known.is_some_and(|known| known.until > ban.until),
                None => false,
            };
            if ban.until <= now || is_newer_here || known.is_some_and(|known| is_same(known, ban)) {
                return None;
            }
            table.remove(&ban.network);
            Some(table.insert(ban.clone(), entries))
        });
        match inserted {
            None | Some(Inserted::Kept(_)) => return Outcome::Unchanged,
            Some(Inserted::Full) => return Outcome::Full,
            Some(Inserted::Added { replaced }) => replaced.iter().for_each(|ban| self.removed(ban, "replaced")),
        }
        if ban.origin == BanOrigin::Strikes {
            let until = deadline_after(ban.until, self.settings().longest);
            self.0
                .strikes
                .lock()
                .remember(Repeat { source: Source::of(ban.network.address()), times: ban.times, until }, now);
        }
        let Ban { network, reason, origin, .. } = ban;
        let seconds = ban.time_left().as_secs_f64().round();
        tracing::info!(target: TARGET, %network, %reason, %origin, seconds, "banned by another instance");
        self.added(ban);
        Outcome::Changed
    }

    /// Another instance has removed the ban of a network.
    pub(super) fn receive_removal(&self, network: Network) -> Outcome {
        let removed = self.change(|table, outgoing| match outgoing.get(&network) {
            Some(Change::Added | Change::Removed) => None,
            _ => table.remove(&network),
        });
        let Some(removed) = removed else { return Outcome::Unchanged };
        self.0.strikes.lock().forget(network);
        self.removed(&removed, "removed by another instance");
        Outcome::Changed
    }

    pub(super) fn outgoing(&self) -> &Outgoing {
        &self.0.outgoing
    }

    /// The ban of a network.
    pub(super) fn get(&self, network: &Network) -> Option<Ban> {
        self.0.table.read().get(network).filter(|ban| ban.until > Instant::now()).cloned()
    }

    /// The networks of all bans.
    pub(super) fn networks(&self) -> Vec<Network> {
        self.0.table.read().all().map(|ban| ban.network).collect()
    }

    /// Changes the table, together with the changes that wait for the fleet.
    fn change<T>(&self, change: impl FnOnce(&mut BanTable, &Outgoing) -> T) -> T {
        let mut table = self.0.table.write();
        let changed = change(&mut table, &self.0.outgoing);
        self.0.len.store(table.len(), Relaxed);
        changed
    }
}

fn is_same(one: &Ban, other: &Ban) -> bool {
    let (earlier, later) = (one.until.min(other.until), one.until.max(other.until));
    (one.origin, &one.reason, one.times) == (other.origin, &other.reason, other.times) && later - earlier < SAME
}
