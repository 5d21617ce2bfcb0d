//! The handshakes of one listener that are under way: at most so many, and the longest unfinished one yields.

use parking_lot::Mutex;
use std::collections::BTreeMap;

use crate::connection::handle::{Connection, ControlSignal};

/// Handshakes under way, by the number of the connection: the smallest has been at it for longest.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    under_way: Mutex<BTreeMap<u64, Connection>>,
}

/// A handshake that is under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct Handshake(Connection);

impl Handshakes {
    /// One more, of at most `limit` and at least one; where that is too many, the oldest is told to make room. It is out at
    /// once and need not have heard of it yet.
    pub(crate) fn begin(&self, connection: &Connection, limit: usize) -> Handshake {
        let mut under_way = self.under_way.lock();
        while under_way.len() >= limit.max(1)
            && let Some((_, oldest)) = under_way.pop_first()
        {
            oldest.signal(ControlSignal::YieldHandshake);
        }
        under_way.insert(connection.id(), connection.clone());
        Handshake(connection.clone())
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.listener_context().handshakes.under_way.lock().remove(&self.0.id());
    }
}
