//! A rate limit per source.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::time::Sleep;

use crate::error::Result;
use crate::layer::call::{CallLayer, CallOutput, Connected, PollCall, layer_options};
use crate::rate_limiter::{Limiter, SharedBy, Waiter};
use crate::settings::Rate;

/// Limits the calls per second of each [`Source`](crate::address::Source).
///
/// Over the limit, a message on a stream waits, and its connection is not read meanwhile. A datagram or a new
/// connection is rejected with the error [`OverRate`].
///
/// Peers without a network address (Unix sockets, memory) are not limited. All services of one layer, and of its
/// clones, count together. The table holds at most 65,536 sources. While it is full, further sources share 4,096
/// counters.
#[derive(Debug, Clone)]
pub struct RatePerSource {
    limiter: Option<Arc<Limiter>>,
}

impl RatePerSource {
    /// At most `rate`, with bursts of at most `burst` calls (0: as many as one second allows, at least one). A rate of
    /// zero means no limit.
    pub fn new(rate: Rate, burst: u32) -> Self {
        Self { limiter: Limiter::new(rate, burst).map(Arc::new) }
    }

    /// The same limit, which a fleet shares if `shared_by` is set.
    pub(super) fn shared(rate: Rate, burst: u32, shared_by: Option<SharedBy>) -> Self {
        Self { limiter: Limiter::shared(rate, burst, shared_by).map(Arc::new) }
    }

    pub(super) fn is_limited(&self) -> bool {
        self.limiter.is_some()
    }

    /// At most `count` calls per second, with bursts of the same size; 0 for no limit.
    pub fn per_second(count: u32) -> Self {
        Self::new(Rate::per_second(count), 0)
    }
}

layer_options! {
    /// Options of the `rate` layer.
    RateOptions {
        /// Message rate of each source (an IPv4 address, or the /64 of an IPv6 address); 0/s for no limit.
        rate: Rate = Rate::per_second(1000),
        /// Largest burst of messages; 0 for as many as one second allows.
        burst: u32 = 0,
    }
    "rate" => RatePerSource:
        "limits messages per second per source; excess stream messages wait, excess datagrams are dropped",
    |options: Self| Ok(RatePerSource::new(options.rate, options.burst))
}

/// A source exceeded its rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the source exceeded its rate limit")]
pub struct OverRate;

impl<R: Connected> CallLayer<R> for RatePerSource {
    type Call = Permit;

    #[inline]
    fn begin(&self, request: &R) -> Permit {
        let Some(limiter) = &self.limiter else { return Permit::Granted };
        let Some(source) = request.connection().source() else { return Permit::Granted };
        match limiter.check(source) {
            Ok(()) => Permit::Granted,
            Err(_) if !request.may_wait() => Permit::Rejected,
            Err(earliest) => {
                let mut waiter = Waiter::new(limiter.clone(), source);
                let sleep = Box::pin(tokio::time::sleep(waiter.wait_for_turn(earliest)));
                Permit::Waiting(Box::new(Wait { waiter, sleep }))
            }
        }
    }
}

/// Whether one call may run.
#[derive(Debug)]
pub enum Permit {
    Granted,
    Rejected,
    /// Boxed, because most calls never wait.
    Waiting(Box<Wait>),
}

#[derive(Debug)]
pub struct Wait {
    waiter: Waiter,
    sleep: Pin<Box<Sleep>>,
}

impl PollCall for Permit {
    #[inline]
    fn poll_call<T: CallOutput>(
        &mut self,
        call: Pin<&mut impl Future<Output = Result<T>>>,
        cx: &mut Context,
    ) -> Poll<Result<T>> {
        loop {
            match self {
                Self::Granted => return call.poll(cx),
                Self::Rejected => return Poll::Ready(Err(OverRate.into())),
                Self::Waiting(wait) => {
                    ready!(wait.sleep.as_mut().poll(cx));
                    match wait.waiter.check() {
                        Ok(()) => *self = Self::Granted,
                        Err(time) => wait.sleep.set(tokio::time::sleep(time)),
                    }
                }
            }
        }
    }
}
