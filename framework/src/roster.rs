//! Who is connected: the handle to one connection, and the roster of a listener's open ones.
//!
//! The roster is how a drain, a cut or an operator reaches a connection: it sets an order in the handle and wakes the
//! task that drives it. It knows nothing of bytes.

use std::collections::HashMap;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::address::{Address, Source};
use crate::drain::DrainSignal;
use crate::reason::CloseReason;
use crate::tls::TlsFacts;
use crate::validation::Allowance;

/// How many tasks one connection may have running at once ([`Connection::spawn`]).
pub const TASKS_PER_CONNECTION: usize = 64;

/// Whether bytes come as a stream or as datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A connection: bytes in order, cut into messages by a framing.
    Stream,
    /// A peer of a datagram socket: each datagram is a message.
    Datagram,
}

/// One connection, or one peer of a datagram socket: who it is, what it has done, and how to reach it.
///
/// Cheap to clone; clones are the same connection. It outlives the connection itself, and then only tells.
#[derive(Clone)]
pub struct Connection(Arc<Inner>);

struct Inner {
    id: u64,
    lane: Arc<Lane>,
    peer: Address,
    local: Address,
    kind: Kind,
    opened: Instant,
    meter: Meter,
    allowance: Allowance,
    control: Control,
    reason: OnceLock<CloseReason>,
    /// Boxed, since most connections have none.
    tls: OnceLock<Box<TlsFacts>>,
    tasks: Mutex<Option<JoinSet<()>>>,
}

/// What all connections of one listener share.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) name: Arc<str>,
    pub(crate) drain: DrainSignal,
}

/// What went through a connection so far, published by its driver once a batch.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    pub(crate) messages: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
}

/// A wish from outside, from weakest to strongest; a stronger one replaces a weaker one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Order {
    /// Nothing is asked.
    Stay = 0,
    /// Finish what is under way, then close.
    Leave = 1,
    /// Close at once: a pusher gave the connection up.
    OutboxFull = 2,
    /// Close at once: the drain deadline has passed.
    Cut = 3,
    /// Close at once: the operator says so.
    Kill = 4,
}

#[derive(Debug, Default)]
struct Control {
    order: AtomicU8,
    driver: AtomicWaker,
}

/// A connection already has [`TASKS_PER_CONNECTION`] tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this connection already has {TASKS_PER_CONNECTION} tasks running")]
pub struct TooManyTasks;

