//! A timeout for each call.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::deadline_timer::DeadlineTimer;
use crate::error::Result;
use crate::layer::call::{CallLayer, CallOutput, PollCall, layer_options};
use crate::settings::Interval;

/// Drops a call that takes too long, with the error [`Elapsed`]: the connection closes with reason `message_timeout`.
///
/// The timer starts when the call first waits. A call that is ready immediately uses no timer.
#[derive(Debug, Clone, Copy)]
pub struct Timeout {
    after: Duration,
}

impl Timeout {
    /// A timeout for each call; zero for no timeout.
    pub fn new(after: Duration) -> Self {
        Self { after }
    }
}

layer_options! {
    /// Options of the `timeout` layer.
    TimeoutOptions {
        /// How long one handler call may take; 0s for no timeout.
        #[serde(with = "Interval")]
        #[schemars(with = "Interval")]
        time: Duration = Duration::from_secs(30),
    }
    "timeout" => Timeout: "limits how long one handler call may take; on timeout the connection closes",
    |options: Self| Ok(Timeout::new(options.time))
}

/// A call took longer than its timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a message was not handled within {0:?}")]
pub struct Elapsed(Duration);

impl<R> CallLayer<R> for Timeout {
    type Call = Timer;

    #[inline]
    fn begin(&self, _: &R) -> Timer {
        Timer { after: self.after, timer: None }
    }
}

/// The timer of one call.
#[derive(Debug)]
pub struct Timer {
    after: Duration,
    timer: Option<Pin<Box<DeadlineTimer>>>,
}

impl PollCall for Timer {
    #[inline]
    fn poll_call<T: CallOutput>(
        &mut self,
        call: Pin<&mut impl Future<Output = Result<T>>>,
        cx: &mut Context,
    ) -> Poll<Result<T>> {
        if let Poll::Ready(result) = call.poll(cx) {
            return Poll::Ready(result);
        }
        if self.after.is_zero() {
            return Poll::Pending;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(DeadlineTimer::after(self.after)));
        timer.as_mut().poll(cx).map(|()| Err(Elapsed(self.after).into()))
    }
}

#[cfg(test)]
mod tests;
