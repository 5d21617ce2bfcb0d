//! A limit on concurrent calls, over all connections.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::ReusableBoxFuture;

use crate::error::{BoxError, Result};
use crate::layer::call::{CallLayer, CallOutput, PollCall, layer_options};

/// Limits concurrent calls over everything that one layer (and its clones) wraps. Further calls queue, first in, first
/// out. A call lasts until its later reply is ready.
///
/// Unlike `tower::limit::ConcurrencyLimit`, a call acquires its permit when it is first polled, not in `poll_ready`: a
/// connection without work holds no permit.
#[derive(Debug, Clone)]
pub struct Concurrency {
    permits: Arc<Semaphore>,
}

impl Concurrency {
    /// At most `calls` concurrent calls; at least one.
    pub fn new(calls: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(calls.clamp(1, Semaphore::MAX_PERMITS))) }
    }
}

layer_options! {
    /// Options of the `concurrency` layer.
    ConcurrencyOptions {
        /// Maximum concurrent handler calls over all connections of the listener; further calls queue.
        limit: u32 = 1024,
    }
    "concurrency" => Concurrency: "limits concurrent handler calls; further calls queue",
    |options: Self| match options.limit {
        0 => Err("limit: must be at least 1".into()),
        limit => Ok(Concurrency::new(limit as usize)),
    }
}

impl<R> CallLayer<R> for Concurrency {
    type Call = Permit;

    #[inline]
    fn begin(&self, _: &R) -> Permit {
        Permit::New(self.permits.clone())
    }
}

/// The permit of one call.
#[derive(Debug)]
pub enum Permit {
    New(Arc<Semaphore>),
    Waiting(ReusableBoxFuture<'static, Result<OwnedSemaphorePermit, AcquireError>>),
    Granted(OwnedSemaphorePermit),
    Returned,
}

impl PollCall for Permit {
    fn poll_call<T: CallOutput>(
        &mut self,
        call: Pin<&mut impl Future<Output = Result<T>>>,
        cx: &mut Context,
    ) -> Poll<Result<T>> {
        if let Self::New(permits) = self {
            *self = match permits.clone().try_acquire_owned() {
                Ok(permit) => Self::Granted(permit),
                Err(_) => Self::Waiting(ReusableBoxFuture::new(permits.clone().acquire_owned())),
            };
        }
        if let Self::Waiting(acquire) = self {
            *self = Self::Granted(ready!(acquire.poll(cx)).map_err(BoxError::from)?);
        }
        let result = ready!(call.poll(cx));
        // Now, or with a later reply; not when the caller drops the future.
        let permit = std::mem::replace(self, Self::Returned);
        Poll::Ready(result.map(|output| output.keep(permit)))
    }
}

#[cfg(test)]
mod tests;
