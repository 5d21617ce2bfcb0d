//! The peers of a datagram socket, in a bounded table: a segmented LRU that spoofed sources cannot flush.
//!
//! A peer is on probation after one datagram, established after more, and validated when the handler has validated its
//! address ([`Connection::validate_address`]).
//!
//! Established and validated peers together occupy at most three quarters of the table. Above that, the least recently
//! seen established peer returns to probation; if there is no established peer, the least recently seen validated one
//! does. An unvalidated peer therefore never evicts a validated one, and a quarter of the table remains for new peers.
//! A new peer replaces the least recently seen peer on probation that has no message in progress. A bounded number of
//! peers is examined; if none of them can be evicted, the datagram of the new peer is dropped.
//!
//! Sources that send one datagram each evict only peers on probation. Sources that send two each also evict established
//! peers that stay silent until three quarters of the table are filled. They do not evict validated peers.
//!
//! The lists are handwritten: linked hash maps would hash the route again for every move between segments and for every
//! reference from a job. Here a job refers to its peer by a stable slab key.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use slab::Slab;
use tokio::time::Instant;

use crate::address::Address;
use crate::close_reason::CloseReason;
use crate::connection::Connection;
use crate::driver::datagram::jobs::QueuedMessage;
use crate::transport::Route;

/// Maximum peers examined to find one to evict.
const CANDIDATES: usize = 16;
/// Peers that are found by their port, without the keyed hash of their route.
const RECENT: usize = 256;

pub(crate) struct Peer<C, In> {
    pub(crate) route: Route,
    pub(crate) connection: Connection,
    /// The handler calls; `None` while a message is handled.
    pub(crate) calls: Option<Box<C>>,
    pub(crate) queue: VecDeque<QueuedMessage<In>>,
    /// When the running message was received, if its handler was not ready immediately.
    pub(crate) running_since: Option<Instant>,
}

pub(crate) struct PeerTable<C, In> {
    /// The keys of all peers by route. The hash is keyed, because senders choose their addresses.
    index: HashTable<usize>,
    hasher: RandomState,
    /// The keys of the peers seen last, by port. A place can be outdated or of another peer, so the route is compared.
    /// Senders who choose their ports only make others use the index.
    recent: Box<[usize; RECENT]>,
    entries: Slab<Entry<C, In>>,
    /// By [`Segment`].
    lists: [List; 3],
    limit: usize,
    max_protected: usize,
}

struct Entry<C, In> {
    peer: Peer<C, In>,
    segment: Segment,
    newer: Option<usize>,
    older: Option<usize>,
}

/// The segments of the table, in the order in which their peers are evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Probation,
    Established,
    Validated,
}

#[derive(Clone, Copy, Default)]
struct List {
    newest: Option<usize>,
    oldest: Option<usize>,
    len: usize,
}

impl<C, In> PeerTable<C, In> {
    pub(crate) fn new(limit: usize) -> Self {
        let limit = limit.max(1);
        Self {
            index: HashTable::new(),
            hasher: RandomState::new(),
            recent: Box::new([usize::MAX; RECENT]),
            entries: Slab::new(),
            lists: Default::default(),
            limit,
            max_protected: limit - limit.div_ceil(4),
        }
    }

    /// Finds the peer of a route and marks it as seen. `new_peer` creates an unknown one. `None`: the table is full and
    /// no peer can be evicted, or `new_peer` failed. A key stays valid until the peer is removed.
    pub(crate) fn get_or_insert(
        &mut self,
        route: &Route,
        new_peer: impl FnOnce() -> Option<(Connection, Box<C>)>,
    ) -> Option<(usize, &mut Peer<C, In>)> {
        let key = match self.find(route) {
            Some(key) => {
                let entry = &self.entries[key];
                let is_validated = entry.segment == Segment::Validated || entry.peer.connection.is_address_validated();
                self.mark_seen(key, if is_validated { Segment::Validated } else { Segment::Established });
                key
            }
            None => {
                if self.entries.len() >= self.limit && !self.evict() {
                    return None;
                }
                let (connection, calls) = new_peer()?;
                let peer = Peer {
                    route: route.clone(),
                    connection,
                    calls: Some(calls),
                    queue: VecDeque::new(),
                    running_since: None,
                };
                let entry = Entry { peer, segment: Segment::Probation, newer: None, older: None };
                let key = self.entries.insert(entry);
                self.link(key, Segment::Probation);
                let (hasher, entries) = (&self.hasher, &self.entries);
                let hash = hasher.hash_one(route);
                self.index.insert_unique(hash, key, |key| hasher.hash_one(&entries[*key].peer.route));
                key
            }
        };
        Some((key, &mut self.entries[key].peer))
    }

