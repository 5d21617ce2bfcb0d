//! The handle to one connection: its addresses, counters and tasks, and a way to signal its driver.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst, fence};
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use once_cell::race::OnceBox;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::address::{Address, Credentials, Source};
use crate::close_reason::CloseReason;
use crate::connection::amplification::AmplificationLimit;
use crate::connection::control_signal::{Control, ControlSignal};
use crate::connection::extensions::Extensions;
use crate::connection::info::{
    ConnectionCounters, Kind, ListenerInfo, ProxyInfo, TASKS_PER_CONNECTION, TlsInfo, TooManyTasks,
};
use crate::connection::moment::Moment;
use crate::drain::DrainSignal;

/// A connection, or a peer of a datagram socket.
///
/// Clones refer to the same connection. The handle stays valid after the connection closes; it is then read-only.
#[derive(Clone)]
pub struct Connection(Arc<Inner>);

/// What each message uses comes first, in one cache line if the allocator aligns it so.
#[repr(C)]
struct Inner {
    listener: Arc<ListenerInfo>,
    counters: ConnectionCounters,
    control: Control,
    rare: OnceBox<Rare>,
    tls: OnceBox<TlsInfo>,
    id: u64,
    opened: Moment,
    socket_peer: Address,
    socket_local: Address,
}

#[derive(Default)]
struct Rare {
    credentials: Option<Credentials>,
    /// For a datagram peer, and only for one.
    amplification_limit: Option<AmplificationLimit>,
    counted_source: OnceLock<Source>,
    proxy: OnceBox<ProxyInfo>,
    tasks: Mutex<Option<JoinSet<()>>>,
    extensions: Extensions,
}

