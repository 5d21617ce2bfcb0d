//! The handle to one connection: who it is, what it has done, and how to reach the task that drives it.
//!
//! It knows nothing of bytes.

use parking_lot::Mutex;
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::address::{Address, Credentials, Source};
use crate::connection::ListenerContext;
use crate::connection::ProxyInfo;
use crate::connection::TlsInfo;
use crate::connection::amplification::AmplificationLimit;
use crate::drain::DrainSignal;
use crate::reason::CloseReason;

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
    listener_context: Arc<ListenerContext>,
    /// Whom the socket is connected to: the proxy, where there is one.
    socket_peer: Address,
    socket_local: Address,
    kind: Kind,
    credentials: Option<Credentials>,
    opened: Instant,
    counters: ConnectionCounters,
    amplification_limit: AmplificationLimit,
    control: Control,
    reason: OnceLock<CloseReason>,
    /// Boxed, since most connections have none.
    proxy: OnceLock<Box<ProxyInfo>>,
    /// Boxed, since most connections have none.
    tls: OnceLock<Box<TlsInfo>>,
    /// The source that it is counted for.
    counted_source: OnceLock<Source>,
    tasks: Mutex<Option<JoinSet<()>>>,
}

/// What went through a connection so far, published by its driver once a batch.
#[derive(Debug, Default)]
pub(crate) struct ConnectionCounters {
    pub(crate) messages: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
}

impl ConnectionCounters {
    /// A datagram came. Counted by the task of its socket alone.
    pub(crate) fn received(&self, bytes: usize) {
        self.messages.store(self.messages.load(Relaxed) + 1, Relaxed);
        self.bytes_in.store(self.bytes_in.load(Relaxed) + bytes as u64, Relaxed);
    }

    /// A datagram left. Counted by the task of its socket alone.
    pub(crate) fn sent(&self, bytes: usize) {
        self.bytes_out.store(self.bytes_out.load(Relaxed) + bytes as u64, Relaxed);
    }
}

/// A wish from outside, from weakest to strongest; a stronger one replaces a weaker one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum ControlSignal {
    /// Nothing is asked.
    Stay = 0,
    /// Too many handshakes are under way, and this is the oldest. Means nothing to a connection whose handshake is over by the
    /// time it hears of it, so it must not stand in the way of any other order.
    YieldHandshake = 1,
    /// Finish what is under way, then close.
    Leave = 2,
    /// Close at once: a pusher gave the connection up.
    OutboxFull = 3,
    /// Close at once: the drain deadline has passed.
    Cut = 4,
    /// Close at once: the operator says so.
    Kill = 5,
}

#[derive(Debug, Default)]
struct Control {
    order: AtomicU8,
    /// Stays when it is used: a driver says once who it is.
    driver: Mutex<Option<Waker>>,
}

/// A connection already has [`TASKS_PER_CONNECTION`] tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this connection already has {TASKS_PER_CONNECTION} tasks running")]
pub struct TooManyTasks;

impl Connection {
    pub(crate) fn new(listener_context: Arc<ListenerContext>, kind: Kind, peer: Address, local: Address) -> Self {
        Self::with(listener_context, kind, peer, local, None)
    }

