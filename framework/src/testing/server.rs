//! A server in a test: the real server, with a transport in memory.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use crate::address::{Address, Endpoint};
use crate::close_reason::CloseReason;
use crate::connection::Connection;
use crate::error::{Result, chain};
use crate::framing::{Framing, Raw};
use crate::handler::{Handler, HandlerLayer, StreamHandler};
use crate::server;
use crate::testing::datagram::{DatagramPeer, Network, SCHEME};
use crate::testing::peer::Peer;
use crate::testing::pipe::Pipe;
use crate::testing::wait::{bounded, until};
use crate::transport::{Accepted, memory};

/// The window, if the test sets no other.
const WINDOW: usize = 64 * 1024;

/// Builds a server for a test. It is a [`switchboard::Server`](server::Server) on a transport in memory.
///
/// ```
/// use std::time::Duration;
/// use switchboard::prelude::*;
/// use switchboard::settings::Timeouts;
/// use switchboard::testing;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let echo = handler_fn(|_: Context, message: Bytes| async move { Ok(Reply::send(message)) });
/// let timeouts = Timeouts::default().idle(Duration::from_millis(1));
/// let server = testing::Server::new(echo).framing(Lines::default()).set(|server| server.timeouts(timeouts));
/// let server = server.start().await;
/// server.connect().await.expect_closed(CloseReason::Idle).await;
/// assert_eq!((server.closed(CloseReason::Idle), server.open()), (1, 0));
/// # }
/// ```
#[must_use = "a server does nothing until it is started"]
pub struct Server<H, F = Raw, L = ()> {
    handler: H,
    server: server::Server<F, L>,
    name: String,
    network: Option<Network>,
    window: usize,
}

impl<H> Server<H> {
    /// A server of connections.
    pub fn new(handler: H) -> Self {
        let name = unique_name();
        let server = server::Server::bind(Endpoint::Memory(name.clone()));
        Self { handler, server, name, network: None, window: WINDOW }
    }

    /// A server of datagrams.
    pub fn datagrams(handler: H) -> Self {
        let name = unique_name();
        let endpoint = Endpoint::Other { scheme: SCHEME.to_owned(), rest: name.clone() };
        let network = Network::new(endpoint.clone());
        let server = server::Server::bind(endpoint).transport(network.clone());
        Self { handler, server, name, network: Some(network), window: WINDOW }
    }
}

fn unique_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("testing-{}", NEXT.fetch_add(1, Relaxed))
}

impl<H, F, L> Server<H, F, L> {
    /// Sets the framing. The default is [`Raw`].
    pub fn framing<F2: Framing>(self, framing: F2) -> Server<H, F2, L> {
        self.set(|server| server.framing(framing))
    }

    /// Changes any setting of the server: limits, timeouts, layers, access …
    pub fn set<F2, L2>(self, change: impl FnOnce(server::Server<F, L>) -> server::Server<F2, L2>) -> Server<H, F2, L2> {
        let Self { handler, server, name, network, window } = self;
        Server { handler, server: change(server), name, network, window }
    }

    /// Sets the most bytes that one read or write of the server transfers. As many wait for the server to read them. A
    /// window of 1 splits all messages into single bytes. The default is 64 KiB.
    pub fn window(self, bytes: usize) -> Self {
        Self { window: bytes, ..self }
    }

    /// Starts the server.
    ///
    /// # Panics
    ///
    /// The server cannot start with these settings.
    pub async fn start(self) -> Running
    where
        F: Framing,
        H: Handler<F::In, F::Out>,
        L: HandlerLayer<H, F::In, F::Out>,
    {
        let Self { handler, server, name, network, window } = self;
        Running::new(server.start(handler).await, name, network, window)
    }

    /// Starts the server, for a handler of the raw byte stream.
    ///
    /// # Panics
    ///
    /// The server cannot start with these settings.
    pub async fn start_stream(self) -> Running
    where
        H: StreamHandler,
    {
        let Self { handler, server, name, network, window } = self;
        Running::new(server.start_stream(handler).await, name, network, window)
    }
}

