//! The table of bans: a lookup by address, bounded, with the ban that ends first at hand.
//!
//! A lookup is one bit for each prefix length that a ban has, one or two in practice, and a hash lookup if it is set.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use tokio::time::Instant;

use self::filter::Filter;
use super::ban::{Ban, BanOrigin};
use crate::settings::Network;

/// Maximum ended bans that are removed at once, because lookups wait meanwhile.
const ENDED_AT_ONCE: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct BanTable {
    bans: HashMap<Network, Ban>,
    filter: Filter,
    /// The number of bans of each prefix length, for IPv4 and IPv6.
    lengths: [Vec<(u8, usize)>; 2],
    /// The bans by their end.
    by_end: BTreeSet<(Instant, Network)>,
    /// The bans by strikes, by their end.
    by_strikes: BTreeSet<(Instant, Network)>,
}

/// The outcome of [`BanTable::insert`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Inserted {
    /// The ban is in the table. A ban by strikes had to make room.
    Added {
        replaced: Option<Ban>,
    },
    /// A ban of the same network that ends later stays.
    Kept(Ban),
    Full,
}

impl BanTable {
    pub(super) fn len(&self) -> usize {
        self.bans.len()
    }

    /// Reads the clock only if there is a ban.
    pub(super) fn is_banned(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.lengths[usize::from(address.is_ipv6())].iter().any(|(length, _)| {
            let may_be_banned = self.filter.may_contain(address, *length);
            let network = may_be_banned.then(|| Network::around(address, *length)).flatten();
            network.and_then(|network| self.bans.get(&network)).is_some_and(|ban| ban.until > Instant::now())
        })
    }

    /// Adds a ban of a network. A ban by an operator replaces one of the same network; others only extend it.
    pub(super) fn insert(&mut self, ban: Ban, limit: usize) -> Inserted {
        let mut replaced = None;
        match self.bans.get(&ban.network) {
            Some(known) if ban.origin != BanOrigin::Operator && known.until >= ban.until => {
                return Inserted::Kept(known.clone());
            }
            Some(_) => drop(self.remove(&ban.network)),
            None if self.len() < limit => {}
            None if ban.origin != BanOrigin::Strikes => return Inserted::Full,
            None => match self.by_strikes.first().copied() {
                Some((_, first)) => replaced = self.remove(&first),
                None => return Inserted::Full,
            },
        }
        self.count_length(&ban.network, 1);
        self.by_end.insert((ban.until, ban.network));
        if ban.origin == BanOrigin::Strikes {
            self.by_strikes.insert((ban.until, ban.network));
        }
        self.filter.insert(&ban.network);
        self.bans.insert(ban.network, ban);
        Inserted::Added { replaced }
    }

    pub(super) fn get(&self, network: &Network) -> Option<&Ban> {
        self.bans.get(network)
    }

    pub(super) fn remove(&mut self, network: &Network) -> Option<Ban> {
        let ban = self.bans.remove(network)?;
        self.filter.remove(self.bans.keys());
        self.count_length(network, -1);
        self.by_end.remove(&(ban.until, ban.network));
        self.by_strikes.remove(&(ban.until, ban.network));
        Some(ban)
    }

    /// Removes bans that have ended, at most [`ENDED_AT_ONCE`].
    pub(super) fn remove_ended(&mut self, now: Instant) -> Vec<Ban> {
        let ended = self.by_end.iter().take_while(|(until, _)| *until <= now).take(ENDED_AT_ONCE);
        let ended: Vec<Network> = ended.map(|(_, network)| *network).collect();
        ended.iter().filter_map(|network| self.remove(network)).collect()
    }

    /// When the next ban ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.by_end.first().map(|(until, _)| *until)
    }

    /// All bans, in any order.
    pub(super) fn all(&self) -> impl Iterator<Item = &Ban> {
        self.bans.values()
    }

    fn count_length(&mut self, network: &Network, change: isize) {
        let lengths = &mut self.lengths[usize::from(network.address().is_ipv6())];
        let at = lengths.iter().position(|(length, _)| *length == network.prefix_len()).unwrap_or_else(|| {
            lengths.push((network.prefix_len(), 0));
            lengths.len() - 1
        });
        lengths[at].1 = lengths[at].1.saturating_add_signed(change);
        lengths.retain(|(_, bans)| *bans > 0);
    }
}

mod filter;

#[cfg(test)]
mod tests;
