//! The peers of a datagram socket: a bounded table, the least recently seen forgotten first.

use std::collections::VecDeque;
use std::num::NonZeroUsize;

use lru::LruCache;

use crate::io::Route;
use crate::reason::CloseReason;
use crate::roster::Connection;

/// How many of the least recently seen peers are looked at for one that can be forgotten.
const CANDIDATES: usize = 16;

/// One peer. While a message of it is handled its service is away, and further messages wait here.
pub(crate) struct Session<S, In> {
    pub(crate) connection: Connection,
    pub(crate) service: Option<S>,
    pub(crate) queue: VecDeque<(In, usize)>,
}

pub(crate) struct Sessions<S, In> {
    table: LruCache<Route, Session<S, In>>,
}

impl<S, In> Sessions<S, In> {
    pub(crate) fn new(limit: usize) -> Self {
        // Unbounded to the crate, which would allocate the whole table at once; bounded by `enter`.
        let mut table = LruCache::unbounded();
        table.resize(NonZeroUsize::new(limit).unwrap_or(NonZeroUsize::MIN));
        Self { table }
    }

    /// The peer's session, now the most recently seen; made by `make` if the peer is new. `None`: the table is full, and the
    /// longest unseen are all being served; or the peer cannot be had.
    pub(crate) fn enter(
        &mut self,
        route: &Route,
        make: impl FnOnce() -> Option<(Connection, S)>,
    ) -> Option<&mut Session<S, In>> {
        if !self.table.contains(route) {
            if self.table.len() >= self.table.cap().get() && !self.forget_one() {
                return None;
            }
            let (connection, service) = make()?;
            let session = Session { connection, service: Some(service), queue: VecDeque::new() };
            self.table.put(route.clone(), session);
        }
        self.table.get_mut(route)
    }

    pub(crate) fn peek(&mut self, route: &Route) -> Option<&mut Session<S, In>> {
        self.table.peek_mut(route)
    }

    pub(crate) fn forget(&mut self, route: &Route, reason: CloseReason) -> Option<Session<S, In>> {
        let session = self.table.pop(route)?;
        session.connection.finish(reason);
        Some(session)
    }

    /// Forgets the least recently seen peer that is not being served.
    fn forget_one(&mut self) -> bool {
        for _ in 0..CANDIDATES.min(self.table.len()) {
            let Some((route, session)) = self.table.peek_lru() else { return false };
            let route = route.clone();
            if session.service.is_some() {
                self.forget(&route, CloseReason::Limit);
                return true;
            }
            self.table.promote(&route);
        }
        false
    }
}

impl<S, In> Drop for Sessions<S, In> {
    fn drop(&mut self) {
        for (_, session) in &self.table {
            session.connection.finish(CloseReason::Drain);
        }
    }
}
