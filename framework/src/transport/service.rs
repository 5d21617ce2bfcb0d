//! A transport as a `tower::Service`.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::Service;
use tower::util::BoxCloneSyncService;

use crate::error::BoxError;
use crate::transport::bind::{Bind, Transport};
use crate::transport::listener::Listener;

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

/// A type-erased transport.
pub type BoxTransport = BoxCloneSyncService<Bind, Listener, BoxError>;
