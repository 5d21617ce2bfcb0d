//! A rate for each source.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};
use tower::{Layer, Service};

use crate::address::Source;
use crate::error::BoxError;
use crate::layer::Connected;
use crate::spec::Rate;

/// How many sources one limiter remembers. When more are active at once, new ones are counted in groups.
const SOURCES: usize = 65_536;
/// How many groups that makes.
const GROUPS: u32 = 4_096;
/// After so many checks the table is looked over.
const CHECKS: u32 = 8_192;

/// So many calls a second from one [`Source`]: a message on a stream waits until its turn has come, and reading from that
/// connection with it; a datagram, or a connection at its start, is refused with the error [`OverRate`].
///
/// Peers without a network address (Unix sockets, memory) are not limited. All services of one layer, and of its clones,
/// count together. The table of sources is bounded at 65,536; when as many are active at once, further ones share 4,096
/// counts between them.
#[derive(Debug, Clone)]
pub struct RatePerSource {
    limiter: Option<Arc<Limiter>>,
}

impl RatePerSource {
    /// At most `rate`, of which `burst` may come at once (0: one second's worth, at least one). A rate of zero limits
    /// nothing.
    pub fn new(rate: Rate, burst: u32) -> Self {
        Self { limiter: Limiter::new(rate, burst).map(Arc::new) }
    }

    /// At most `count` a second, and as many at once; 0 for no limit.
    pub fn per_second(count: u32) -> Self {
        Self::new(Rate::per_second(count), 0)
    }
}

/// A source went over its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the source is over its rate")]
pub struct OverRate;

type Governor = RateLimiter<Source, DashMapStateStore<Source>, Now, NoOpMiddleware<Nanos>>;

struct Limiter {
    governor: Governor,
    clock: Now,
    hasher: RandomState,
    checks: AtomicU32,
    full: AtomicBool,
}

/// tokio's clock, so that paused time in tests is the limiter's time too.
#[derive(Debug, Clone, Copy)]
struct Now {
    origin: Instant,
}

impl Clock for Now {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.origin.elapsed().into()
    }
}

impl Limiter {
    fn new(rate: Rate, burst: u32) -> Option<Self> {
        if rate.is_off() {
            return None;
        }
        let each = (rate.per / rate.count).max(Duration::from_nanos(1));
        let second = (Duration::from_secs(1).as_nanos() / each.as_nanos()).clamp(1, u128::from(u32::MAX));
        let burst = NonZeroU32::new(burst).or(NonZeroU32::new(second as u32))?;
        let quota = Quota::with_period(each)?.allow_burst(burst);
        let clock = Now { origin: Instant::now() };
        let governor = RateLimiter::new(quota, DashMapStateStore::default(), clock);
        let (checks, full) = (AtomicU32::new(0), AtomicBool::new(false));
        Some(Self { governor, clock, hasher: RandomState::new(), checks, full })
    }

    /// Counts one call, or says how long to wait before trying again.
    fn check(&self, source: Source) -> Result<(), Duration> {
        if self.checks.fetch_add(1, Relaxed).is_multiple_of(CHECKS) {
            self.look_over();
        }
        let source = if self.full.load(Relaxed) { self.group(source) } else { source };
        self.governor.check_key(&source).map_err(|until| until.wait_time_from(self.clock.now()))
    }

    /// Forgets sources whose count is back where it began.
    fn look_over(&self) {
        if self.governor.len() > SOURCES / 2 {
            self.governor.retain_recent();
            self.governor.shrink_to_fit();
        }
        // Between two looks at most CHECKS sources more are remembered.
        self.full.store(self.governor.len() > SOURCES - CHECKS as usize, Relaxed);
    }

    fn group(&self, source: Source) -> Source {
        let group = self.hasher.hash_one(source) as u32 % GROUPS;
        Source::V4(Ipv4Addr::from(group)) // 0.0.x.x is nobody's address
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").field("sources", &self.governor.len()).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for RatePerSource {
    type Service = RateService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RateService { inner, limiter: self.limiter.clone() }
    }
}

/// The service of [`RatePerSource`].
#[derive(Debug, Clone)]
pub struct RateService<S> {
    inner: S,
    limiter: Option<Arc<Limiter>>,
}

impl<S, R> Service<R> for RateService<S>
where
    S: Service<R, Error = BoxError>,
    R: Connected,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = RateFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        // Counted when it is first polled, and what is inside is not polled before its turn has come: a future does
        // nothing until then.
        let turn = match (&self.limiter, request.connection().source()) {
            (Some(limiter), Some(source)) => {
                Turn::New { limiter: limiter.clone(), source, may_wait: request.may_wait() }
            }
            _ => Turn::Come,
        };
        RateFuture { inner: self.inner.call(request), turn }
    }
}

enum Turn {
    New { limiter: Arc<Limiter>, source: Source, may_wait: bool },
    Waiting { limiter: Arc<Limiter>, source: Source, sleep: Pin<Box<Sleep>> },
    Come,
}

pin_project! {
    /// One call under [`RatePerSource`].
    pub struct RateFuture<F> {
        #[pin]
        inner: F,
        turn: Turn,
    }
}

impl<F, T> Future for RateFuture<F>
where
    F: Future<Output = Result<T, BoxError>>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        loop {
            match this.turn {
                Turn::Come => return this.inner.poll(cx),
                Turn::New { limiter, source, may_wait } => match limiter.check(*source) {
                    Ok(()) => *this.turn = Turn::Come,
                    Err(_) if !*may_wait => return Poll::Ready(Err(OverRate.into())),
                    Err(wait) => {
                        let (limiter, source) = (limiter.clone(), *source);
                        *this.turn = Turn::Waiting { limiter, source, sleep: Box::pin(tokio::time::sleep(wait)) };
                    }
                },
                Turn::Waiting { limiter, source, sleep } => {
                    ready!(sleep.as_mut().poll(cx));
                    match limiter.check(*source) {
                        Ok(()) => *this.turn = Turn::Come,
                        Err(wait) => sleep.set(tokio::time::sleep(wait)),
                    }
                }
            }
        }
    }
}

impl<F> fmt::Debug for RateFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RateFuture")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(n: u32) -> Source {
        Source::V4(Ipv4Addr::from(n))
    }

    #[tokio::test(start_paused = true)]
    async fn each_source_has_its_own_count_and_gets_it_back_with_time() {
        let limiter = Limiter::new(Rate::per_second(10), 0).unwrap();
        for _ in 0..10 {
            limiter.check(source(1)).unwrap();
        }
        let wait = limiter.check(source(1)).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_millis(100), "{wait:?}");
        limiter.check(source(2)).unwrap();
        tokio::time::advance(wait).await;
        limiter.check(source(1)).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_million_sources_leave_the_table_bounded() {
        let limiter = Limiter::new(Rate { count: 1, per: Duration::from_secs(3600) }, 1).unwrap();
        for n in 0..1_000_000 {
            let _ = limiter.check(source(0x0100_0000 + n));
        }
        assert!(limiter.governor.len() <= SOURCES + GROUPS as usize, "{}", limiter.governor.len());
    }

    #[test]
    fn zero_is_no_limit() {
        assert!(Limiter::new(Rate::per_second(0), 5).is_none());
    }
}
