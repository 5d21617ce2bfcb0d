//! Defines a layer once, for direct calls and as a `tower::Service`.

use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower::Service;

use crate::error::{BoxError, Result};

/// A layer that reads the request when a call begins, and then polls the call. All built-in layers are defined this way.
///
/// [`LayerService`] turns it into a `tower::Service`, for messages and for connections:
///
/// ```
/// use std::pin::Pin;
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
/// use std::task::{Context, Poll, ready};
/// use switchboard::layer::{CallLayer, LayerService, PollCall};
/// use switchboard::prelude::{Result, Server};
/// use switchboard::tower::Layer;
///
/// /// Counts the calls that fail.
/// #[derive(Clone, Default)]
/// struct CountErrors(Arc<AtomicU64>);
///
/// impl<R> CallLayer<R> for CountErrors {
///     type Call = Self;
///     fn begin(&self, _: &R) -> Self {
///         self.clone()
///     }
/// }
///
/// impl PollCall for CountErrors {
///     fn poll_call<T>(
///         &mut self,
///         call: Pin<&mut impl Future<Output = Result<T>>>,
///         cx: &mut Context,
///     ) -> Poll<Result<T>> {
///         let result = ready!(call.poll(cx));
///         self.0.fetch_add(u64::from(result.is_err()), Relaxed);
///         Poll::Ready(result)
///     }
/// }
///
/// impl<S> Layer<S> for CountErrors {
///     type Service = LayerService<S, Self>;
///     fn layer(&self, inner: S) -> Self::Service {
///         LayerService::new(inner, self.clone())
///     }
/// }
///
/// let errors = CountErrors::default();
/// let server = Server::bind("tcp://127.0.0.1:0").connection_layer(errors.clone()).layer(errors);
/// ```
pub trait CallLayer<R>: Clone {
    /// What the layer keeps while one call runs.
    type Call: PollCall;

    /// Begins a call for this request, before the call is polled.
    fn begin(&self, request: &R) -> Self::Call;

    /// Wraps a call that needs no service.
    #[inline]
    fn wrap<F>(&self, request: &R, call: F) -> LayerFuture<F, Self::Call> {
        LayerFuture { inner: call, layer: self.begin(request) }
    }
}

/// How a layer polls the call inside it.
pub trait PollCall {
    /// Polls the call, or waits, or fails without polling it.
    fn poll_call<T>(&mut self, call: Pin<&mut impl Future<Output = Result<T>>>, cx: &mut Context) -> Poll<Result<T>>;
}

pin_project! {
    /// One call inside a [`CallLayer`].
    #[derive(Debug)]
    pub struct LayerFuture<F, C> {
        #[pin]
        inner: F,
        layer: C,
    }
}

impl<F, T, C> Future for LayerFuture<F, C>
where
    F: Future<Output = Result<T>>,
    C: PollCall,
{
    type Output = Result<T>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.layer.poll_call(this.inner, cx)
    }
}

/// A service inside the [`CallLayer`] `L`.
#[derive(Debug, Clone)]
pub struct LayerService<S, L> {
    inner: S,
    layer: L,
}

impl<S, L> LayerService<S, L> {
    /// Wraps a service.
    pub fn new(inner: S, layer: L) -> Self {
        Self { inner, layer }
    }
}

impl<S, L, R> Service<R> for LayerService<S, L>
where
    S: Service<R, Error = BoxError>,
    L: CallLayer<R>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = LayerFuture<S::Future, L::Call>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let layer = self.layer.begin(&request);
        LayerFuture { inner: self.inner.call(request), layer }
    }
}

/// Makes a `tower::Layer` of each [`CallLayer`]: coherence allows no implementation for all of them at once.
macro_rules! tower_layers {
    ($($layer:ty),*) => {$(
        impl<S> tower::Layer<S> for $layer {
            type Service = LayerService<S, Self>;

            fn layer(&self, inner: S) -> Self::Service {
                LayerService::new(inner, self.clone())
            }
        }
    )*};
}

pub(super) use tower_layers;
