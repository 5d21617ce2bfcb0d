//! The type-erased service of connections.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower::{Service, ServiceExt};

use crate::error::BoxError;
use crate::transport::incoming::Incoming;

/// The future of a connection, from its start to its end.
pub(crate) type SessionFuture = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

/// The type-erased `tower::Service` of connections, with one call per connection. A layer around connections wraps it,
/// see [`Server::connection_layer`](crate::Server::connection_layer).
///
/// Drivers return boxed futures. Unlike the boxed services of tower, this one does not box them again.
pub struct ConnectionService(Box<dyn Erased>);

trait Erased: Service<Incoming, Response = (), Error = BoxError, Future = SessionFuture> + Send + Sync {
    fn clone_box(&self) -> Box<dyn Erased>;
}

impl<S> Erased for S
where
    S: Service<Incoming, Response = (), Error = BoxError, Future = SessionFuture> + Clone + Send + Sync + 'static,
{
    fn clone_box(&self) -> Box<dyn Erased> {
        Box::new(self.clone())
    }
}

impl ConnectionService {
    /// Erases a service whose futures are boxed already.
    pub(crate) fn new<S>(service: S) -> Self
    where
        S: Service<Incoming, Response = (), Error = BoxError, Future = SessionFuture> + Clone + Send + Sync + 'static,
    {
        Self(Box::new(service))
    }

    /// Erases a service and boxes each of its futures.
    pub(crate) fn boxed<S>(service: S) -> Self
    where
        S: Service<Incoming, Response = (), Error = BoxError> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        Self::new(service.map_future(|future| Box::pin(future) as SessionFuture))
    }
}

impl Service<Incoming> for ConnectionService {
    type Response = ();
    type Error = BoxError;
    type Future = SessionFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, incoming: Incoming) -> SessionFuture {
        self.0.call(incoming)
    }
}

impl Clone for ConnectionService {
    fn clone(&self) -> Self {
        Self(self.0.clone_box())
    }
}

impl fmt::Debug for ConnectionService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionService").finish_non_exhaustive()
    }
}
