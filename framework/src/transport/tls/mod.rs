//! TLS as a layer around a transport: what comes is what the transport brings, after a handshake.
//!
//! The handshake is that of [`Accepted::handshake`], so it runs in the connection's own task and under its deadline: a client
//! that says nothing stops nobody. `tls://` is TCP inside; any other transport of connections keeps its address.
//!
//! Certificates are replaced while it serves: see [`Server::reload`].

mod info;
mod load;

pub use load::TlsError;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use async_trait::async_trait;
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;
use tower::{Layer, Service};

use crate::address::Endpoint;
use crate::connection::Kind;
use crate::error::BoxError;
use crate::settings::TlsSettings;
use crate::transport::{Accepted, BoxIo, HandshakeContext, SharedSocket, StreamListener};
use crate::transport::{Bind, Listener, SchemeInfo, Transport};

/// The server's side of TLS, ready to shake hands. As a `tower::Layer` it goes around any transport of connections.
///
/// Clones are the same server: what one of them is told by [`reload`](Self::reload) holds for all, and for every listener that
/// they are around.
#[derive(Clone)]
pub struct Server {
    /// Read once a handshake and written once a reload; nobody holds the lock for longer than the count of an `Arc` takes.
    current: Arc<RwLock<Arc<ServerConfig>>>,
}

impl Server {
    /// Reads the files that the settings name, and checks that they fit each other and are valid today. The error is a sentence
    /// that names the file; of a chain only the first certificate, the server's own, is held against the clock.
    pub fn load(settings: &TlsSettings) -> Result<Self, TlsError> {
        load::config(settings).map(|config| Self { current: Arc::new(RwLock::new(Arc::new(config))) })
    }

    /// Reads the files again, or other ones, and uses them for every handshake that begins from now on.
    ///
    /// Open connections and handshakes under way go on with what they have. Sessions that began before cannot be resumed
    /// afterwards: their clients shake hands in full, since it may be another authority now that says who may come. After an
    /// error, which is that of [`load`](Self::load), everything is as it was.
    ///
    /// It reads files, which may take as long as their file system likes.
    pub fn reload(&self, settings: &TlsSettings) -> Result<(), TlsError> {
        Self::load(settings).map(|fresh| self.adopt(&fresh))
    }

    /// Uses from now on what another server has loaded: [`reload`](Self::reload) in two steps, for those who replace several
    /// servers' certificates or none. It cannot fail.
    pub fn adopt(&self, fresh: &Self) {
        let fresh = fresh.config();
        // A panic cannot leave half an Arc behind.
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
    }

    fn config(&self) -> Arc<ServerConfig> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
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

    fn call(&mut self, bind: Bind) -> Self::Future {
        let endpoint = match bind.endpoint {
            Endpoint::Tls(at) => Endpoint::Tcp(at),
            other => other,
        };
        let server = self.server.clone();
        let bound = self.inner.call(Bind { endpoint, ..bind });
        Box::pin(async move {
            match bound.await? {
                Listener::Stream(listener) => Ok(Listener::Stream(Box::new(AcceptingListener { listener, server }))),
                Listener::Datagram(_) => Err("it brings datagrams, and TLS needs connections".into()),
            }
        })
    }
}

struct AcceptingListener {
    listener: Box<dyn StreamListener>,
    server: Server,
}

#[async_trait]
impl StreamListener for AcceptingListener {
    async fn accept(&mut self) -> io::Result<Option<Accepted>> {
        let Some(accepted) = self.listener.accept().await? else { return Ok(None) };
        let server = self.server.clone();
        Ok(Some(accepted.then(|io, arrival| shake_hands(io, arrival, server))))
    }

    fn endpoint(&self) -> Endpoint {
        match self.listener.endpoint() {
            Endpoint::Tcp(at) => Endpoint::Tls(at),
            other => other,
        }
    }

    fn share(&self) -> Option<SharedSocket> {
        self.listener.share()
    }
}

/// What it finds out is said before anybody can ask.
async fn shake_hands(io: BoxIo, arrival: HandshakeContext, server: Server) -> io::Result<BoxIo> {
    let stream = TlsAcceptor::from(server.config()).accept(io).await.map_err(|error| failed(&error))?;
    arrival.set_tls_info(info::of(stream.get_ref().1));
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
    fn schemes(&self) -> Vec<SchemeInfo> {
        vec![SchemeInfo::new("tls", "TLS over TCP: tls://host:port, with a certificate and a key", Kind::Stream)]
    }

    async fn bind(&self, _: Bind) -> io::Result<Listener> {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "TLS needs a certificate and a key, and none are given"))
    }
}
