//! An accepted client: its addresses and its byte stream, perhaps after a handshake.

use std::fmt;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
#[cfg(feature = "testing")]
use std::sync::OnceLock;

use crate::address::{Address, Credentials};
use crate::connection::{AddressKnown, Connection, ListenerContext, ProxyInfo, TlsInfo};
use crate::transport::box_io::{BoxIo, Io};
use futures_util::future::BoxFuture;

/// A client that a listener has accepted: its addresses and its byte stream, perhaps after a handshake.
///
/// Accepting is serial and must be fast. A handshake runs in the task of the connection, so a slow client does not
/// delay others.
#[non_exhaustive]
pub struct Accepted {
    /// The address of the peer.
    pub peer: Address,
    /// The local address.
    pub local: Address,
    /// The credentials of the peer's process, where the system reports them.
    pub credentials: Option<Credentials>,
    /// The number of its file descriptor, for [`descriptor_limit`](crate::server::ListenerSpec::descriptor_limit).
    pub descriptor: Option<RawFd>,
    pub(crate) handshake: HandshakeState,
    /// Receives the connection of this client, for the test kit.
    #[cfg(feature = "testing")]
    pub(crate) observer: Option<Arc<OnceLock<Connection>>>,
}

pub(crate) enum HandshakeState {
    Ready(BoxIo),
    Handshake(Handshake),
}

impl HandshakeState {
    pub(crate) fn handshake<F>(handshake: impl FnOnce(HandshakeContext) -> F + Send + 'static) -> Self
    where
        F: Future<Output = io::Result<BoxIo>> + Send + 'static,
    {
        Self::Handshake(Box::new(|context| Box::pin(handshake(context))))
    }

    pub(crate) async fn establish(self, context: HandshakeContext) -> io::Result<BoxIo> {
        match self {
            Self::Ready(io) => Ok(io),
            Self::Handshake(handshake) => handshake(context).await,
        }
    }
}

type Handshake = Box<dyn FnOnce(HandshakeContext) -> BoxFuture<'static, io::Result<BoxIo>> + Send>;

/// The connection during its handshake. The handshake stores its results here. Clones refer to the same connection.
#[derive(Clone)]
pub struct HandshakeContext {
    connection: Connection,
    listener_context: Arc<ListenerContext>,
}

impl HandshakeContext {
    pub(crate) fn new(connection: &Connection, listener_context: &Arc<ListenerContext>) -> Self {
        Self { connection: connection.clone(), listener_context: listener_context.clone() }
    }

    /// The connection.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Stores the result of a TLS handshake for [`Connection::tls`]. Only the first call has an effect.
    pub fn set_tls_info(&self, info: TlsInfo) {
        self.connection.set_tls_info(info);
    }

    /// Stores the contents of a PROXY header, and applies access lists, limits and rates to the client that it names.
    ///
    /// # Errors
    ///
    /// The client is rejected, or the connection already has a PROXY header. The handshake must fail with this error.
    pub fn set_proxy_info(&self, info: ProxyInfo) -> io::Result<()> {
        if !self.connection.set_proxy_info(info) {
            return Err(io::Error::other("the connection has two PROXY headers; only one is supported"));
        }
        let ListenerContext { admission, table, handshakes, .. } = &*self.listener_context;
        handshakes.source_known(&self.connection);
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
    /// A client whose bytes can be read immediately.
    pub fn ready(peer: Address, local: Address, io: impl Io) -> Self {
        Self::new(peer, local, HandshakeState::Ready(BoxIo::new(io)))
    }

    /// A client whose bytes can be read after a handshake.
    pub fn handshake<H, F>(peer: Address, local: Address, handshake: H) -> Self
    where
        H: FnOnce(HandshakeContext) -> F + Send + 'static,
        F: Future<Output = io::Result<BoxIo>> + Send + 'static,
    {
        Self::new(peer, local, HandshakeState::handshake(handshake))
    }

    fn new(peer: Address, local: Address, handshake: HandshakeState) -> Self {
        Self {
            peer,
            local,
            credentials: None,
            descriptor: None,
            handshake,
            #[cfg(feature = "testing")]
            observer: None,
        }
    }

    /// Adds a handshake after the existing one, for a listener that wraps another. The new handshake receives the byte
    /// stream that the previous one returned.
    #[must_use]
    pub fn then<H, F>(self, handshake: H) -> Self
    where
        H: FnOnce(BoxIo, HandshakeContext) -> F + Send + 'static,
        F: Future<Output = io::Result<BoxIo>> + Send + 'static,
    {
        let previous = self.handshake;
        let both = |context: HandshakeContext| async move {
            let io = previous.establish(context.clone()).await?;
            handshake(io, context).await
        };
        Self { handshake: HandshakeState::Handshake(Box::new(|context| Box::pin(both(context)))), ..self }
    }

    /// Wraps the byte stream, for a listener that inspects or changes the bytes.
    #[must_use]
    pub fn map(self, wrap: impl FnOnce(BoxIo) -> BoxIo + Send + 'static) -> Self {
        match self.handshake {
            HandshakeState::Ready(io) => Self { handshake: HandshakeState::Ready(wrap(io)), ..self },
            HandshakeState::Handshake(_) => self.then(|io, _| async { Ok(wrap(io)) }),
        }
    }
}

#[cfg(feature = "testing")]
impl Accepted {
    /// Stores the connection of this client when the server accepts it.
    pub(crate) fn observed_by(self, observer: &Arc<OnceLock<Connection>>) -> Self {
        Self { observer: Some(observer.clone()), ..self }
    }
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted").field("peer", &self.peer).field("local", &self.local).finish_non_exhaustive()
    }
}
