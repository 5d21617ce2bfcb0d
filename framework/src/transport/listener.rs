//! The traits of transports: they bind endpoints, accept connections and receive datagrams.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use crate::address::{Address, Endpoint};
use crate::connection::Kind;
use crate::settings::SocketOptions;
use crate::transport::accepted::Accepted;
use crate::transport::socket::SharedSocket;

/// Binds endpoints of its schemes. A transport of connections also implements
/// [`StreamListener`](crate::transport::StreamListener), a transport of datagrams
/// [`DatagramSocket`](crate::transport::DatagramSocket).
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// The schemes that it serves.
    fn schemes(&self) -> Vec<SchemeInfo>;

    /// Binds an endpoint and listens.
    ///
    /// If its listeners [share](crate::transport::StreamListener::share) their sockets, [`Bind::inherited`] may hold a
    /// bound socket. The transport then listens on that socket instead of a new one.
    ///
    /// # Errors
    ///
    /// The endpoint cannot be bound: for example the port is in use, or a directory is missing.
    async fn bind(&self, bind: Bind) -> io::Result<Listener>;
}

/// The request to bind an endpoint.
#[derive(Debug)]
#[non_exhaustive]
pub struct Bind {
    /// The endpoint to bind.
    pub endpoint: Endpoint,
    /// The options of the socket.
    pub options: SocketOptions,
    /// A socket that is already bound to the endpoint.
    pub inherited: Option<SharedSocket>,
}

impl Bind {
    /// A request for a new socket.
    pub fn new(endpoint: Endpoint, options: SocketOptions) -> Self {
        Self { endpoint, options, inherited: None }
    }
}

/// The error of a transport for the endpoint of another scheme.
pub(crate) fn unsupported_endpoint(endpoint: &Endpoint) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, format!("this transport does not support {endpoint}"))
}

/// A scheme of addresses, such as `tcp`, that a transport serves.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SchemeInfo {
    /// The part of the address before the colon.
    pub scheme: &'static str,
    /// The transport in a few words, with the form of its addresses.
    pub summary: &'static str,
    /// Whether its listeners accept connections or receive datagrams.
    pub kind: Kind,
}

impl SchemeInfo {
    /// The description of a scheme.
    pub fn new(scheme: &'static str, summary: &'static str, kind: Kind) -> Self {
        Self { scheme, summary, kind }
    }
}

/// A bound transport.
#[non_exhaustive]
pub enum Listener {
    /// It accepts connections.
    Stream(Box<dyn StreamListener>),
    /// It receives datagrams.
    Datagram(Box<dyn DatagramSocket>),
}

impl Listener {
    /// The endpoint that it listens on, with the real port.
    pub fn endpoint(&self) -> Endpoint {
        match self {
            Self::Stream(listener) => listener.endpoint(),
            Self::Datagram(socket) => socket.endpoint(),
        }
    }

    /// Another handle to its socket, if it can be shared.
    pub fn share(&self) -> Option<SharedSocket> {
        match self {
            Self::Stream(listener) => listener.share(),
            Self::Datagram(socket) => socket.share(),
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listener").field(&self.endpoint().to_string()).finish()
    }
}

/// Accepts connections.
#[async_trait]
pub trait StreamListener: Send {
    /// The next client. `None` means that there will be no more clients, which is not an error. Must be cancel safe.
    ///
    /// # Errors
    ///
    /// Accepting failed. The accept loop decides whether to retry, to pause or to bind the endpoint again.
    async fn accept(&mut self) -> io::Result<Option<Accepted>>;

    /// The endpoint that it listens on, with the real port.
    fn endpoint(&self) -> Endpoint;

    /// Another handle to the listening socket. A reload or a new process uses it to listen without a gap. `None`, the
    /// default, means that the listener has no socket to share.
    fn share(&self) -> Option<SharedSocket> {
        None
    }
}

/// A listener whose clients perform a handshake first. It has the socket of the inner listener.
#[cfg(any(feature = "proxy", feature = "tls"))]
pub(super) struct HandshakeListener<F> {
    pub(super) inner: Box<dyn StreamListener>,
    pub(super) endpoint: Endpoint,
    /// Adds the handshake to an accepted client.
    pub(super) add_handshake: F,
}

#[cfg(any(feature = "proxy", feature = "tls"))]
#[async_trait]
impl<F: Fn(Accepted) -> Accepted + Send> StreamListener for HandshakeListener<F> {
    async fn accept(&mut self) -> io::Result<Option<Accepted>> {
        Ok(self.inner.accept().await?.map(&self.add_handshake))
    }

    fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    fn share(&self) -> Option<SharedSocket> {
        self.inner.share()
    }
}

/// Sends and receives datagrams.
pub trait DatagramSocket: Send + Sync + 'static {
    /// Receives the next datagram and appends it to `buffer`. The buffer has room for more than the largest accepted
    /// datagram. A longer datagram may be truncated to that room; the driver drops it.
    ///
    /// # Errors
    ///
    /// Receiving failed.
    fn poll_receive(&self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<Route>>;

    /// Receives the datagrams that are queued, at most `max`, and appends them to `datagrams`: at least one. `buffer`
    /// is empty and has the room that [`poll_receive`](Self::poll_receive) needs. The default receives one datagram.
    ///
    /// # Errors
    ///
    /// Receiving failed. Nothing is appended.
    fn poll_receive_batch(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        max: usize,
        datagrams: &mut Vec<Datagram>,
    ) -> Poll<io::Result<()>> {
        let _ = max;
        let route = ready!(self.poll_receive(cx, buffer))?;
        // A copy: a small message that waits must not keep a large buffer.
        datagrams.push(Datagram::new(route, Bytes::copy_from_slice(buffer)));
        Poll::Ready(Ok(()))
    }

    /// Sends one datagram.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] if the send queue of the system is full; another kind if sending failed.
    fn try_send(&self, payload: &[u8], route: &Route) -> io::Result<()>;

    /// Sends the first datagrams, in their order, and returns how many it has sent: at least one. `datagrams` is not
    /// empty. The default sends one datagram.
    ///
    /// # Errors
    ///
    /// As [`try_send`](Self::try_send). The error concerns the first datagram, and nothing is sent.
    fn try_send_batch(&self, datagrams: &[Datagram]) -> io::Result<usize> {
        let Datagram { route, payload } = &datagrams[0];
        self.try_send(payload, route).map(|()| 1)
    }

    /// Ready when [`try_send`](Self::try_send) may succeed after [`io::ErrorKind::WouldBlock`].
    ///
    /// # Errors
    ///
    /// The socket is broken.
    fn poll_send_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// The endpoint that it listens on, with the real port.
    fn endpoint(&self) -> Endpoint;

    /// The local address.
    fn local(&self) -> Address;

    /// The local addresses, if a host name has several.
    fn locals(&self) -> Vec<Address> {
        vec![self.local()]
    }

    /// Another handle to the socket, as in [`StreamListener::share`].
    fn share(&self) -> Option<SharedSocket> {
        None
    }
}

/// A datagram and its route.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Datagram {
    /// The peer that has sent it, or to which it is sent.
    pub route: Route,
    /// Its bytes.
    pub payload: Bytes,
}

impl Datagram {
    /// A datagram from a peer, or to a peer.
    pub fn new(route: Route, payload: Bytes) -> Self {
        Self { route, payload }
    }
}

/// The peer of a datagram and the local address that it was sent to. A reply uses both.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Route {
    /// The sender.
    pub peer: Address,
    /// The local address that received the datagram, if the socket listens on several addresses.
    pub local_ip: Option<IpAddr>,
    /// The index of the interface that a reply must leave by; 0 if the routing table decides.
    pub interface: u32,
    /// The user id of the sender, if the transport reports it.
    pub user: Option<u32>,
}

impl Route {
    /// A route to a peer, from the given local address.
    pub fn new(peer: Address, local_ip: Option<IpAddr>) -> Self {
        Self { peer, local_ip, interface: 0, user: None }
    }
}

/// Writes few, large values: every datagram is looked up by its route, and the cost of a keyed hash
/// grows with the number of values.
impl Hash for Route {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match &self.peer {
            Address::Inet(SocketAddr::V4(peer)) => {
                state.write_u64(u64::from(peer.ip().to_bits()) << 16 | u64::from(peer.port()));
            }
            peer => peer.hash(state),
        }
        if let Some(local_ip) = self.local_ip {
            local_ip.hash(state);
        }
        // Not the interface and the user: they rarely distinguish two routes.
    }
}
