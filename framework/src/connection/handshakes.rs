//! The TLS and PROXY handshakes in progress, bounded by `limits.handshakes`.
//!
//! At the limit, the source with most handshakes loses its oldest one, so that a source with many silent connections
//! keeps no other source out.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::address::Source;
use crate::connection::control_signal::ControlSignal;
use crate::connection::handle::Connection;

/// The handshakes of one listener.
#[derive(Debug, Default)]
pub(crate) struct Handshakes(Mutex<InProgress>);

#[derive(Debug, Default)]
struct InProgress {
    /// By connection id. Clients without a network address count as one source.
    handshakes: HashMap<u64, (Option<Source>, Connection)>,
    /// The ids of each source; the lowest is the oldest. No set is empty.
    by_source: HashMap<Option<Source>, BTreeSet<u64>>,
    /// The number of handshakes of each source, and its oldest one: the last entry is the one to abort. Among sources
    /// with equally many, that is the oldest of all.
    ranking: BTreeSet<(usize, Reverse<u64>)>,
}

pub(crate) struct HandshakeGuard(Arc<Handshakes>, u64);

impl Handshakes {
    /// Adds a handshake. Above `limit` (at least 1), aborts one handshake, which frees its place immediately.
    pub(crate) fn begin(self: &Arc<Self>, connection: &Connection, limit: usize) -> HandshakeGuard {
        let mut in_progress = self.0.lock();
        in_progress.insert(connection.clone());
        while in_progress.handshakes.len() > limit.max(1)
            && let Some((_, Reverse(id))) = in_progress.ranking.last().copied()
            && let Some(aborted) = in_progress.remove(id)
        {
            aborted.signal(ControlSignal::AbortHandshake);
        }
        HandshakeGuard(self.clone(), connection.id())
    }

    /// Counts a handshake for the source that its PROXY header names, instead of for the proxy.
    pub(crate) fn source_known(&self, connection: &Connection) {
        let mut in_progress = self.0.lock();
        if in_progress.remove(connection.id()).is_some() {
            in_progress.insert(connection.clone());
        }
    }
}

impl Drop for HandshakeGuard {
    fn drop(&mut self) {
        self.0.0.lock().remove(self.1);
    }
}

impl InProgress {
    fn insert(&mut self, connection: Connection) {
        let (id, source) = (connection.id(), connection.source());
        self.change_source(source, |ids| ids.insert(id));
        self.handshakes.insert(id, (source, connection));
    }

    fn remove(&mut self, id: u64) -> Option<Connection> {
        let (source, connection) = self.handshakes.remove(&id)?;
        self.change_source(source, |ids| ids.remove(&id));
        Some(connection)
    }

    /// Changes the ids of a source, and its place in the ranking.
    fn change_source(&mut self, source: Option<Source>, change: impl FnOnce(&mut BTreeSet<u64>) -> bool) {
        let rank = |ids: &BTreeSet<u64>| ids.first().map(|oldest| (ids.len(), Reverse(*oldest)));
        let ids = self.by_source.entry(source).or_default();
        if let Some(rank) = rank(ids) {
            self.ranking.remove(&rank);
        }
        change(ids);
        match rank(ids) {
            Some(rank) => drop(self.ranking.insert(rank)),
            None => drop(self.by_source.remove(&source)),
        }
    }
}

#[cfg(test)]
mod tests;
