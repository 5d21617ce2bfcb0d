//! The trait that binds endpoints, and its request.

use std::io;

use async_trait::async_trait;

use crate::address::Endpoint;
use crate::settings::SocketOptions;
use crate::transport::listener::Listener;
use crate::transport::scheme::SchemeInfo;
use crate::transport::shared_socket::SharedSocket;

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
