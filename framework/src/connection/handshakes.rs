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
    handshakes: HashMap<u64, Handshake>,
    /// The handshakes of each source; the lowest is the oldest. No set is empty.
    by_source: HashMap<Option<Source>, BTreeSet<Age>>,
    /// The number of handshakes of each source, and its oldest one: the last entry is the one to abort. Among sources
    /// with equally many, that is the oldest of all.
    ranking: BTreeSet<(usize, Reverse<Age>)>,
    /// The number of handshakes that have begun.
    begun: u64,
}

#[derive(Debug)]
struct Handshake {
    age: Age,
    source: Option<Source>,
    connection: Connection,
}

/// The position of a handshake among all that have begun, and the id of its connection. An old connection can begin a
/// new handshake.
type Age = (u64, u64);

pub(crate) struct HandshakeGuard(Arc<Handshakes>, u64);

impl Handshakes {
    pub(crate) fn len(&self) -> usize {
        self.0.lock().handshakes.len()
    }

    /// Adds a handshake. Above `limit` (at least 1), aborts one handshake, which frees its place immediately.
    pub(crate) fn begin(self: &Arc<Self>, connection: &Connection, limit: usize) -> HandshakeGuard {
        let mut in_progress = self.0.lock();
        // Of an earlier handshake that was complete when the signal arrived.
        connection.clear_signal(ControlSignal::AbortHandshake);
        in_progress.begun += 1;
        let age = (in_progress.begun, connection.id());
        in_progress.insert(age, connection.clone());
        while in_progress.handshakes.len() > limit.max(1)
            && let Some((_, Reverse((_, id)))) = in_progress.ranking.last().copied()
            && let Some(aborted) = in_progress.remove(id)
        {
            aborted.connection.signal(ControlSignal::AbortHandshake);
        }
        HandshakeGuard(self.clone(), connection.id())
    }

    /// Counts a handshake for the source that its PROXY header names, instead of for the proxy.
    pub(crate) fn source_known(&self, connection: &Connection) {
        let mut in_progress = self.0.lock();
        if let Some(Handshake { age, connection, .. }) = in_progress.remove(connection.id()) {
            in_progress.insert(age, connection);
        }
    }
}

impl Drop for HandshakeGuard {
    fn drop(&mut self) {
        self.0.0.lock().remove(self.1);
    }
}

impl InProgress {
    fn insert(&mut self, age: Age, connection: Connection) {
        let source = connection.source();
        self.change_source(source, |ages| ages.insert(age));
        self.handshakes.insert(connection.id(), Handshake { age, source, connection });
    }

    fn remove(&mut self, id: u64) -> Option<Handshake> {
        let handshake = self.handshakes.remove(&id)?;
        self.change_source(handshake.source, |ages| ages.remove(&handshake.age));
        Some(handshake)
    }

    /// Changes the handshakes of a source, and its place in the ranking.
    fn change_source(&mut self, source: Option<Source>, change: impl FnOnce(&mut BTreeSet<Age>) -> bool) {
        let rank = |ages: &BTreeSet<Age>| ages.first().map(|oldest| (ages.len(), Reverse(*oldest)));
        let ages = self.by_source.entry(source).or_default();
        if let Some(rank) = rank(ages) {
            self.ranking.remove(&rank);
        }
        change(ages);
        match rank(ages) {
            Some(rank) => drop(self.ranking.insert(rank)),
            None => drop(self.by_source.remove(&source)),
        }
    }
}

#[cfg(test)]
mod tests;
