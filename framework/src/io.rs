//! Words that transports and drivers share: what a listener accepts, what a connection starts with, what a datagram carries.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::address::{Address, Endpoint};
use crate::roster::Connection;
use crate::tls::TlsFacts;

/// Any byte stream.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// A byte stream whose transport was chosen at run time: boxed once a connection.
pub type BoxIo = Box<dyn Io>;

/// What a listener hands over for each client: who it is, and its bytes, perhaps after a handshake.
///
/// Accepting is cheap and serial; the handshake runs in the connection's own task, so a slow client stops nobody.
pub struct Accepted {
    /// The client.
    pub peer: Address,
    /// This side.
    pub local: Address,
    stage: Stage,
}

enum Stage {
    Ready(BoxIo),
    Handshake(Pin<Box<dyn Future<Output = io::Result<Established>> + Send>>),
}

/// What a handshake came to.
#[non_exhaustive]
pub struct Established {
    /// The bytes of the client.
    pub io: BoxIo,
    /// What a TLS handshake found out, if there was one.
    pub tls: Option<TlsFacts>,
}

impl Established {
    /// Bytes that came through TLS.
    pub fn secured(io: BoxIo, facts: TlsFacts) -> Self {
        Self { io, tls: Some(facts) }
    }
}

impl From<BoxIo> for Established {
    fn from(io: BoxIo) -> Self {
        Self { io, tls: None }
    }
}

impl fmt::Debug for Established {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Established").field("tls", &self.tls).finish_non_exhaustive()
    }
}

impl Accepted {
    /// A client whose bytes can be read at once.
    pub fn ready(peer: Address, local: Address, io: impl Io) -> Self {
        Self { peer, local, stage: Stage::Ready(Box::new(io)) }
    }

    /// A client whose bytes come after a handshake: a [`BoxIo`], or [`Established`] where more is known of them.
    pub fn handshake<F, E>(peer: Address, local: Address, handshake: F) -> Self
    where
        F: Future<Output = io::Result<E>> + Send + 'static,
        E: Into<Established>,
    {
        Self { peer, local, stage: Stage::Handshake(Box::pin(async { handshake.await.map(Into::into) })) }
    }

    /// Finishes the handshake, if there is one.
    pub async fn establish(self) -> io::Result<Established> {
        match self.stage {
            Stage::Ready(io) => Ok(io.into()),
            Stage::Handshake(handshake) => handshake.await,
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
}

/// Where a datagram came from, so that the answer goes back the same way.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Route {
    /// The sender.
    pub peer: Address,
    /// The address that was asked, where the socket listens on several.
    pub asked: Option<IpAddr>,
}