impl Connection {
    pub(crate) fn new(
        listener: Arc<ListenerInfo>,
        kind: Kind,
        socket_peer: Address,
        socket_local: Address,
        credentials: Option<Credentials>,
    ) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let amplification_limit = (kind == Kind::Datagram).then(AmplificationLimit::default);
        let rare = OnceBox::new();
        if credentials.is_some() || amplification_limit.is_some() {
            let _ = rare.set(Box::new(Rare { credentials, amplification_limit, ..Rare::default() }));
        }
        Self(Arc::new(Inner {
            id: NEXT_ID.fetch_add(1, Relaxed),
            socket_peer,
            socket_local,
            opened: listener.now(),
            listener,
            counters: ConnectionCounters::default(),
            control: Control::default(),
            rare,
            tls: OnceBox::new(),
        }))
    }

    /// The id: unique among all connections of this process.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// The name of the listener that accepted the connection.
    pub fn listener(&self) -> &str {
        &self.0.listener.name
    }

    /// The address of the client: from the PROXY header ([`proxy`](Self::proxy)), else from the socket.
    pub fn peer(&self) -> &Address {
        self.proxy().and_then(|info| info.addresses.as_ref()).map_or(&self.0.socket_peer, |(client, _)| client)
    }

    /// The address that the client connected to: from the PROXY header, else from the socket.
    pub fn local(&self) -> &Address {
        self.proxy().and_then(|info| info.addresses.as_ref()).map_or(&self.0.socket_local, |(_, local)| local)
    }

    /// The peer address of the socket: behind a proxy, the address of the proxy.
    pub fn socket_peer(&self) -> &Address {
        &self.0.socket_peer
    }

    /// The source that limits and rates count the client for; `None` if it has no network address.
    pub fn source(&self) -> Option<Source> {
        self.peer().source()
    }

    /// The PROXY header. `None` without a proxy. It is set before the handler is called.
    pub fn proxy(&self) -> Option<&ProxyInfo> {
        self.0.rare.get()?.proxy.get()
    }

    /// The credentials of the peer process on a Unix socket (`unix:`); `None` on other transports.
    pub fn credentials(&self) -> Option<Credentials> {
        self.0.rare.get()?.credentials
    }

    /// The TLS session. `None` without TLS. It is set before the handler is called; with TLS on request, when the
    /// handshake is complete.
    pub fn tls(&self) -> Option<&TlsInfo> {
        self.0.tls.get()
    }

    /// Stream connection or datagram peer.
    pub fn kind(&self) -> Kind {
        if self.amplification_limit().is_some() { Kind::Datagram } else { Kind::Stream }
    }

    /// When the connection was accepted, or the first datagram of the peer was received.
    pub fn opened(&self) -> Instant {
        self.0.listener.instant(self.0.opened)
    }

    /// Messages received so far.
    pub fn messages(&self) -> u64 {
        self.0.counters.messages.get()
    }

    /// Bytes received so far, framing included.
    pub fn bytes_in(&self) -> u64 {
        self.0.counters.bytes_in.get()
    }

    /// Bytes sent so far, framing included.
    pub fn bytes_out(&self) -> u64 {
        self.0.counters.bytes_out.get()
    }

    /// The drain signal: of the listener, and of this connection if it is to close alone.
    pub fn drain(&self) -> DrainSignal {
        self.0.listener.drain.of(self.0.clone())
    }

    /// Aborts the connection with reason [`Killed`](CloseReason::Killed).
    pub fn kill(&self) {
        self.signal(ControlSignal::Kill);
    }

    /// Closes the connection immediately with reason [`HandlerClosed`](CloseReason::HandlerClosed); queued frames are
    /// dropped. From any task. [`Pusher::finish`](crate::Pusher::finish) closes it after the queued frames.
    ///
    /// It has no effect on a datagram peer.
    pub fn close(&self) {
        self.signal(ControlSignal::Close);
    }

    /// Values that layers and handlers share through the connection, one of each type.
    pub fn extensions(&self) -> &Extensions {
        &self.rare().extensions
    }

    /// A clone of the value of this type. Unlike [`extensions`](Self::extensions), it allocates nothing.
    #[cfg(feature = "script")]
    pub(crate) fn existing_extension<T: Clone + 'static>(&self) -> Option<T> {
        self.0.rare.get()?.extensions.get()
    }

    /// Why the connection closed; `None` while it is open.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.0.control.close_reason()
    }

    /// Runs a background task; at most [`TASKS_PER_CONNECTION`] concurrently. It is dropped when the connection closes.
    /// A panic ends only the task.
    pub fn spawn<F>(&self, task: F) -> Result<(), TooManyTasks>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut tasks = self.rare().tasks.lock();
        fence(SeqCst); // see `finish`
        if self.close_reason().is_some() {
            return Ok(()); // the task would be dropped immediately
        }
        let tasks = tasks.get_or_insert_with(JoinSet::new);
        while tasks.try_join_next().is_some() {}
        if tasks.len() >= TASKS_PER_CONNECTION {
            return Err(TooManyTasks);
        }
        tasks.spawn(task);
        Ok(())
    }

    /// The limit of a datagram peer. `None` for a stream.
    #[inline]
    pub(crate) fn amplification_limit(&self) -> Option<&AmplificationLimit> {
        self.0.rare.get()?.amplification_limit.as_ref()
    }

    pub(crate) fn set_tls_info(&self, info: TlsInfo) {
        let _ = self.0.tls.set(Box::new(info));
    }

    /// Stores the PROXY header. False if there is one already.
    pub(crate) fn set_proxy_info(&self, info: ProxyInfo) -> bool {
        self.rare().proxy.set(Box::new(info)).is_ok()
    }

    pub(crate) fn listener_info(&self) -> &Arc<ListenerInfo> {
        &self.0.listener
    }

    pub(crate) fn counted_source(&self) -> Option<Source> {
        self.0.rare.get()?.counted_source.get().copied()
    }

    /// Sets the source that the connection is counted for. False if there is one already.
    pub(crate) fn set_counted_source(&self, source: Source) -> bool {
        self.rare().counted_source.set(source).is_ok()
    }

    pub(crate) fn counters(&self) -> &ConnectionCounters {
        &self.0.counters
    }

    pub(crate) fn opened_at(&self) -> Moment {
        self.0.opened
    }

    pub(crate) fn signal(&self, signal: ControlSignal) {
        self.0.control.send(signal);
    }

    pub(crate) fn clear_signal(&self, signal: ControlSignal) {
        self.0.control.clear(signal);
    }

    pub(crate) fn wake(&self) {
        self.0.control.wake();
    }

    pub(crate) fn poll_signal(&self, waker: &Waker) -> ControlSignal {
        self.0.control.poll(waker)
    }

    pub(crate) fn current_signal(&self) -> ControlSignal {
        self.0.control.current()
    }

    /// The number of frames in the outbox, with the marks of the outbox.
    #[inline]
    pub(crate) fn outbox_len(&self) -> &AtomicU32 {
        &self.0.control.outbox_len
    }

    /// Marks the connection as closed and drops its tasks. Only the first reason is kept.
    pub(crate) fn finish(&self, reason: CloseReason) {
        self.0.control.finish(reason);
        // A concurrent `spawn` sees the reason, or its task is seen here.
        fence(SeqCst);
        if let Some(rare) = self.0.rare.get() {
            *rare.tasks.lock() = None;
        }
    }

    fn rare(&self) -> &Rare {
        self.0.rare.get_or_init(Box::default)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.0.id)
            .field("peer", self.peer())
            .field("kind", &self.kind())
            .finish_non_exhaustive()
    }
}

mod drains_alone;
mod identity;
