//! What a layer is: defined once, for direct calls and as a `tower::Service`.

use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use tower::Service;

use crate::connection::{Connection, Kind};
use crate::error::{BoxError, Result};
use crate::handler::{Frames, Reply, Request};
use crate::transport::Incoming;

/// A layer that reads the request when a call begins, and then polls the call. [`LayerService`] turns it into a
/// `tower::Service`, for messages and for connections:
///
/// ```
/// use std::pin::Pin;
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
/// use std::task::{Context, Poll, ready};
/// use switchboard::layer::{CallLayer, CallOutput, LayerService, PollCall};
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
///     fn poll_call<T: CallOutput>(
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
    fn poll_call<T: CallOutput>(
        &mut self,
        call: Pin<&mut impl Future<Output = Result<T>>>,
        cx: &mut Context,
    ) -> Poll<Result<T>>;
}

/// What a call returns: the reply to a message, or nothing for a connection.
pub trait CallOutput: Sized {
    /// Keeps a value until the work for the call is done. If the reply is [later](Reply::later), that is when its
    /// future ends; otherwise it is now. For permits and guards.
    #[must_use]
    fn keep(self, value: impl Send + 'static) -> Self;
}

impl CallOutput for () {
    fn keep(self, _: impl Send + 'static) -> Self {}
}

impl<Out: Send + 'static> CallOutput for Reply<Out> {
    fn keep(mut self, value: impl Send + 'static) -> Self {
        if let Frames::Later(_, future) = &mut self.frames {
            let inner = std::mem::replace(future, Box::pin(std::future::pending()));
            *future = Box::pin(async move { Ok(inner.await?.keep(value)) });
        }
        self
    }
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

impl<F: Future<Output = Result<T>>, T: CallOutput, C: PollCall> Future for LayerFuture<F, C> {
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

impl<S: Service<R, Response: CallOutput, Error = BoxError>, L: CallLayer<R>, R> Service<R> for LayerService<S, L> {
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

/// A request with a known connection: a message, or a new connection.
pub trait Connected {
    /// The connection of the request.
    fn connection(&self) -> &Connection;

    /// Whether a layer may delay the request.
    ///
    /// A message on a stream may wait: the server reads no further message of that connection meanwhile. A datagram or
    /// a new connection is better rejected.
    fn may_wait(&self) -> bool {
        self.connection().kind() == Kind::Stream
    }
}

impl Connected for Connection {
    #[inline]
    fn connection(&self) -> &Connection {
        self
    }
}

impl<In> Connected for Request<In> {
    fn connection(&self) -> &Connection {
        self.connection()
    }
}

impl Connected for Incoming {
    fn connection(&self) -> &Connection {
        &self.connection
    }

    fn may_wait(&self) -> bool {
        false
    }
}

/// The options of a built-in layer that a configuration can name.
pub(crate) trait LayerOptions: DeserializeOwned + JsonSchema + 'static {
    const NAME: &str;
    const SUMMARY: &str;
    type Layer;

    fn build(self) -> Result<Self::Layer>;
}

/// Defines the options of a built-in layer, with their defaults, and how they build the layer.
macro_rules! layer_options {
    (
        $(#[$attribute:meta])*
        $options:ident { $($(#[$field_attribute:meta])* $field:ident: $type:ty = $default:expr,)* }
        $name:literal => $layer:ty: $summary:literal,
        $build:expr
    ) => {
        $(#[$attribute])*
        #[derive(serde::Deserialize, schemars::JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub(crate) struct $options {
            $($(#[$field_attribute])* $field: $type,)*
        }

        impl Default for $options {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $crate::layer::call::LayerOptions for $options {
            const NAME: &str = $name;
            const SUMMARY: &str = $summary;
            type Layer = $layer;

            fn build(self) -> Result<$layer> {
                $build(self)
            }
        }
    };
}

pub(super) use layer_options;
