//! Changes of bans that the other instances of a fleet do not have yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::settings::Network;

/// Maximum changes that wait. Above it, the bans themselves are sent again, and removals are not.
const MAX_CHANGES: usize = 100_000;

/// What the fleet must know of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It has been banned here.
    Added,
    /// Its ban has been removed here.
    Removed,
    /// It is banned here, since the fleet was not connected, or since the data of its server began.
    Known,
}

/// Empty, and of no cost, without a fleet.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    state: Mutex<State>,
    pub(super) changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    is_shared: bool,
    changes: BTreeMap<Network, (Change, u64)>,
    /// The number of the last change.
    number: u64,
    is_overrun: bool,
}

impl Outgoing {
    pub(super) fn add(&self, network: Network, change: Change) {
        let mut state = self.state.lock();
        if !state.is_shared {
            return;
        }
        if state.changes.len() >= MAX_CHANGES && !state.changes.contains_key(&network) {
            state.is_overrun = true;
            return;
        }
        state.number += 1;
        let number = state.number;
        state.changes.insert(network, (change, number));
        drop(state);
        self.changed.notify_one();
    }
}

#[cfg_attr(not(feature = "fleet"), expect(dead_code, reason = "without the feature, no bans are shared"))]
impl Outgoing {
    /// The change that waits.
    pub(super) fn get(&self, network: &Network) -> Option<Change> {
        self.state.lock().changes.get(network).map(|(change, _)| *change)
    }

    /// Collects changes from now on, or no more.
    pub(super) fn share(&self, is_shared: bool) {
        *self.state.lock() = State { is_shared, ..State::default() };
    }

    /// Adds bans without a change of their own.
    pub(super) fn add_known(&self, networks: impl Iterator<Item = Network>) {
        let mut state = self.state.lock();
        for network in networks {
            state.changes.entry(network).or_insert((Change::Known, 0));
        }
        state.is_overrun = false;
    }

    /// The first changes with their numbers.
    pub(super) fn first(&self, most: usize) -> Vec<(Network, Change, u64)> {
        let state = self.state.lock();
        state.changes.iter().take(most).map(|(network, (change, number))| (*network, *change, *number)).collect()
    }

    /// The fleet has these changes. Newer ones of the same networks stay.
    pub(super) fn sent(&self, changes: &[(Network, Change, u64)]) {
        let mut state = self.state.lock();
        for (network, change, number) in changes {
            if state.changes.get(network) == Some(&(*change, *number)) {
                state.changes.remove(network);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.state.lock().changes.len()
    }

    /// Whether changes were dropped.
    pub(super) fn is_overrun(&self) -> bool {
        self.state.lock().is_overrun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_comes_while_another_is_sent_stays() {
        let outgoing = Outgoing::default();
        let [one, two]: [Network; 2] = ["192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap()];
        outgoing.add(one, Change::Added);
        assert_eq!(outgoing.len(), 0, "there is no fleet");
        outgoing.share(true);
        outgoing.add(one, Change::Added);
        outgoing.add_known([one, two].into_iter());
        let sent = outgoing.first(10);
        assert_eq!(sent, [(one, Change::Added, 1), (two, Change::Known, 0)]);
        outgoing.add(one, Change::Removed);
        outgoing.sent(&sent);
        assert_eq!(outgoing.first(10), [(one, Change::Removed, 2)]);
    }

    #[test]
    fn the_changes_are_bounded() {
        let outgoing = Outgoing::default();
        outgoing.share(true);
        for n in 0..=u32::try_from(MAX_CHANGES).unwrap() {
            assert!(!outgoing.is_overrun());
            outgoing.add(Network::from(std::net::IpAddr::from(n.to_be_bytes())), Change::Added);
        }
        assert!(outgoing.len() == MAX_CHANGES && outgoing.is_overrun());
    }
}
