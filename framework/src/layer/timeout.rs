//! A deadline for each call.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower::{Layer, Service};

use crate::error::BoxError;

/// Drops a call that takes longer, with the error [`Elapsed`]: the connection closes with reason `message_timeout`.
///
/// The clock starts when the call first has to wait: one that is ready at once never touches a timer.
#[derive(Debug, Clone, Copy)]
pub struct Timeout {
    after: Duration,
}

impl Timeout {
    /// A deadline for each call; zero for none.
    pub fn new(after: Duration) -> Self {
        Self { after }
    }

    /// Puts the deadline around one future.
    #[inline]
    pub fn around<F>(self, call: F) -> TimeoutFuture<F> {
        TimeoutFuture { inner: call, after: self.after, sleep: None }
    }
}

/// A call took longer than its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message was not handled within {0:?}")]
pub struct Elapsed(Duration);

impl<S> Layer<S> for Timeout {
    type Service = TimeoutService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        TimeoutService { inner, layer: *self }
    }
}

/// The service of [`Timeout`].
#[derive(Debug, Clone)]
pub struct TimeoutService<S> {
    inner: S,
    layer: Timeout,
}

impl<S, R> Service<R> for TimeoutService<S>
where
    S: Service<R, Error = BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = TimeoutFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.layer.around(self.inner.call(request))
    }
}

pin_project! {
    /// One call under [`Timeout`].
    #[derive(Debug)]
    pub struct TimeoutFuture<F> {
        #[pin]
        inner: F,
        after: Duration,
        sleep: Option<Pin<Box<Sleep>>>,
    }
}

impl<F, T> Future for TimeoutFuture<F>
where
    F: Future<Output = Result<T, BoxError>>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(result) = this.inner.poll(cx) {
            return Poll::Ready(result);
        }
        if this.after.is_zero() {
            return Poll::Pending;
        }
        let sleep = this.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep(*this.after)));
        sleep.as_mut().poll(cx).map(|()| Err(Elapsed(*this.after).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tower::{ServiceExt, service_fn};

    #[tokio::test(start_paused = true)]
    async fn a_call_that_takes_too_long_is_dropped() {
        let service = service_fn(|wait: u64| async move {
            tokio::time::sleep(Duration::from_secs(wait)).await;
            Ok::<_, BoxError>(wait)
        });
        let service = Timeout::new(Duration::from_secs(2)).layer(service);
        assert_eq!(service.clone().oneshot(1).await.unwrap(), 1);
        let error = service.oneshot(3).await.unwrap_err();
        assert!(error.is::<Elapsed>(), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn zero_waits_for_ever() {
        let service = service_fn(|()| async {
            tokio::time::sleep(Duration::from_secs(1_000_000)).await;
            Ok::<_, BoxError>(())
        });
        Timeout::new(Duration::ZERO).layer(service).oneshot(()).await.unwrap();
    }
}
