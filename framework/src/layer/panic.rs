//! Catches panics, so that a panic ends one call and not its task.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::error::{Panicked, Result};
use crate::layer::{CallLayer, CallOutput, PollCall};

/// Turns a panic of a call into the error [`Panicked`]: the connection closes with reason `panic`, others are
/// unaffected.
#[derive(Debug, Clone, Copy)]
pub struct CatchPanic;

impl<R> CallLayer<R> for CatchPanic {
    type Call = Self;

    #[inline]
    fn begin(&self, _: &R) -> Self {
        Self
    }
}

impl PollCall for CatchPanic {
    #[inline]
    fn poll_call<T: CallOutput>(
        &mut self,
        call: Pin<&mut impl Future<Output = Result<T>>>,
        cx: &mut Context,
    ) -> Poll<Result<T>> {
        catch_unwind(AssertUnwindSafe(|| call.poll(cx)))
            .unwrap_or_else(|payload| Poll::Ready(Err(Panicked::new(&*payload).into())))
    }
}
