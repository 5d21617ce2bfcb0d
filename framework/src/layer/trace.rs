//! An event at level debug for each call: how long it took and how it ended.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::{Layer, Service};

use crate::connection::Connection;
use crate::error::{BoxError, chain};
use crate::layer::Connected;

/// Tells of each call when it has ended. Costs a comparison while level debug is off.
#[derive(Debug, Clone, Copy)]
pub struct Trace {
    what: &'static str,
}

impl Trace {
    /// Says `message handled`.
    pub fn messages() -> Self {
        Self { what: "message handled" }
    }

    /// Says `connection served`.
    pub fn connections() -> Self {
        Self { what: "connection served" }
    }
}

impl Trace {
    /// What is told at the end of a call that begins now.
    #[inline]
    fn told(self, connection: &Connection) -> Option<Box<Told>> {
        tracing::enabled!(tracing::Level::DEBUG)
            .then(|| Box::new(Told { what: self.what, connection: connection.clone(), begun: Instant::now() }))
    }

    /// Puts it around one call.
    #[inline]
    pub(crate) fn around<F>(self, connection: &Connection, call: F) -> TraceFuture<F> {
        TraceFuture { told: self.told(connection), inner: call }
    }
}

impl<S> Layer<S> for Trace {
    type Service = TraceService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TraceService { inner, layer: *self }
    }
}

/// The service of [`Trace`].
#[derive(Debug, Clone)]
pub struct TraceService<S> {
    inner: S,
    layer: Trace,
}

impl<S, R> Service<R> for TraceService<S>
where
    S: Service<R, Error = BoxError>,
    R: Connected,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = TraceFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let told = self.layer.told(request.connection());
        TraceFuture { inner: self.inner.call(request), told }
    }
}

#[derive(Debug)]
struct Told {
    what: &'static str,
    connection: Connection,
    begun: Instant,
}

pin_project! {
    /// One call under [`Trace`].
    #[derive(Debug)]
    pub struct TraceFuture<F> {
        #[pin]
        inner: F,
        // Boxed: most calls are not told of, and are moved about.
        told: Option<Box<Told>>,
    }
}

impl<F, T> Future for TraceFuture<F>
where
    F: Future<Output = Result<T, BoxError>>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(cx));
        if let Some(told) = this.told {
            let Told { what, connection, begun } = &**told;
            let (listener, peer) = (connection.listener(), connection.peer());
            let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            match &result {
                Ok(_) => tracing::debug!(listener, %peer, connection = connection.id(), micros, "{what}"),
                Err(error) => {
                    let error = chain(&**error);
                    tracing::debug!(listener, %peer, connection = connection.id(), micros, error, "{what}");
                }
            }
        }
        Poll::Ready(result)
    }
}
