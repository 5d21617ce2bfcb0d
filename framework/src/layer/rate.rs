//! A rate limit per source.

use std::mem::take;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::Sleep;

use crate::address::Source;
use crate::error::Result;
use crate::layer::call::{CallLayer, CallOutput, Connected, PollCall, layer_options};
use crate::rate_limiter::{Limiter, SharedBy};
use crate::settings::Rate;

/// Limits the calls per second of each [`Source`].
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
            Err(earliest) => Permit::Waiting(Box::new(Wait::new(limiter.clone(), source, earliest))),
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
    limiter: Arc<Limiter>,
    source: Source,
    /// It waits for a turn of its own.
    has_turn: bool,
    sleep: Pin<Box<Sleep>>,
}

impl Wait {
    fn new(limiter: Arc<Limiter>, source: Source, earliest: Duration) -> Self {
        limiter.turns.begin(source);
        let turn = limiter.turns.take(source, earliest);
        let sleep = Box::pin(tokio::time::sleep(turn.unwrap_or_else(|again| again)));
        Self { limiter, source, has_turn: turn.is_ok(), sleep }
    }

    /// Waits until the call is counted.
    fn poll(&mut self, cx: &mut Context) -> Poll<()> {
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            let Err(earliest) = self.limiter.check(self.source) else { return Poll::Ready(()) };
            // A call before it was late, so its turn is a little later. The second time, another call has used it.
            let turn = match take(&mut self.has_turn) {
                true => Err(earliest),
                false => self.limiter.turns.take(self.source, earliest),
            };
            self.has_turn = turn.is_ok();
            self.sleep.set(tokio::time::sleep(turn.unwrap_or_else(|again| again)));
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.limiter.turns.end(self.source);
    }
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
                    ready!(wait.poll(cx));
                    *self = Self::Granted;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::net::Ipv4Addr;

    use futures_util::future::join_all;
    use tokio::time::Instant;

    use super::*;

    const SOURCE: Source = Source::V4(Ipv4Addr::LOCALHOST);

    fn limiter(rate: u32, burst: u32) -> Arc<Limiter> {
        Arc::new(Limiter::new(Rate::per_second(rate), burst).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn each_waiting_call_wakes_a_few_times_and_together_they_use_the_whole_rate() {
        for (rate, burst, calls) in [(100, 1, 500), (1000, 50, 3000), (5, 1, 40), (100, 100, 3000)] {
            let (limiter, begun, wakes) = (limiter(rate, burst), Instant::now(), Cell::new(0));
            let call = || async {
                let Err(earliest) = limiter.check(SOURCE) else { return };
                let mut wait = Wait::new(limiter.clone(), SOURCE, earliest);
                poll_fn(|cx| {
                    wakes.set(wakes.get() + 1);
                    wait.poll(cx)
                })
                .await;
            };
            // Without the budget of the task, which causes other wakes. A small `join_all` polls all of its futures.
            tokio::task::unconstrained(join_all((0..calls).map(|_| call()))).await;
            let (took, expected) = (begun.elapsed().as_secs_f64(), f64::from(calls - burst) / f64::from(rate));
            assert!((expected * 0.99..=expected * 1.1 + 0.1).contains(&took), "{rate}/s: {took}, not {expected} s");
            // A call without a turn looks for one in every second.
            let most = f64::from(calls) * (3.5 + expected / 2.0);
            assert!(f64::from(wakes.get()) <= most, "{rate}/s: {wakes:?} wakes of {calls} calls");
            assert!(limiter.turns.is_empty(), "{rate}/s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn turns_of_calls_that_have_ended_delay_others_by_a_second_at_most() {
        let limiter = limiter(10, 1);
        limiter.check(SOURCE).unwrap();
        let wait = || Wait::new(limiter.clone(), SOURCE, limiter.check(SOURCE).unwrap_err());
        let ended = [(); 1000].map(|()| wait());
        let (mut last, begun) = (wait(), Instant::now());
        drop(ended);
        poll_fn(|cx| last.poll(cx)).await;
        assert!(begun.elapsed() < Duration::from_millis(1200), "{:?}", begun.elapsed());
    }
}
