//! The peers of a datagram socket: a bounded table that made-up senders cannot sweep. A segmented LRU, in three parts:
//!
//! - on probation: heard once;
//! - established: heard again since;
//! - validated: its protocol has proven the address ([`Connection::validate_address`]).
//!
//! Established and validated peers together are at most three quarters of the table. One more, and the longest unseen goes
//! back on probation: an established one if there is any, else a validated one. So whoever is not validated never displaces
//! one who is, and a quarter is always left for newcomers. A newcomer to a full table replaces the longest unseen peer that
//! is on probation; one that is being served is passed over. Where those looked at are all being served, the newcomer's datagram
//! is dropped: it never costs an established peer its place. Each datagram looks at a bounded number of peers.
//!
//! What this resists: senders heard once each, however many, displace only others on probation. Senders heard twice each
//! displace established peers too: such a peer stays if it is heard again before that many others are established as three
//! quarters of the table hold. They do not reach validated peers. Somebody who really receives at as many addresses or ports as the
//! table holds can displace anyone, as a crowd of true clients can. A table of one remembers the last peer.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use slab::Slab;
use tokio::time::Instant;

use crate::connection::Connection;
use crate::reason::CloseReason;
use crate::transport::Route;

/// How many of the longest unseen peers of a part are looked at for one that can be forgotten.
const CANDIDATES: usize = 16;

/// The parts of the table, in the order in which they are forgotten.
const PROBATION: usize = 0;
const ESTABLISHED: usize = 1;
const VALIDATED: usize = 2;

/// One peer. While a message of it is handled its calls are away, and further messages wait here.
pub(crate) struct Session<C, In> {
    pub(crate) route: Route,
    pub(crate) connection: Connection,
    pub(crate) calls: Option<C>,
    pub(crate) queue: VecDeque<(In, usize)>,
    /// Since when its message waits, if it does.
    pub(crate) waits_since: Option<Instant>,
}

pub(crate) struct Sessions<C, In> {
    /// The places of all peers, by route. Senders choose the routes, so they are hashed with a secret.
    index: HashTable<usize>,
    secret: RandomState,
    places: Slab<PeerEntry<C, In>>,
    parts: [Part; 3],
    limit: usize,
    /// The most that are established or validated.
    protected: usize,
}

/// Where a peer is: a link of its part.
struct PeerEntry<C, In> {
    session: Session<C, In>,
    part: usize,
    newer: Option<usize>,
    older: Option<usize>,
}

/// One part of the table: its peers in the order in which they were last seen.
#[derive(Clone, Copy, Default)]
struct Part {
    newest: Option<usize>,
    oldest: Option<usize>,
    len: usize,
}

impl<C, In> Sessions<C, In> {
    pub(crate) fn new(limit: usize) -> Self {
        let limit = limit.max(1);
        Self {
            index: HashTable::new(),
            secret: RandomState::new(),
            places: Slab::new(),
            parts: [Part::default(); 3],
            limit,
            protected: limit - limit.div_ceil(4),
        }
    }

    /// The peer's session and its place, now the most recently seen; made by `make` if the peer is new. `None`: the table is
    /// full, and the longest unseen are all being served; or the peer cannot be had.
    pub(crate) fn enter(
        &mut self,
        route: &Route,
        make: impl FnOnce() -> Option<(Connection, C)>,
    ) -> Option<(usize, &mut Session<C, In>)> {
        let hash = self.secret.hash_one(route);
        let known = self.index.find(hash, |at| self.places[*at].session.route == *route);
        let at = match known.copied() {
            None => {
                if self.places.len() >= self.limit && !self.forget_one() {
                    return None;
                }
                let (connection, calls) = make()?;
                let session = Session {
                    route: route.clone(),
                    connection,
                    calls: Some(calls),
                    queue: VecDeque::new(),
                    waits_since: None,
                };
                let at = self.places.insert(PeerEntry { session, part: PROBATION, newer: None, older: None });
                self.append(at, PROBATION);
                let (secret, places) = (&self.secret, &self.places);
                self.index.insert_unique(hash, at, |at| secret.hash_one(&places[*at].session.route));
                at
            }
            Some(at) => {
                let place = &self.places[at];
                let validated = place.part == VALIDATED || place.session.connection.is_address_validated();
                self.see(at, if validated { VALIDATED } else { ESTABLISHED });
                at
            }
        };
        Some((at, &mut self.places[at].session))
    }

    /// The session at a place that [`enter`](Self::enter) has told. A peer stays where it is at least until its calls are back.
    /// How many peers are remembered.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn at(&mut self, at: usize) -> &mut Session<C, In> {
        &mut self.places[at].session
    }

    pub(crate) fn forget(&mut self, at: usize, reason: CloseReason) -> Session<C, In> {
        self.unlink(at);
        let hash = self.secret.hash_one(&self.places[at].session.route);
        if let Ok(found) = self.index.find_entry(hash, |found| *found == at) {
            found.remove();
        }
        let session = self.places.remove(at).session;
        session.connection.finish(reason);
        session
    }

    /// A peer was heard: it is the most recently seen of its part, or of a better one. Whoever is then too many there goes
    /// back on probation.
    fn see(&mut self, at: usize, to: usize) {
        let from = self.places[at].part;
        let rises = from < to && self.protected > 0;
        self.put(at, if rises { to } else { from });
        if rises && self.parts[ESTABLISHED].len + self.parts[VALIDATED].len > self.protected {
            let longest = self.parts[ESTABLISHED].oldest.or(self.parts[VALIDATED].oldest);
            longest.into_iter().for_each(|longest| self.put(longest, PROBATION));
        }
    }

    /// Forgets a peer on probation that is not being served, to make room for another.
    fn forget_one(&mut self) -> bool {
        for _ in 0..CANDIDATES.min(self.parts[PROBATION].len) {
            let Some(oldest) = self.parts[PROBATION].oldest else { return false };
            let session = &self.places[oldest].session;
            if session.connection.is_address_validated() && self.parts[VALIDATED].len < self.protected {
                self.see(oldest, VALIDATED); // validated since it was last heard
            } else if session.calls.is_some() {
                self.forget(oldest, CloseReason::Limit);
                return true;
            } else {
                self.put(oldest, PROBATION);
            }
        }
        false
    }

    /// Makes a peer the newest of a part.
    fn put(&mut self, at: usize, part: usize) {
        if self.parts[part].newest != Some(at) {
            self.unlink(at);
            self.append(at, part);
        }
    }

    fn append(&mut self, at: usize, part: usize) {
        let older = self.parts[part].newest.replace(at);
        match older {
            Some(older) => self.places[older].newer = Some(at),
            None => self.parts[part].oldest = Some(at),
        }
        self.parts[part].len += 1;
        let place = &mut self.places[at];
        (place.part, place.older, place.newer) = (part, older, None);
    }

    fn unlink(&mut self, at: usize) {
        let PeerEntry { part, older, newer, .. } = self.places[at];
        match newer {
            Some(newer) => self.places[newer].older = older,
            None => self.parts[part].newest = older,
        }
        match older {
            Some(older) => self.places[older].newer = newer,
            None => self.parts[part].oldest = newer,
        }
        self.parts[part].len -= 1;
    }
}

impl<C, In> Drop for Sessions<C, In> {
    fn drop(&mut self) {
        for (_, place) in &self.places {
            place.session.connection.finish(CloseReason::Drain);
        }
    }
}