impl<H, F, L> fmt::Debug for Server<H, F, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("server", &self.server).finish_non_exhaustive()
    }
}

/// A running server in a test. All methods of [`switchboard::server::Running`](server::Running) are available.
/// Dropping it aborts all connections.
#[must_use = "dropping it aborts all connections"]
pub struct Running {
    server: Arc<server::Running>,
    name: String,
    network: Option<Network>,
    window: usize,
}

impl Running {
    fn new(started: Result<server::Running>, name: String, network: Option<Network>, window: usize) -> Self {
        let server = started.unwrap_or_else(|error| panic!("the server cannot start: {}", chain(&*error)));
        Self { server: Arc::new(server), name, network, window }
    }

    /// Connects a client. Its address has no IP address, so limits and rates by source do not apply.
    ///
    /// # Panics
    ///
    /// The server has stopped listening, or receives datagrams.
    pub async fn connect(&self) -> Peer {
        self.connect_as(memory::unique_peer(&self.name)).await
    }

    /// Connects a client with this address.
    ///
    /// # Panics
    ///
    /// The server has stopped listening, or receives datagrams.
    pub async fn connect_from(&self, address: impl Into<SocketAddr>) -> Peer {
        self.connect_as(Address::Inet(address.into())).await
    }

    async fn connect_as(&self, peer: Address) -> Peer {
        assert!(self.network.is_none(), "this server receives datagrams: use datagram_peer");
        match bounded(self.open_pipe(peer)).await {
            Some(Ok((pipe, connection))) => Peer::new(pipe, connection, Arc::downgrade(&self.server)),
            Some(Err(_)) => panic!("the server has stopped listening"),
            None => panic!("the server does not accept connections, and its backlog is full"),
        }
    }

    /// Connects a client without expectations.
    pub(super) async fn open_pipe(&self, peer: Address) -> io::Result<(Arc<Pipe>, Arc<OnceLock<Connection>>)> {
        let (pipe, end) = Pipe::open(self.window);
        let connection = Arc::default();
        let accepted = Accepted::ready(peer, memory::local(&self.name), end).observed_by(&connection);
        memory::queue(&self.name, accepted).await?;
        Ok((pipe, connection))
    }

    /// The server itself.
    pub(super) fn shared(&self) -> Arc<server::Running> {
        self.server.clone()
    }

    /// A peer with this address, for a server of datagrams.
    ///
    /// # Panics
    ///
    /// The server accepts connections, or there is a peer with this address.
    #[track_caller]
    pub fn datagram_peer(&self, address: impl Into<SocketAddr>) -> DatagramPeer {
        let network = self.network.as_ref().expect("a server of datagrams: testing::Server::datagrams");
        network.peer(address.into())
    }

    /// The number of connections that the server has closed or rejected with this reason.
    pub fn closed(&self, reason: CloseReason) -> u64 {
        let reports = self.server.report();
        let counts = reports.iter().flat_map(|listener| listener.closed.iter().chain(&listener.rejected));
        counts.filter(|(of, _)| *of == reason).map(|(_, count)| count).sum()
    }

    /// Waits until a condition is true, for example `server.until(|server| server.open() == 1000)`.
    ///
    /// # Panics
    ///
    /// The condition is not true within the bound.
    #[track_caller]
    pub fn until(&self, mut condition: impl FnMut(&Self) -> bool) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            if !until(|| condition(self)).await {
                let closed: Vec<_> = CloseReason::ALL.into_iter().map(|reason| (reason, self.closed(reason))).collect();
                let closed: Vec<_> = closed.iter().filter(|(_, count)| *count > 0).collect();
                panic!("the condition is not true\nat {caller}\nopen: {}, closed: {closed:?}", self.open());
            }
        }
    }
}

impl Deref for Running {
    type Target = server::Running;

    fn deref(&self) -> &server::Running {
        &self.server
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("name", &self.name).finish_non_exhaustive()
    }
}