    pub(crate) fn with(
        listener_context: Arc<ListenerContext>,
        kind: Kind,
        socket_peer: Address,
        socket_local: Address,
        credentials: Option<Credentials>,
    ) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(Arc::new(Inner {
            id: NEXT.fetch_add(1, Relaxed),
            listener_context,
            socket_peer,
            socket_local,
            kind,
            credentials,
            opened: Instant::now(),
            counters: ConnectionCounters::default(),
            amplification_limit: AmplificationLimit::default(),
            control: Control::default(),
            reason: OnceLock::new(),
            proxy: OnceLock::new(),
            tls: OnceLock::new(),
            counted_source: OnceLock::new(),
            tasks: Mutex::new(None),
        }))
    }

    /// A number that no other connection of this process has or had.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// The name of the listener that accepted it.
    pub fn listener(&self) -> &str {
        &self.0.listener_context.name
    }

    /// The client: behind a proxy what its header says ([`proxy`](Self::proxy)), else whom the socket is connected to.
    pub fn peer(&self) -> &Address {
        self.0.proxy.get().and_then(|info| info.addresses.as_ref()).map_or(&self.0.socket_peer, |(client, _)| client)
    }

    /// What the client connected to: behind a proxy what its header says, else this side of the socket.
    pub fn local(&self) -> &Address {
        self.0.proxy.get().and_then(|info| info.addresses.as_ref()).map_or(&self.0.socket_local, |(_, local)| local)
    }

    /// Whom the socket is connected to: the proxy, where one stands in front, else the client.
    pub fn socket_peer(&self) -> &Address {
        &self.0.socket_peer
    }

    /// What limits count the client as; `None` where it has no network address.
    pub fn source(&self) -> Option<Source> {
        self.peer().source()
    }

    /// What the header of a proxy in front said. `None` without a proxy, and until the header is there; a handler is only
    /// called after it.
    pub fn proxy(&self) -> Option<&ProxyInfo> {
        self.0.proxy.get().map(|info| &**info)
    }

    /// Who runs the program on the other side of a Unix socket (`unix:`); `None` on other transports.
    pub fn credentials(&self) -> Option<Credentials> {
        self.0.credentials
    }

    /// What the TLS handshake found out: the verified client, the name it asked for, the protocol. `None` without TLS, and
    /// until the handshake is done; a handler is only called after it.
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.0.tls.get().map(|info| &**info)
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
        self.0.counters.messages.load(Relaxed)
    }

    /// Bytes received so far, framing included.
    pub fn bytes_in(&self) -> u64 {
        self.0.counters.bytes_in.load(Relaxed)
    }

    /// Bytes sent so far, framing included.
    pub fn bytes_out(&self) -> u64 {
        self.0.counters.bytes_out.load(Relaxed)
    }

    /// The drain signal of its listener: ask whether a drain has begun, wait for it, learn its deadline.
    pub fn drain(&self) -> DrainSignal {
        self.0.listener_context.drain.clone()
    }

    /// DropReason it ended; `None` while it is open.
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
        let mut tasks = self.0.tasks.lock();
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
    /// `datagram dropped` with why `amplification_limit`. The sender of a datagram can be forged, and nobody shall be flooded in
    /// somebody else's name. Afterwards there is no such bound, and the peer is among the last to be forgotten
    /// ([`Limits::sessions`](crate::settings::Limits::sessions)). Once forgotten, it starts from nothing again. Unix peers cannot be forged and are not bounded.
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
        self.0.amplification_limit.validate();
    }

    /// Whether [`validate_address`](Self::validate_address) was called.
    pub fn is_address_validated(&self) -> bool {
        self.0.amplification_limit.is_validated()
    }

    pub(crate) fn amplification_limit(&self) -> &AmplificationLimit {
        &self.0.amplification_limit
    }

    /// Takes note of what its TLS handshake found out; the first time counts.
    pub(crate) fn set_tls_info(&self, info: TlsInfo) {
        let _ = self.0.tls.set(Box::new(info));
    }

    /// Takes note of what a proxy said of it. False if one has said something before.
    pub(crate) fn set_proxy_info(&self, info: ProxyInfo) -> bool {
        self.0.proxy.set(Box::new(info)).is_ok()
    }

    pub(crate) fn listener_context(&self) -> &Arc<ListenerContext> {
        &self.0.listener_context
    }

    /// The source that it is counted for, once it is.
    pub(crate) fn counted_source(&self) -> &OnceLock<Source> {
        &self.0.counted_source
    }

    pub(crate) fn counters(&self) -> &ConnectionCounters {
        &self.0.counters
    }

    pub(crate) fn signal(&self, order: ControlSignal) {
        self.0.control.order.fetch_max(order as u8, SeqCst);
        self.wake();
    }

    /// Wakes the task that drives this connection.
    pub(crate) fn wake(&self) {
        if let Some(driver) = &*self.0.control.driver.lock() {
            driver.wake_by_ref();
        }
    }

    /// The order in force; from now on the task of `waker`, and no other, is woken when it changes.
    pub(crate) fn order(&self, waker: &Waker) -> ControlSignal {
        self.0.control.driver.lock().get_or_insert_with(|| waker.clone()).clone_from(waker);
        self.current_signal()
    }

    /// The order in force. Nobody is woken when it changes.
    pub(crate) fn current_signal(&self) -> ControlSignal {
        match self.0.control.order.load(SeqCst) {
            0 => ControlSignal::Stay,
            1 => ControlSignal::YieldHandshake,
            2 => ControlSignal::Leave,
            3 => ControlSignal::OutboxFull,
            4 => ControlSignal::Cut,
            _ => ControlSignal::Kill,
        }
    }

    /// Says that it is over; the first reason counts. Ends its tasks.
    pub(crate) fn finish(&self, reason: CloseReason) {
        let mut tasks = self.0.tasks.lock();
        let _ = self.0.reason.set(reason);
        *tasks = None;
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.0.id)
            .field("listener", &self.0.listener_context.name)
            .field("peer", self.peer())
            .field("kind", &self.0.kind)
            .finish_non_exhaustive()
    }
}

impl ControlSignal {
    /// The reason of a connection that is closed at once by this order.
    pub(crate) fn immediate_close_reason(self) -> Option<CloseReason> {
        match self {
            Self::Stay | Self::YieldHandshake | Self::Leave => None,
            Self::OutboxFull => Some(CloseReason::OutboxFull),
            Self::Cut => Some(CloseReason::DrainDeadline),
            Self::Kill => Some(CloseReason::Killed),
        }
    }
}
