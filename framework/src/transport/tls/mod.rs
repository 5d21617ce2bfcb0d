//! TLS as a layer around a transport: what comes is what the transport brings, after a handshake.
//!
//! The handshake is that of [`Accepted::handshake`], so it runs in the connection's own task and under its deadline: a client
//! that says nothing stops nobody. `tls://` is TCP inside; any other transport of connections keeps its address.

mod facts;
mod load;

pub use load::TlsError;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;
use tower::{Layer, Service};

use crate::address::Endpoint;
use crate::error::BoxError;
use crate::io::{Accepted, Arrival, BoxIo, StreamListener};
use crate::roster::Kind;
use crate::spec::SocketOptions;
use crate::tls::TlsSettings;
use crate::transport::{Bind, Listener, Transport};

/// The server's side of TLS, ready to shake hands. As a `tower::Layer` it goes around any transport of connections.
#[derive(Clone)]
pub struct Server(Arc<ServerConfig>);

impl Server {
    /// Reads the files that the settings name, and checks that they fit each other. The error is a sentence that names the file.
    pub fn load(settings: &TlsSettings) -> Result<Self, TlsError> {
        load::config(settings).map(|config| Self(Arc::new(config)))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive() // what it holds is secret
    }
}

impl<S> Layer<S> for Server {
    type Service = Secured<S>;

    fn layer(&self, inner: S) -> Secured<S> {
        Secured { inner, server: self.clone() }
    }
}

/// A transport with TLS around it.
#[derive(Debug, Clone)]
pub struct Secured<S> {
    inner: S,
    server: Server,
}

impl<S> Service<Bind> for Secured<S>
where
    S: Service<Bind, Response = Listener, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Listener;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Listener, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, Bind { endpoint, options }: Bind) -> Self::Future {
        let endpoint = match endpoint {
            Endpoint::Tls(at) => Endpoint::Tcp(at),
            other => other,
        };
        let acceptor = TlsAcceptor::from(self.server.0.clone());
        let bound = self.inner.call(Bind { endpoint, options });
        Box::pin(async move {
            match bound.await? {
                Listener::Stream(listener) => Ok(Listener::Stream(Box::new(Accepting { listener, acceptor }))),
                Listener::Datagram(_) => Err("it brings datagrams, and TLS needs connections".into()),
            }
        })
    }
}

struct Accepting {
    listener: Box<dyn StreamListener>,
    acceptor: TlsAcceptor,
}

#[async_trait]
impl StreamListener for Accepting {
    async fn accept(&mut self) -> io::Result<Option<Accepted>> {
        let Some(accepted) = self.listener.accept().await? else { return Ok(None) };
        let acceptor = self.acceptor.clone();
        Ok(Some(accepted.then(|io, arrival| shake_hands(io, arrival, acceptor))))
    }

    fn endpoint(&self) -> Endpoint {
        match self.listener.endpoint() {
            Endpoint::Tcp(at) => Endpoint::Tls(at),
            other => other,
        }
    }
}

async fn shake_hands(io: BoxIo, arrival: Arrival, acceptor: TlsAcceptor) -> io::Result<BoxIo> {
    let stream = acceptor.accept(io).await.map_err(|error| failed(&error))?;
    arrival.secured(facts::of(stream.get_ref().1));
    Ok(Box::new(stream))
}

fn failed(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the TLS handshake failed: {error}"))
}

/// `tls://host:port`, for the table of transports. Without [`TlsSettings`] it refuses to listen; with them a server listens on
/// TCP with [`Server`] around it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tls;

#[async_trait]
impl Transport for Tls {
    fn schemes(&self) -> &'static [(&'static str, &'static str, Kind)] {
        &[("tls", "TLS over TCP: tls://host:port, with a certificate and a key", Kind::Stream)]
    }

    async fn bind(&self, _: &Endpoint, _: &SocketOptions) -> io::Result<Listener> {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "TLS needs a certificate and a key, and none are given"))
    }
}
