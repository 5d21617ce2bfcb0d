//! Transports bring connections or datagrams.
//!
//! A [`Transport`] binds an endpoint and gives a [`Listener`]. Each is a `tower::Service<Bind, Response = Listener>` too
//! ([`TransportService`]), so that what surrounds a transport (encryption, a proxy's header) is a layer around it.
//! A listener only reports errors; what to do about them is decided in one place, the accept loop.

mod listener;
pub mod memory;
pub mod proxy;
mod scheme;
mod shared_socket;
mod systemd;
mod tcp;
pub mod tls;
mod udp;
mod unix;
mod unixgram;

pub(crate) use listener::Stage;
pub use listener::{Accepted, BoxIo, DatagramSocket, HandshakeContext, Incoming, Io, Route, StreamListener};
pub use scheme::SchemeInfo;
pub use shared_socket::SharedSocket;
pub(crate) use shared_socket::SocketPath;
pub use systemd::Systemd;
pub use tcp::Tcp;
pub use udp::Udp;
pub use unix::Unix;
pub use unixgram::Unixgram;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use tower::Service;
use tower::util::BoxCloneSyncService;

use crate::address::Endpoint;
use crate::error::BoxError;
use crate::settings::SocketOptions;

/// Binds endpoints of its schemes. See [`StreamListener`] for what to implement beside it.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// The schemes that it serves.
    fn schemes(&self) -> Vec<SchemeInfo>;

    /// Begins to listen. An error is about this endpoint: a port in use, an address that is not ours, a missing directory.
    ///
    /// A transport whose listeners [share](StreamListener::share) their sockets gets such a socket back in
    /// [`Bind::inherited`], and listens on that one instead of a new one.
    async fn bind(&self, bind: Bind) -> io::Result<Listener>;
}

/// What a transport brings.
pub enum Listener {
    /// Connections.
    Stream(Box<dyn StreamListener>),
    /// Datagrams.
    Datagram(Box<dyn DatagramSocket>),
}

impl Listener {
    /// Where it listens, with the port that the system chose.
    pub fn endpoint(&self) -> Endpoint {
        match self {
            Self::Stream(listener) => listener.endpoint(),
            Self::Datagram(socket) => socket.endpoint(),
        }
    }

    /// Another handle to its socket, where there is one to share.
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

/// The request of a transport as a service.
#[derive(Debug)]
#[non_exhaustive]
pub struct Bind {
    /// Where.
    pub endpoint: Endpoint,
    /// How.
    pub options: SocketOptions,
    /// A socket that is bound there already, if there is one.
    pub inherited: Option<SharedSocket>,
}

impl Bind {
    /// For a socket of its own.
    pub fn new(endpoint: Endpoint, options: SocketOptions) -> Self {
        Self { endpoint, options, inherited: None }
    }
}

/// A transport as a `tower::Service`.
pub struct TransportService<T: ?Sized>(Arc<T>);

impl<T: Transport> TransportService<T> {
    /// The service of a transport.
    pub fn new(transport: T) -> Self {
        Self(Arc::new(transport))
    }
}

impl<T: Transport + ?Sized> Service<Bind> for TransportService<T> {
    type Response = Listener;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Listener, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, bind: Bind) -> Self::Future {
        let transport = self.0.clone();
        Box::pin(async move { Ok(transport.bind(bind).await?) })
    }
}

impl<T: ?Sized> Clone for TransportService<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: ?Sized> fmt::Debug for TransportService<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransportService")
    }
}

/// A transport chosen at run time.
pub type BoxTransport = BoxCloneSyncService<Bind, Listener, BoxError>;

/// Transports by scheme. The default holds the built-in ones.
#[derive(Clone)]
pub struct Transports(Vec<Entry>);

#[derive(Clone)]
struct Entry {
    info: SchemeInfo,
    service: BoxTransport,
}

impl Default for Transports {
    fn default() -> Self {
        let mut table = Self(Vec::new());
        table.add(Tcp).add(tls::Tls).add(Udp).add(Unix).add(Unixgram).add(memory::Memory).add(Systemd::default());
        table
    }
}

impl Transports {
    /// Adds a transport; for a scheme that is there already, the new one counts.
    pub fn add(&mut self, transport: impl Transport) -> &mut Self {
        let schemes = transport.schemes();
        let service = BoxCloneSyncService::new(TransportService::new(transport));
        for info in schemes {
            self.0.retain(|entry| entry.info.scheme != info.scheme);
            self.0.push(Entry { info, service: service.clone() });
        }
        self
    }

    /// The schemes of all transports.
    pub fn list(&self) -> impl Iterator<Item = &SchemeInfo> {
        self.0.iter().map(|entry| &entry.info)
    }

    /// The transport of a scheme, as a service.
    pub fn service(&self, scheme: &str) -> Option<BoxTransport> {
        self.0.iter().find(|entry| entry.info.scheme == scheme).map(|entry| entry.service.clone())
    }
}

impl fmt::Debug for Transports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|entry| entry.info.scheme)).finish()
    }
}

/// For a transport that was asked for a scheme which is not its own.
pub(crate) fn unsupported_endpoint(endpoint: &Endpoint) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, format!("this transport does not serve {endpoint}"))
}
