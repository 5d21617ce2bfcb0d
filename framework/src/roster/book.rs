//! The open connections of one listener: how a drain, a cut or an operator reaches them, and how many there are.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::pin::pin;
use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::Notify;

use crate::address::Source;
use crate::lock::lock;
use crate::reason::CloseReason;
use crate::roster::connection::{Connection, Order};

/// The open connections of one listener, and how many each source has. Bounded by the listener's limit.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    book: Mutex<Book>,
    left: Notify,
    emptied: Notify,
}

#[derive(Debug)]
struct Book {
    open: HashMap<u64, Connection>,
    /// How many connections each source has; only where that is limited.
    sources: HashMap<Source, usize>,
    /// How many have ever entered.
    entered: usize,
    /// What a connection that enters now is told.
    standing: Order,
    cut: usize,
}

impl Default for Book {
    fn default() -> Self {
        Self { open: HashMap::new(), sources: HashMap::new(), entered: 0, standing: Order::Stay, cut: 0 }
    }
}

/// A place in the roster, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    connection: Connection,
    /// It was never open.
    turned_away: bool,
}

impl Place {
    /// Gives the place back as if nobody had ever had it.
    pub(crate) fn turned_away(mut self) {
        self.turned_away = true;
    }
}

impl Roster {
    /// Takes a place in the roster of its listener, unless `limit` are open already.
    pub(crate) fn enter(&self, connection: &Connection, limit: usize) -> Option<Place> {
        let mut book = lock(&self.book);
        if book.open.len() >= limit {
            return None;
        }
        book.open.insert(connection.id(), connection.clone());
        book.entered += 1;
        if book.standing != Order::Stay {
            connection.give(book.standing);
        }
        Some(Place { connection: connection.clone(), turned_away: false })
    }

    /// Counts a connection that has entered for its source, unless `limit` of that source are there already. It is counted until
    /// it leaves.
    pub(crate) fn count(&self, connection: &Connection, source: Source, limit: usize) -> bool {
        let mut book = lock(&self.book);
        let open = book.sources.get(&source).copied().unwrap_or_default();
        let is_room = open < limit && book.open.contains_key(&connection.id());
        if is_room && connection.counted().set(source).is_ok() {
            book.sources.insert(source, open + 1);
        }
        is_room
    }

    /// Counts every connection that is there for its source: for a limit that did not stand when they came.
    pub(crate) fn count_all(&self) {
        let mut book = lock(&self.book);
        let Book { open, sources, .. } = &mut *book;
        for connection in open.values() {
            if let Some(source) = connection.source()
                && connection.counted().set(source).is_ok()
            {
                *sources.entry(source).or_default() += 1;
            }
        }
    }

    /// Looks at everybody who is there, while nobody comes or goes.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&mut dyn Iterator<Item = &Connection>) -> T) -> T {
        look(&mut lock(&self.book).open.values())
    }

    /// The connection of this number, if it is there.
    pub(crate) fn get(&self, id: u64) -> Option<Connection> {
        lock(&self.book).open.get(&id).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.book).open.len()
    }

    /// How many have left.
    pub(crate) fn gone(&self) -> usize {
        let book = lock(&self.book);
        book.entered - book.open.len()
    }

    /// How many have ever entered.
    pub(crate) fn entered(&self) -> usize {
        lock(&self.book).entered
    }

    /// How many of the connections that have left were cut.
    pub(crate) fn cut(&self) -> usize {
        lock(&self.book).cut
    }

    /// Tells every open connection, and every one that enters later.
    pub(crate) fn tell_all(&self, order: Order) {
        let mut book = lock(&self.book);
        book.standing = book.standing.max(order);
        book.open.values().for_each(|connection| connection.give(order));
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

impl Drop for Place {
    fn drop(&mut self) {
        let Self { connection, turned_away } = self;
        let (roster, meters) = (&connection.lane().roster, &connection.lane().meters);
        let mut book = lock(&roster.book);
        book.open.remove(&connection.id());
        if let Some(source) = connection.counted().get()
            && let Entry::Occupied(mut open) = book.sources.entry(*source)
        {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
        if *turned_away {
            book.entered -= 1;
        } else {
            let reason = connection.close_reason().unwrap_or(CloseReason::HandlerClosed);
            book.cut += usize::from(reason.is_cut());
            // Under the lock, so that whoever adds up those who are there and those who left counts nobody twice.
            meters.closed.add(reason as usize, 1);
            meters.messages.fetch_add(connection.messages(), Relaxed);
            meters.bytes_in.fetch_add(connection.bytes_in(), Relaxed);
            meters.bytes_out.fetch_add(connection.bytes_out(), Relaxed);
        }
        let emptied = book.open.is_empty();
        drop(book);
        roster.left.notify_one();
        if emptied {
            roster.emptied.notify_waiters();
        }
    }
}
