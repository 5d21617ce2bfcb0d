//! A limit on calls under way at once, over all connections.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use pin_project_lite::pin_project;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tower::{Layer, Service};

use crate::error::BoxError;

/// At most so many calls at once over everything that one layer (and its clones) is put around; the others wait their turn,
/// first come, first served.
///
/// Unlike tower's own, it takes its permit when the call begins to work: nobody holds one without working.
#[derive(Debug, Clone)]
pub struct Concurrency {
    permits: Arc<Semaphore>,
}

impl Concurrency {
    /// At most `calls` at once; at least one.
    pub fn new(calls: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(calls.clamp(1, Semaphore::MAX_PERMITS))) }
    }
}

impl<S> Layer<S> for Concurrency {
    type Service = ConcurrencyService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ConcurrencyService { inner, permits: self.permits.clone() }
    }
}

/// The service of [`Concurrency`].
#[derive(Debug, Clone)]
pub struct ConcurrencyService<S> {
    inner: S,
    permits: Arc<Semaphore>,
}

impl<S, R> Service<R> for ConcurrencyService<S>
where
    S: Service<R, Error = BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = ConcurrencyFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        // The permit is taken when the call is first polled: one that waits outside holds none.
        ConcurrencyFuture { inner: self.inner.call(request), turn: Turn::New { permits: self.permits.clone() } }
    }
}

enum Turn {
    New { permits: Arc<Semaphore> },
    Waiting { acquire: BoxFuture<'static, Result<OwnedSemaphorePermit, AcquireError>> },
    Here { permit: OwnedSemaphorePermit },
    Over,
}

pin_project! {
    /// One call under [`Concurrency`].
    pub struct ConcurrencyFuture<F> {
        #[pin]
        inner: F,
        turn: Turn,
    }
}

impl<F, T> Future for ConcurrencyFuture<F>
where
    F: Future<Output = Result<T, BoxError>>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Turn::New { permits } = this.turn {
            *this.turn = match permits.clone().try_acquire_owned() {
                Ok(permit) => Turn::Here { permit },
                Err(_) => Turn::Waiting { acquire: permits.clone().acquire_owned().boxed() },
            };
        }
        if let Turn::Waiting { acquire } = this.turn {
            let permit = ready!(acquire.poll_unpin(cx)).map_err(BoxError::from)?;
            *this.turn = Turn::Here { permit };
        }
        let result = ready!(this.inner.poll(cx));
        // The permit goes back now, not when the caller drops the future.
        if let Turn::Here { permit } = std::mem::replace(this.turn, Turn::Over) {
            drop(permit);
        }
        Poll::Ready(result)
    }
}

impl<F> std::fmt::Debug for ConcurrencyFuture<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ConcurrencyFuture")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::time::Duration;
    use tower::{ServiceExt, service_fn};

    #[tokio::test(start_paused = true)]
    async fn no_more_than_so_many_run_at_once_and_all_get_their_turn() {
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counts = (running.clone(), most.clone());
        let service = Concurrency::new(3).layer(service_fn(move |()| {
            let (running, most) = counts.clone();
            async move {
                most.fetch_max(running.fetch_add(1, SeqCst) + 1, SeqCst);
                tokio::time::sleep(Duration::from_secs(1)).await;
                running.fetch_sub(1, SeqCst);
                Ok::<_, BoxError>(())
            }
        }));
        let begun = tokio::time::Instant::now();
        futures_util::future::join_all((0..10).map(|_| service.clone().oneshot(()))).await;
        assert_eq!(most.load(SeqCst), 3);
        assert_eq!(begun.elapsed(), Duration::from_secs(4));
    }

    #[tokio::test]
    async fn a_call_that_is_dropped_gives_its_permit_back() {
        let layer = Concurrency::new(1);
        let stuck = layer.layer(service_fn(|()| std::future::pending::<Result<(), BoxError>>()));
        let mut call = Box::pin(stuck.oneshot(()));
        assert!(call.as_mut().now_or_never().is_none());
        drop(call);
        layer.layer(service_fn(|()| async { Ok::<_, BoxError>(()) })).oneshot(()).now_or_never().unwrap().unwrap();
    }
}
