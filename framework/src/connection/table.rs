//! The open connections of one listener: how a drain, a cut or an operator reaches them, and how many there are.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::Notify;

use crate::address::Source;
use crate::connection::handle::{Connection, ControlSignal};
use crate::reason::CloseReason;

/// The open connections of one listener, and how many each source has. Bounded by the listener's limit.
#[derive(Debug, Default)]
pub(crate) struct ConnectionTable {
    entries: Mutex<Entries>,
    left: Notify,
    emptied: Notify,
}

#[derive(Debug)]
struct Entries {
    open: HashMap<u64, Connection>,
    /// How many connections each source has; only where that is limited.
    sources: HashMap<Source, usize>,
    /// How many have ever entered.
    entered: usize,
    /// What a connection that enters now is told.
    standing: ControlSignal,
    cut: usize,
}

impl Default for Entries {
    fn default() -> Self {
        Self { open: HashMap::new(), sources: HashMap::new(), entered: 0, standing: ControlSignal::Stay, cut: 0 }
    }
}

/// A place in the table, given back when dropped.
#[derive(Debug)]
pub(crate) struct ConnectionGuard {
    connection: Connection,
    /// It was never open.
    rejected: bool,
}

impl ConnectionGuard {
    /// Gives the place back as if nobody had ever had it.
    pub(crate) fn rejected(mut self) {
        self.rejected = true;
    }
}

impl ConnectionTable {
    /// Takes a place in the table of its listener, unless `limit` are open already.
    pub(crate) fn enter(&self, connection: &Connection, limit: usize) -> Option<ConnectionGuard> {
        let mut entries = self.entries.lock();
        if entries.open.len() >= limit {
            return None;
        }
        entries.open.insert(connection.id(), connection.clone());
        entries.entered += 1;
        if entries.standing != ControlSignal::Stay {
            connection.signal(entries.standing);
        }
        Some(ConnectionGuard { connection: connection.clone(), rejected: false })
    }

    /// Counts a connection that has entered for its source, unless `limit` of that source are there already. It is counted until
    /// it leaves.
    pub(crate) fn count(&self, connection: &Connection, source: Source, limit: usize) -> bool {
        let mut entries = self.entries.lock();
        let open = entries.sources.get(&source).copied().unwrap_or_default();
        let is_room = open < limit && entries.open.contains_key(&connection.id());
        if is_room && connection.counted_source().set(source).is_ok() {
            entries.sources.insert(source, open + 1);
        }
        is_room
    }

    /// Counts every connection that is there for its source: for a limit that did not stand when they came.
    pub(crate) fn count_all(&self) {
        let mut entries = self.entries.lock();
        let Entries { open, sources, .. } = &mut *entries;
        for connection in open.values() {
            if let Some(source) = connection.source()
                && connection.counted_source().set(source).is_ok()
            {
                *sources.entry(source).or_default() += 1;
            }
        }
    }

    /// Looks at everybody who is there, while nobody comes or goes.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&mut dyn Iterator<Item = &Connection>) -> T) -> T {
        look(&mut self.entries.lock().open.values())
    }

    /// The connection of this number, if it is there.
    pub(crate) fn get(&self, id: u64) -> Option<Connection> {
        self.entries.lock().open.get(&id).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.lock().open.len()
    }

    /// How many have left.
    pub(crate) fn gone(&self) -> usize {
        let entries = self.entries.lock();
        entries.entered - entries.open.len()
    }

    /// How many have ever entered.
    pub(crate) fn entered(&self) -> usize {
        self.entries.lock().entered
    }

    /// How many of the connections that have left were cut.
    pub(crate) fn cut(&self) -> usize {
        self.entries.lock().cut
    }

    /// Tells every open connection, and every one that enters later.
    pub(crate) fn signal_all(&self, order: ControlSignal) {
        let mut entries = self.entries.lock();
        entries.standing = entries.standing.max(order);
        entries.open.values().for_each(|connection| connection.signal(order));
    }

    /// Waits until a connection has left since this was last awaited. For the accept loop alone.
    pub(crate) async fn left(&self) {
        self.left.notified().await;
    }

    /// Waits until nobody is connected. For any number of waiters.
    pub(crate) async fn empty(&self) {
        loop {
            let mut emptied = pin!(self.emptied.notified());
            emptied.as_mut().enable(); // before the look, so that the last one to leave is not missed
            if self.len() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let Self { connection, rejected } = self;
        let (table, metrics) = (&connection.listener_context().table, &connection.listener_context().metrics);
        let mut entries = table.entries.lock();
        entries.open.remove(&connection.id());
        if let Some(source) = connection.counted_source().get()
            && let Entry::Occupied(mut open) = entries.sources.entry(*source)
        {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
        if *rejected {
            entries.entered -= 1;
        } else {
            let reason = connection.close_reason().unwrap_or(CloseReason::HandlerClosed);
            entries.cut += usize::from(reason.is_cut());
            // Under the lock, so that whoever adds up those who are there and those who left counts nobody twice.
            metrics.closed.add(reason as usize, 1);
            metrics.messages.fetch_add(connection.messages(), Relaxed);
            metrics.bytes_in.fetch_add(connection.bytes_in(), Relaxed);
            metrics.bytes_out.fetch_add(connection.bytes_out(), Relaxed);
        }
        let emptied = entries.open.is_empty();
        drop(entries);
        table.left.notify_one();
        if emptied {
            table.emptied.notify_waiters();
        }
    }
}