impl Connection {
    pub(crate) fn new(lane: Arc<Lane>, peer: Address, local: Address, kind: Kind) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(Arc::new(Inner {
            id: NEXT.fetch_add(1, Relaxed),
            lane,
            peer,
            local,
            kind,
            opened: Instant::now(),
            meter: Meter::default(),
            allowance: Allowance::default(),
            control: Control::default(),
            reason: OnceLock::new(),
            tls: OnceLock::new(),
            tasks: Mutex::new(None),
        }))
    }

    /// A number that no other connection of this process has or had.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// The name of the listener that accepted it.
    pub fn listener(&self) -> &str {
        &self.0.lane.name
    }

    /// The other side.
    pub fn peer(&self) -> &Address {
        &self.0.peer
    }

    /// This side.
    pub fn local(&self) -> &Address {
        &self.0.local
    }

    /// What limits count the peer as; `None` on transports without network addresses.
    pub fn source(&self) -> Option<Source> {
        self.0.peer.source()
    }

    /// What the TLS handshake found out: the verified client, the name it asked for, the protocol. `None` without TLS, and
    /// until the handshake is done; a handler is only called after it.
    pub fn tls(&self) -> Option<&TlsFacts> {
        self.0.tls.get().map(|facts| &**facts)
    }

    /// Stream or datagrams.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// When it was accepted (a datagram peer: first seen).
    pub fn opened(&self) -> Instant {
        self.0.opened
    }

    /// Messages received so far.
    pub fn messages(&self) -> u64 {
        self.0.meter.messages.load(Relaxed)
    }

    /// Bytes received so far, framing included.
    pub fn bytes_in(&self) -> u64 {
        self.0.meter.bytes_in.load(Relaxed)
    }

    /// Bytes sent so far, framing included.
    pub fn bytes_out(&self) -> u64 {
        self.0.meter.bytes_out.load(Relaxed)
    }

    /// The drain signal of its listener: ask whether a drain has begun, wait for it, learn its deadline.
    pub fn drain(&self) -> DrainSignal {
        self.0.lane.drain.clone()
    }

    /// Why it ended; `None` while it is open.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.0.reason.get().copied()
    }

    /// Runs a task that ends with the connection: when the connection closes, the task is dropped where it waits.
    ///
    /// At most [`TASKS_PER_CONNECTION`] at once; one more is an error. A panic in the task ends that task alone.
    pub fn spawn<F>(&self, task: F) -> Result<(), TooManyTasks>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut tasks = lock(&self.0.tasks);
        if self.close_reason().is_some() {
            return Ok(()); // it would end at once
        }
        let tasks = tasks.get_or_insert_with(JoinSet::new);
        while tasks.try_join_next().is_some() {}
        if tasks.len() >= TASKS_PER_CONNECTION {
            return Err(TooManyTasks);
        }
        tasks.spawn(task);
        Ok(())
    }

    /// Address validation: says that the peer has shown that it receives at its address, because something that only went
    /// there came back. For the handler of a datagram protocol to call; connections have no use for it.
    ///
    /// Until then a peer of a network is sent at most three times the bytes that came from it, IP and UDP headers counted
    /// (28 bytes a datagram for IPv4, 48 for IPv6), replies and pushes alike; what is more is dropped and logged as
    /// `datagram dropped` with why `unproven`. The sender of a datagram can be forged, and nobody shall be flooded in
    /// somebody else's name. Afterwards there is no such bound, and the peer is among the last to be forgotten
    /// ([`Limits::sessions`](crate::spec::Limits::sessions)). Once forgotten, it starts from nothing again. Unix peers cannot be forged and are not bounded.
    ///
    /// ```
    /// use std::hash::{BuildHasher, RandomState};
    /// use switchboard::prelude::*;
    ///
    /// /// Tells its long story to whoever brings back the cookie that was sent to its address.
    /// #[derive(Default)]
    /// struct Story {
    ///     key: RandomState, // a secret of this process
    /// }
    ///
    /// impl Handler for Story {
    ///     const NEEDS: Needs = Needs::Datagram;
    ///     type State = ();
    ///
    ///     async fn message(&self, cx: &mut Context, message: Bytes) -> Result<Reply> {
    ///         let cookie = self.key.hash_one(cx.peer().to_string()).to_be_bytes();
    ///         if *message != cookie {
    ///             return Ok(Reply::send(cookie.to_vec())); // short: it may go to somebody who never asked
    ///         }
    ///         cx.validate_address();
    ///         Ok(Reply::send("once upon a time ".repeat(50)))
    ///     }
    /// }
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<()> {
    /// let server = Server::bind("udp://127.0.0.1:0").start(Story::default()).await?;
    /// let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await?;
    /// client.connect(("127.0.0.1", server.address().unwrap().port().unwrap())).await?;
    /// let mut answer = [0; 2000];
    /// client.send(b"a story!").await?;
    /// let cookie = client.recv(&mut answer).await?;
    /// client.send(&answer[..cookie]).await?;
    /// assert_eq!(client.recv(&mut answer).await?, 850);
    /// # Ok(())
    /// # }
    /// ```
    pub fn validate_address(&self) {
        self.0.allowance.validate();
    }

    /// Whether [`validate_address`](Self::validate_address) was called.
    pub fn is_address_validated(&self) -> bool {
        self.0.allowance.is_validated()
    }

    pub(crate) fn allowance(&self) -> &Allowance {
        &self.0.allowance
    }

    /// Takes note of what its TLS handshake found out; the first time counts.
    pub(crate) fn secured(&self, facts: TlsFacts) {
        let _ = self.0.tls.set(Box::new(facts));
    }

    pub(crate) fn meter(&self) -> &Meter {
        &self.0.meter
    }

    pub(crate) fn give(&self, order: Order) {
        self.0.control.order.fetch_max(order as u8, SeqCst);
        self.wake();
    }

    /// Wakes the task that drives this connection.
    pub(crate) fn wake(&self) {
        self.0.control.driver.wake();
    }

    /// The order in force; the task of `waker` is woken when it changes.
    pub(crate) fn order(&self, waker: &std::task::Waker) -> Order {
        self.0.control.driver.register(waker);
        match self.0.control.order.load(SeqCst) {
            0 => Order::Stay,
            1 => Order::Leave,
            2 => Order::OutboxFull,
            3 => Order::Cut,
            _ => Order::Kill,
        }
    }

    /// Says that it is over; the first reason counts. Ends its tasks.
    pub(crate) fn finish(&self, reason: CloseReason) {
        let mut tasks = lock(&self.0.tasks);
        let _ = self.0.reason.set(reason);
        *tasks = None;
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.0.id)
            .field("listener", &self.0.lane.name)
            .field("peer", &self.0.peer)
            .field("kind", &self.0.kind)
            .finish_non_exhaustive()
    }
}

impl Order {
    /// The reason of a connection that is closed at once by this order.
    pub(crate) fn at_once(self) -> Option<CloseReason> {
        match self {
            Self::Stay | Self::Leave => None,
            Self::OutboxFull => Some(CloseReason::OutboxFull),
            Self::Cut => Some(CloseReason::DrainDeadline),
            Self::Kill => Some(CloseReason::Killed),
        }
    }
}

/// The open connections of one listener. Bounded by its limit.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    book: Mutex<Book>,
    left: Notify,
    emptied: Notify,
}

#[derive(Debug)]
struct Book {
    open: HashMap<u64, Connection>,
    /// How many have ever entered.
    entered: usize,
    /// What a connection that enters now is told.
    standing: Order,
    cut: usize,
}

impl Default for Book {
    fn default() -> Self {
        Self { open: HashMap::new(), entered: 0, standing: Order::Stay, cut: 0 }
    }
}

/// A place in the roster, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    roster: Arc<Roster>,
    connection: Connection,
}

impl Roster {
    /// Takes a place, unless `limit` are open already.
    pub(crate) fn enter(self: &Arc<Self>, connection: &Connection, limit: usize) -> Option<Place> {
        let mut book = lock(&self.book);
        if book.open.len() >= limit {
            return None;
        }
        book.open.insert(connection.id(), connection.clone());
        book.entered += 1;
        if book.standing != Order::Stay {
            connection.give(book.standing);
        }
        drop(book);
        Some(Place { roster: self.clone(), connection: connection.clone() })
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
        let mut book = lock(&self.roster.book);
        book.open.remove(&self.connection.id());
        if self.connection.close_reason().is_some_and(CloseReason::is_cut) {
            book.cut += 1;
        }
        let emptied = book.open.is_empty();
        drop(book);
        self.roster.left.notify_one();
        if emptied {
            self.roster.emptied.notify_waiters();
        }
    }
}

/// A lock whose holder panicked is still a good lock here: nothing is left half-written under any of ours.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
