//! The handshakes of one listener that are under way: at most so many, and the longest unfinished one yields.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::lock::lock;
use crate::roster::connection::{Connection, Order};

/// Handshakes under way, by the number of the connection: the smallest has been at it for longest.
#[derive(Debug)]
pub(crate) struct Handshakes {
    limit: usize,
    under_way: Mutex<BTreeMap<u64, Connection>>,
}

/// A handshake that is under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct Handshake(Connection);

impl Handshakes {
    /// At most `limit` at once, and at least one.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), under_way: Mutex::default() }
    }

    /// One more; where that is too many, the oldest is told to make room. It is out at once and need not have heard of it yet.
    pub(crate) fn begin(&self, connection: &Connection) -> Handshake {
        let mut under_way = lock(&self.under_way);
        while under_way.len() >= self.limit
            && let Some((_, oldest)) = under_way.pop_first()
        {
            oldest.give(Order::MakeRoom);
        }
        under_way.insert(connection.id(), connection.clone());
        Handshake(connection.clone())
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        lock(&self.0.lane().handshakes.under_way).remove(&self.0.id());
    }
}
