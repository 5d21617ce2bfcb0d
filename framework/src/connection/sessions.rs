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
use std::hash::RandomState;

use lru::LruCache;

use crate::io::Route;
use crate::reason::CloseReason;
use crate::roster::Connection;

/// How many of the longest unseen peers of a part are looked at for one that can be forgotten.
const CANDIDATES: usize = 16;

/// The parts of the table, in the order in which they are forgotten.
const PROBATION: usize = 0;
const ESTABLISHED: usize = 1;
const VALIDATED: usize = 2;

/// One peer. While a message of it is handled its service is away, and further messages wait here.
pub(crate) struct Session<S, In> {
    pub(crate) connection: Connection,
    pub(crate) service: Option<S>,
    pub(crate) queue: VecDeque<(In, usize)>,
}

pub(crate) struct Sessions<S, In> {
    /// Unbounded to the crate, which would allocate a bounded table at once; bounded by `enter`.
    /// Senders choose the keys, so they are hashed with a secret.
    parts: [LruCache<Route, Session<S, In>, RandomState>; 3],
    limit: usize,
    /// The most that are established or validated.
    protected: usize,
}

impl<S, In> Sessions<S, In> {
    pub(crate) fn new(limit: usize) -> Self {
        let limit = limit.max(1);
        let parts = std::array::from_fn(|_| LruCache::unbounded_with_hasher(RandomState::new()));
        Self { parts, limit, protected: limit - limit.div_ceil(4) }
    }

    /// The peer's session, now the most recently seen; made by `make` if the peer is new. `None`: the table is full, and the
    /// longest unseen are all being served; or the peer cannot be had.
    pub(crate) fn enter(
        &mut self,
        route: &Route,
        make: impl FnOnce() -> Option<(Connection, S)>,
    ) -> Option<&mut Session<S, In>> {
        // Those who are here to stay are looked for first: they send most.
        let known = [VALIDATED, ESTABLISHED, PROBATION].into_iter().find(|part| self.parts[*part].contains(route));
        let part = match known {
            None => {
                if self.parts.iter().map(LruCache::len).sum::<usize>() >= self.limit && !self.forget_one() {
                    return None;
                }
                let (connection, service) = make()?;
                let session = Session { connection, service: Some(service), queue: VecDeque::new() };
                self.parts[PROBATION].put(route.clone(), session);
                PROBATION
            }
            Some(VALIDATED) => VALIDATED,
            Some(part) => {
                let validated = self.parts[part].peek(route)?.connection.is_address_validated();
                self.raise(route, part, if validated { VALIDATED } else { ESTABLISHED })
            }
        };
        self.parts[part].get_mut(route)
    }

    pub(crate) fn peek(&mut self, route: &Route) -> Option<&mut Session<S, In>> {
        self.parts.iter_mut().rev().find_map(|part| part.peek_mut(route))
    }

    pub(crate) fn forget(&mut self, route: &Route, reason: CloseReason) -> Option<Session<S, In>> {
        let session = self.parts.iter_mut().find_map(|part| part.pop(route))?;
        session.connection.finish(reason);
        Some(session)
    }

    /// Moves a peer to a better part, and whoever is then too many there back on probation. Answers where the peer is now.
    fn raise(&mut self, route: &Route, from: usize, to: usize) -> usize {
        if from >= to || self.protected == 0 {
            return from;
        }
        if let Some(session) = self.parts[from].pop(route) {
            self.parts[to].put(route.clone(), session);
        }
        if self.parts[ESTABLISHED].len() + self.parts[VALIDATED].len() > self.protected {
            let longest = self.parts[ESTABLISHED].pop_lru().or_else(|| self.parts[VALIDATED].pop_lru());
            if let Some((longest, session)) = longest {
                let itself = longest == *route;
                self.parts[PROBATION].put(longest, session);
                if itself {
                    return PROBATION;
                }
            }
        }
        to
    }

    /// Forgets a peer on probation that is not being served, to make room for another.
    fn forget_one(&mut self) -> bool {
        for _ in 0..CANDIDATES.min(self.parts[PROBATION].len()) {
            let Some((route, session)) = self.parts[PROBATION].peek_lru() else { return false };
            let route = route.clone();
            let validated = session.connection.is_address_validated();
            if validated && self.parts[VALIDATED].len() < self.protected {
                self.raise(&route, PROBATION, VALIDATED); // validated since it was last heard
            } else if session.service.is_some() {
                self.forget(&route, CloseReason::Limit);
                return true;
            } else {
                self.parts[PROBATION].promote(&route);
            }
        }
        false
    }
}

impl<S, In> Drop for Sessions<S, In> {
    fn drop(&mut self) {
        for (_, session) in self.parts.iter().flatten() {
            session.connection.finish(CloseReason::Drain);
        }
    }
}
