//! A listener whose clients perform a TLS handshake first.

use std::fmt;
use std::io;

use async_trait::async_trait;

use crate::address::Endpoint;
use crate::transport::accepted::Accepted;
use crate::transport::listener::StreamListener;
use crate::transport::shared_socket::SharedSocket;
use crate::transport::tls::acceptor::TlsAcceptor;

/// Adds TLS to another listener.
pub struct TlsListener {
    inner: Box<dyn StreamListener>,
    acceptor: TlsAcceptor,
}

impl TlsListener {
    /// Wraps a listener.
    pub fn new(inner: Box<dyn StreamListener>, acceptor: TlsAcceptor) -> Self {
        Self { inner, acceptor }
    }
}

impl TlsAcceptor {
    pub(crate) fn wrap(&self, listener: Box<dyn StreamListener>) -> Box<dyn StreamListener> {
        Box::new(TlsListener::new(listener, self.clone()))
    }
}

#[async_trait]
impl StreamListener for TlsListener {
    async fn accept(&mut self) -> io::Result<Option<Accepted>> {
        let Some(accepted) = self.inner.accept().await? else { return Ok(None) };
        let acceptor = self.acceptor.clone();
        Ok(Some(accepted.then(|io, context| async move { acceptor.accept(io, context).await })))
    }

    fn endpoint(&self) -> Endpoint {
        match self.inner.endpoint() {
            Endpoint::Tcp(host_port) => Endpoint::Tls(host_port),
            other => other,
        }
    }

    fn share(&self) -> Option<SharedSocket> {
        self.inner.share()
    }
}

impl fmt::Debug for TlsListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TlsListener").field(&self.endpoint().to_string()).finish()
    }
}