    #[inline]
    fn find(&mut self, route: &Route) -> Option<usize> {
        let port = if let Address::Inet(peer) = route.peer { peer.port() } else { 0 };
        let place = usize::from(port) % RECENT;
        let recent = self.recent[place];
        if self.entries.get(recent).is_some_and(|entry| entry.peer.route == *route) {
            return Some(recent);
        }
        let hash = self.hasher.hash_one(route);
        let key = *self.index.find(hash, |key| self.entries[*key].peer.route == *route)?;
        self.recent[place] = key;
        Some(key)
    }

    /// The peer of a route, if it is known. It does not count as seen.
    pub(crate) fn peek(&mut self, route: &Route) -> Option<&Peer<C, In>> {
        self.find(route).map(|key| &self.entries[key].peer)
    }

    /// The keys of the peers that `matches` accepts.
    pub(crate) fn keys(&self, matches: impl Fn(&Peer<C, In>) -> bool) -> Vec<usize> {
        self.entries.iter().filter(|(_, entry)| matches(&entry.peer)).map(|(key, _)| key).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn get(&mut self, key: usize) -> &mut Peer<C, In> {
        &mut self.entries[key].peer
    }

    pub(crate) fn remove(&mut self, key: usize, reason: CloseReason) -> Peer<C, In> {
        self.unlink(key);
        let hash = self.hasher.hash_one(&self.entries[key].peer.route);
        if let Ok(found) = self.index.find_entry(hash, |found| *found == key) {
            found.remove();
        }
        let peer = self.entries.remove(key).peer;
        peer.connection.finish(reason);
        peer
    }

    /// Makes a peer the most recently seen of its segment, or of a higher one.
    fn mark_seen(&mut self, key: usize, segment: Segment) {
        let current = self.entries[key].segment;
        if current >= segment || self.max_protected == 0 {
            return self.move_to(key, current);
        }
        self.move_to(key, segment);
        let [_, established, validated] = self.lists;
        if established.len + validated.len > self.max_protected
            && let Some(demoted) = established.oldest.or(validated.oldest)
        {
            self.move_to(demoted, Segment::Probation);
        }
    }

    /// Evicts a peer on probation that has no message in progress. False if there is none.
    fn evict(&mut self) -> bool {
        for _ in 0..CANDIDATES.min(self.list(Segment::Probation).len) {
            let Some(oldest) = self.list(Segment::Probation).oldest else { return false };
            let peer = &self.entries[oldest].peer;
            if peer.connection.is_address_validated()
                && self.lists[Segment::Validated as usize].len < self.max_protected
            {
                self.mark_seen(oldest, Segment::Validated); // validated since its last datagram
            } else if peer.calls.is_some() {
                self.remove(oldest, CloseReason::Limit);
                return true;
            } else {
                self.move_to(oldest, Segment::Probation);
            }
        }
        false
    }

    fn list(&mut self, segment: Segment) -> &mut List {
        &mut self.lists[segment as usize]
    }

    fn move_to(&mut self, key: usize, segment: Segment) {
        if self.list(segment).newest != Some(key) {
            self.unlink(key);
            self.link(key, segment);
        }
    }

    fn link(&mut self, key: usize, segment: Segment) {
        let list = self.list(segment);
        let older = list.newest.replace(key);
        list.len += 1;
        match older {
            Some(older) => self.entries[older].newer = Some(key),
            None => self.list(segment).oldest = Some(key),
        }
        let entry = &mut self.entries[key];
        (entry.segment, entry.older, entry.newer) = (segment, older, None);
    }

    fn unlink(&mut self, key: usize) {
        let Entry { segment, older, newer, .. } = self.entries[key];
        match newer {
            Some(newer) => self.entries[newer].older = older,
            None => self.list(segment).newest = older,
        }
        match older {
            Some(older) => self.entries[older].newer = newer,
            None => self.list(segment).oldest = newer,
        }
        self.list(segment).len -= 1;
    }
}

impl<C, In> Drop for PeerTable<C, In> {
    fn drop(&mut self) {
        for (_, entry) in &self.entries {
            entry.peer.connection.finish(CloseReason::Drain);
        }
    }
}
