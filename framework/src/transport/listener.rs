//! Words that transports and drivers share: what a listener accepts, what a connection starts with, what a datagram carries.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::address::{Address, Credentials, Endpoint};
use crate::connection::{AddressKnown, Connection, ListenerContext, ProxyInfo, TlsInfo};
use crate::transport::SharedSocket;

/// Any byte stream.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// A byte stream whose transport was chosen at run time: boxed once a connection.
pub type BoxIo = Box<dyn Io>;

/// What a listener hands over for each client: who it is, and its bytes, perhaps after a handshake.
///
/// AcceptingListener is cheap and serial; the handshake runs in the connection's own task, so a slow client stops nobody.
pub struct Accepted {
    /// Whom the socket is connected to.
    pub peer: Address,
    /// This side.
    pub local: Address,
    /// Who runs the program on the other side, where the system tells.
    pub credentials: Option<Credentials>,
    pub(crate) stage: Stage,
}

/// How far a client is that was accepted.
pub(crate) enum Stage {
    Ready(BoxIo),
    Handshake(Handshake),
}

impl Stage {
    /// Finishes the handshake, if there is one.
    pub(crate) async fn establish(self, arrival: HandshakeContext) -> io::Result<BoxIo> {
        match self {
            Self::Ready(io) => Ok(io),
            Self::Handshake(handshake) => handshake(arrival).await,
        }
    }
}

pub(crate) type Handshake = Box<dyn FnOnce(HandshakeContext) -> Establishing + Send>;
type Establishing = Pin<Box<dyn Future<Output = io::Result<BoxIo>> + Send>>;

/// A client during its handshake: what the handshake finds out is said here. Clones are the same client.
#[derive(Clone)]
pub struct HandshakeContext {
    connection: Connection,
    listener_context: Arc<ListenerContext>,
}

impl HandshakeContext {
    pub(crate) fn new(connection: &Connection, listener_context: &Arc<ListenerContext>) -> Self {
        Self { connection: connection.clone(), listener_context: listener_context.clone() }
    }

    /// The connection that it will be.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Says what a TLS handshake found out; handlers find it in [`Connection::tls`]. The first time counts.
    pub fn set_tls_info(&self, info: TlsInfo) {
        self.connection.set_tls_info(info);
    }

    /// Says what a proxy told of the client. From here on the client's own address counts: access, limits by source and rates
    /// are applied to it now. An error means that it is turned away; the handshake ends with that error, as it is.
    pub fn set_proxy_info(&self, info: ProxyInfo) -> io::Result<()> {
        if !self.connection.set_proxy_info(info) {
            return Err(io::Error::other("two proxies in front of each other: only one header is understood"));
        }
        let ListenerContext { admission, table, .. } = &*self.listener_context;
        admission
            .check(table, &self.connection, AddressKnown::Effective)
            .map_err(|rejection| io::Error::new(io::ErrorKind::PermissionDenied, rejection))
    }
}

impl fmt::Debug for HandshakeContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HandshakeContext").field(&self.connection).finish()
    }
}

impl Accepted {
    /// A client whose bytes can be read at once.
    pub fn ready(peer: Address, local: Address, io: impl Io) -> Self {
        Self { peer, local, credentials: None, stage: Stage::Ready(Box::new(io)) }
    }

    /// A client whose bytes come after a handshake.
    pub fn handshake<H, F>(peer: Address, local: Address, handshake: H) -> Self
    where
        H: FnOnce(HandshakeContext) -> F + Send + 'static,
        F: Future<Output = io::Result<BoxIo>> + Send + 'static,
    {
        let stage = Stage::Handshake(Box::new(|arrival| Box::pin(handshake(arrival))));
        Self { peer, local, credentials: None, stage }
    }

    /// The same client, with a handshake after the one that it may have already: for a transport around another. A
    /// handshake begins with the bytes that come out of the one before it.
    #[must_use]
    pub fn then<H, F>(self, handshake: H) -> Self
    where
        H: FnOnce(BoxIo, HandshakeContext) -> F + Send + 'static,
        F: Future<Output = io::Result<BoxIo>> + Send + 'static,
    {
        let (peer, local, credentials) = (self.peer.clone(), self.local.clone(), self.credentials);
        let both = Self::handshake(peer, local, |arrival| async move {
            let io = self.stage.establish(arrival.clone()).await?;
            handshake(io, arrival).await
        });
        Self { credentials, ..both }
    }

    /// The same client with other bytes, made of its own: for a transport that looks at or changes what passes.
    #[must_use]
    pub fn map(self, wrap: impl FnOnce(BoxIo) -> BoxIo + Send + 'static) -> Self {
        match self.stage {
            Stage::Ready(io) => Self { stage: Stage::Ready(wrap(io)), ..self },
            Stage::Handshake(_) => self.then(|io, _| async { Ok(wrap(io)) }),
        }
    }
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted").field("peer", &self.peer).field("local", &self.local).finish_non_exhaustive()
    }
}

/// A connection at its start: the request of the connection seam.
pub struct Incoming {
    /// Who it is.
    pub connection: Connection,
    /// Its bytes.
    pub io: BoxIo,
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("connection", &self.connection).finish_non_exhaustive()
    }
}

/// Brings connections. The accept loop around it knows what to do about errors; an implementation only reports them.
#[async_trait]
pub trait StreamListener: Send {
    /// The next client. `None`: there will be no more, and that is as it should be. Must be cancel safe.
    async fn accept(&mut self) -> io::Result<Option<Accepted>>;

    /// Where it listens, with the port that the system chose.
    fn endpoint(&self) -> Endpoint;

    /// Another handle to the socket that it listens on, so that somebody else can go on listening there without a gap: the
    /// same listener with other settings, or the next process. `None`, the default: it has none that could be shared.
    fn share(&self) -> Option<SharedSocket> {
        None
    }
}

/// Brings datagrams.
pub trait DatagramSocket: Send + Sync + 'static {
    /// The next datagram, appended to `buffer`. It has room for more than the largest datagram that is taken; one that is
    /// longer still may be truncated, to no less than that room: whatever exceeds the limit is dropped, never handled.
    fn poll_receive(&self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<Route>>;

    /// Sends one datagram, or fails with [`io::ErrorKind::WouldBlock`] when the system's queue is full.
    fn try_send(&self, payload: &[u8], route: &Route) -> io::Result<()>;

    /// Ready when [`try_send`](Self::try_send) is worth trying again.
    fn poll_send_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Where it listens, with the port that the system chose.
    fn endpoint(&self) -> Endpoint;

    /// This side, for those who ask.
    fn local(&self) -> Address;

    /// Another handle to the socket, as in [`StreamListener::share`].
    fn share(&self) -> Option<SharedSocket> {
        None
    }
}

/// Where a datagram came from, so that the answer goes back the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The sender.
    pub peer: Address,
    /// The address that was asked, where the socket listens on several.
    pub local_ip: Option<IpAddr>,
}

/// In as few pieces as possible, since every datagram is looked up by it, and a hash that senders cannot guess costs by the piece.
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
    }
}
