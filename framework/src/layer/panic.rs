//! A panic ends one call, not the task around it.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::CatchUnwind;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::error::BoxError;

/// Turns a panic inside a call into the error [`Panicked`]: the connection closes with reason `panic`, nobody else notices.
#[derive(Debug, Clone, Copy)]
pub struct CatchPanic;

/// A call panicked. Its text is that of the panic.
#[derive(Debug, thiserror::Error)]
#[error("panicked: {0}")]
pub struct Panicked(String);

impl Panicked {
    pub(crate) fn new(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        Self(text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned())
    }
}

impl CatchPanic {
    /// Puts it around one call.
    #[inline]
    pub(crate) fn around<F: Future>(self, call: F) -> CatchPanicFuture<F> {
        CatchPanicFuture { inner: AssertUnwindSafe(call).catch_unwind() }
    }
}

impl<S> Layer<S> for CatchPanic {
    type Service = CatchPanicService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CatchPanicService { inner }
    }
}

/// The service of [`CatchPanic`].
#[derive(Debug, Clone)]
pub struct CatchPanicService<S> {
    inner: S,
}

impl<S, R> Service<R> for CatchPanicService<S>
where
    S: Service<R, Error = BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = CatchPanicFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        CatchPanic.around(self.inner.call(request))
    }
}

pin_project! {
    /// One call under [`CatchPanic`].
    #[derive(Debug)]
    pub struct CatchPanicFuture<F> {
        #[pin]
        inner: CatchUnwind<AssertUnwindSafe<F>>,
    }
}

impl<F, T> Future for CatchPanicFuture<F>
where
    F: Future<Output = Result<T, BoxError>>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project()
            .inner
            .poll(cx)
            .map(|result| result.unwrap_or_else(|payload| Err(Panicked::new(&*payload).into())))
    }
}
