//! The table of open connections of one listener.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::address::Source;
use crate::close_reason::CloseReason;
use crate::connection::control_signal::ControlSignal;
use crate::connection::handle::Connection;
use crate::connection::info::OpenConnections;
use crate::connection::recently_closed::{ClosedConnection, RecentlyClosed};

/// The open connections of one listener, and the number of connections per source.
#[derive(Debug, Default)]
pub(crate) struct ConnectionTable {
    entries: Mutex<Entries>,
    recently_closed: RecentlyClosed,
    closed: Notify,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    open: HashSet<Connection>,
    /// Open connections per source. Empty unless `limits.connections_per_source` is set.
    per_source: HashMap<Source, usize>,
    accepted: usize,
    aborted: usize,
    /// The signal that new connections receive too.
    signal: ControlSignal,
}

/// Removes a connection from its table on drop, unless admission has removed it already.
#[derive(Debug)]
pub(crate) struct ConnectionGuard(Connection);

impl ConnectionGuard {
    pub(crate) fn new(connection: Connection) -> Self {
        Self(connection)
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.0
    }

    /// Adds the connection, which has a close reason, to the list of those that closed last.
    pub(crate) fn remember(&self, error: Option<&str>) {
        self.0.listener_info().open.remember_closed(self.0.id(), error);
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.listener_info().open.remove_closed(self.0.id());
    }
}

impl Entries {
    /// The open connections, in the order that one seed of a simulated network must repeat.
    #[cfg(feature = "testing")]
    fn in_order(&self) -> impl Iterator<Item = &Connection> {
        let mut open: Vec<_> = self.open.iter().collect();
        open.sort_unstable_by_key(|connection| connection.id());
        open.into_iter()
    }

    /// The open connections, in any order.
    #[cfg(not(feature = "testing"))]
    fn in_order(&self) -> impl Iterator<Item = &Connection> {
        self.open.iter()
    }
}

impl ConnectionTable {
    /// Adds a connection. False if as many connections are open as `limit` allows: it gets the number of open ones.
    pub(crate) fn insert(&self, connection: &Connection, limit: impl FnOnce(usize) -> usize) -> bool {
        let mut entries = self.entries.lock();
        if entries.open.len() >= limit(entries.open.len()) {
            return false;
        }
        entries.open.insert(connection.clone());
        entries.accepted += 1;
        if entries.signal != ControlSignal::Continue {
            connection.signal(entries.signal);
        }
        true
    }

    /// Counts an open connection for its source. False if as many connections of that source are open as `limit`
    /// allows: it gets the number of open ones.
    pub(crate) fn count_source(
        &self,
        connection: &Connection,
        source: Source,
        limit: impl FnOnce(usize) -> usize,
    ) -> bool {
        let mut entries = self.entries.lock();
        let open = entries.per_source.get(&source).copied().unwrap_or_default();
        let has_room = open < limit(open) && entries.open.contains(connection);
        if has_room && connection.set_counted_source(source) {
            entries.per_source.insert(source, open + 1);
        }
        has_room
    }

    /// Counts all open connections for their sources: a reload has set `limits.connections_per_source`.
    pub(crate) fn count_all_sources(&self) {
        let mut entries = self.entries.lock();
        let Entries { open, per_source, .. } = &mut *entries;
        for connection in open.iter() {
            if let Some(source) = connection.source()
                && connection.set_counted_source(source)
            {
                *per_source.entry(source).or_default() += 1;
            }
        }
    }

    /// Passes the open connections to `visit`. None is added or removed meanwhile.
    pub(crate) fn with_open<T>(&self, visit: impl FnOnce(&mut dyn Iterator<Item = &Connection>) -> T) -> T {
        visit(&mut self.entries.lock().open.iter())
    }

    /// The ids of the open connections, in any order.
    pub(crate) fn ids(&self) -> Vec<u64> {
        self.entries.lock().in_order().map(Connection::id).collect()
    }

    pub(crate) fn get(&self, id: u64) -> Option<Connection> {
        self.entries.lock().open.get(&id).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.lock().open.len()
    }

    /// The open connections of a source, as far as they are counted, or of all sources.
    pub(super) fn open_of(&self, source: Option<Source>) -> usize {
        let entries = self.entries.lock();
        source.map_or(entries.open.len(), |source| entries.per_source.get(&source).copied().unwrap_or_default())
    }

    /// The numbers of connections accepted, closed and aborted so far.
    pub(crate) fn totals(&self) -> (usize, usize, usize) {
        let entries = self.entries.lock();
        (entries.accepted, entries.accepted - entries.open.len(), entries.aborted)
    }

    /// The last connections that closed, the newest first.
    pub(crate) fn recently_closed(&self) -> Vec<ClosedConnection> {
        self.recently_closed.read()
    }

    /// Signals every open connection, and every one that is accepted later.
    pub(crate) fn broadcast(&self, signal: ControlSignal) {
        let mut entries = self.entries.lock();
        entries.signal = entries.signal.max(signal);
        entries.in_order().for_each(|connection| connection.signal(signal));
    }

    /// Waits until a connection has closed since the last call. For one waiter: the accept loop.
    pub(crate) async fn connection_closed(&self) {
        self.closed.notified().await;
    }

    /// Waits until no connection is open. For any number of waiters.
    pub(crate) async fn wait_empty(&self) {
        loop {
            let mut emptied = pin!(self.emptied.notified());
            emptied.as_mut().enable(); // before the check, so that no notification is missed
            if self.len() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// Removes a rejected connection, if it is in the table: it counts as if it had never been accepted.
    pub(crate) fn remove_rejected(&self, connection: &Connection) {
        self.remove(connection.id(), |entries, _| entries.accepted -= 1);
    }

    fn remove(&self, id: u64, count: impl FnOnce(&mut Entries, &Connection)) {
        let mut entries = self.entries.lock();
        let Some(connection) = entries.open.take(&id) else { return };
        if let Some(source) = connection.counted_source()
            && let Entry::Occupied(mut open) = entries.per_source.entry(source)
        {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
        count(&mut entries, &connection); // under the lock: a report that adds open and closed connections counts each once
        let is_empty = entries.open.is_empty();
        drop(entries);
        self.closed.notify_one();
        if is_empty {
            self.emptied.notify_waiters();
        }
    }
}

impl OpenConnections for ConnectionTable {
    fn contains(&self, id: u64) -> bool {
        self.entries.lock().open.contains(&id)
    }

    fn remember_closed(&self, id: u64, error: Option<&str>) {
        if let Some(connection) = self.get(id) {
            self.recently_closed.add(&connection, error);
        }
    }

    fn remove_closed(&self, id: u64) {
        let mut closed = None;
        self.remove(id, |entries, connection| {
            let reason = connection.close_reason().unwrap_or(CloseReason::HandlerClosed);
            entries.aborted += usize::from(reason.is_cut());
            let metrics = &connection.listener_info().metrics;
            metrics.closed.add(reason as usize, 1);
            metrics.messages.fetch_add(connection.messages(), Relaxed);
            metrics.bytes_in.fetch_add(connection.bytes_in(), Relaxed);
            metrics.bytes_out.fetch_add(connection.bytes_out(), Relaxed);
            closed = Some((connection.clone(), reason));
        });
        if let Some((connection, reason)) = closed {
            connection.strike_for(reason);
        }
    }
}
