//! The table of transports by scheme; each is a `tower::Service`.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tower::Service;
use tower::util::BoxCloneSyncService;

use crate::error::BoxError;
use crate::transport::listener::{Bind, Listener, SchemeInfo, Transport};
use crate::transport::memory::Memory;
use crate::transport::systemd::Systemd;
use crate::transport::tcp::Tcp;
#[cfg(feature = "udp")]
use crate::transport::udp::Udp;
#[cfg(feature = "unix")]
use crate::transport::unix::Unix;
#[cfg(feature = "unix")]
use crate::transport::unixgram::Unixgram;

/// Transports by scheme. The default contains the built-in transports.
#[derive(Clone)]
pub struct Transports(Vec<(SchemeInfo, BoxTransport)>);

impl Default for Transports {
    fn default() -> Self {
        let mut table = Self(Vec::new());
        table.add(Tcp);
        #[cfg(feature = "udp")]
        table.add(Udp);
        #[cfg(feature = "unix")]
        table.add(Unix).add(Unixgram);
        table.add(Memory).add(Systemd::default());
        table
    }
}

impl Transports {
    /// Adds a transport. It replaces an earlier transport of the same scheme.
    pub fn add(&mut self, transport: impl Transport) -> &mut Self {
        let schemes = transport.schemes();
        let service = BoxCloneSyncService::new(TransportService::new(transport));
        for info in schemes {
            self.0.retain(|(known, _)| known.scheme != info.scheme);
            self.0.push((info, service.clone()));
        }
        self
    }

    /// The schemes of all transports.
    pub fn list(&self) -> impl Iterator<Item = &SchemeInfo> {
        self.0.iter().map(|(info, _)| info)
    }

    /// The transport of a scheme, as a service.
    pub fn service(&self, scheme: &str) -> Option<BoxTransport> {
        self.0.iter().find(|(info, _)| info.scheme == scheme).map(|(_, service)| service.clone())
    }
}

impl fmt::Debug for Transports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list().map(|info| info.scheme)).finish()
    }
}

/// Adapts a [`Transport`] to `tower::Service`.
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
    type Future = BoxFuture<'static, Result<Listener, BoxError>>;

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

/// A type-erased transport.
pub type BoxTransport = BoxCloneSyncService<Bind, Listener, BoxError>;
