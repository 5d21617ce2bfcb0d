//! Rate limits per source, in bounded tables.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};
use parking_lot::Mutex;
use tokio::time::Instant;

pub(crate) use shared::SharedBy;

use crate::address::Source;
use crate::settings::{Rate, deadline_after};
use shared::Shared;
use turns::Turns;

mod shared;
mod turns;

/// Maximum sources that one rate limit counts separately; further ones are counted in groups.
const MAX_SOURCES: usize = 65_536;
/// Number of groups.
const GROUPS: u32 = 4_096;
/// Checks between two removals of idle sources.
const CHECKS_PER_CLEANUP: u32 = 8_192;

type Governor = RateLimiter<Source, DashMapStateStore<Source>, TokioClock, NoOpMiddleware<Nanos>>;

#[derive(Debug)]
pub(crate) struct Limiter {
    governor: Governor,
    clock: TokioClock,
    hasher: RandomState,
    checks: AtomicU32,
    /// Whether the table of the governor is full, or is not used because a fleet shares the limit.
    is_special: AtomicBool,
    shared: Option<Shared>,
    pub(crate) turns: Turns,
}

/// The clock of tokio, which tests can pause.
#[derive(Debug, Clone, Copy)]
struct TokioClock {
    origin: Instant,
}

impl Clock for TokioClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.origin.elapsed().into()
    }
}

/// The time per event and the burst of a rate. `None` if the rate is off.
fn quota(rate: Rate, burst: u32) -> Option<(Duration, NonZeroU32)> {
    if rate.is_off() {
        return None;
    }
    let each = (rate.per() / rate.count()).max(Duration::from_nanos(1));
    let second = (Duration::from_secs(1).as_nanos() / each.as_nanos()).clamp(1, u128::from(u32::MAX));
    Some((each, NonZeroU32::new(burst).or(NonZeroU32::new(second as u32))?))
}

impl Limiter {
    /// `None` if the rate is off.
    pub(crate) fn new(rate: Rate, burst: u32) -> Option<Self> {
        Self::shared(rate, burst, None)
    }

    /// A limit that a fleet shares, if `shared_by` is set.
    pub(crate) fn shared(rate: Rate, burst: u32, shared_by: Option<SharedBy>) -> Option<Self> {
        let (each, burst) = quota(rate, burst)?;
        let shared = shared_by.map(|shared_by| Shared::new(each, burst.get(), shared_by));
        let quota = Quota::with_period(each)?.allow_burst(burst);
        let clock = TokioClock { origin: Instant::now() };
        let governor = RateLimiter::new(quota, DashMapStateStore::default(), clock);
        let (checks, is_special) = (AtomicU32::new(0), AtomicBool::new(shared.is_some()));
        let (hasher, turns) = (RandomState::new(), Turns::new(each));
        Some(Self { governor, clock, hasher, checks, is_special, shared, turns })
    }

    /// Counts an event of a source. `Err` with the time to wait if the source exceeds its rate.
    pub(crate) fn check(&self, source: Source) -> Result<(), Duration> {
        if self.checks.fetch_add(1, Relaxed).is_multiple_of(CHECKS_PER_CLEANUP) {
            self.remove_idle();
        }
        let source = if self.is_special.load(Relaxed) {
            match &self.shared {
                Some(shared) => return shared.rate.check(source),
                None => self.group(source),
            }
        } else {
            source
        };
        self.governor.check_key(&source).map_err(|until| until.wait_time_from(self.clock.now()))
    }

    /// Removes sources whose full burst is available again.
    fn remove_idle(&self) {
        if self.shared.is_some() {
            return;
        }
        if self.governor.len() > MAX_SOURCES / 2 {
            self.governor.retain_recent();
            self.governor.shrink_to_fit();
        }
        // At most CHECKS_PER_CLEANUP sources are added until the next cleanup.
        self.is_special.store(self.governor.len() > MAX_SOURCES - CHECKS_PER_CLEANUP as usize, Relaxed);
    }

    fn group(&self, source: Source) -> Source {
        let group = self.hasher.hash_one(source) as u32 % GROUPS;
        Source::V4(Ipv4Addr::from(group)) // no client has an address in 0.0.0.0/16
    }
}

/// Maximum sources in a [`FailureLimiter`].
const MAX_FAILING_SOURCES: usize = 4_096;

/// A rate of failures per source. A failure is counted after its work was done, so the check does not count.
#[derive(Debug)]
pub(crate) struct FailureLimiter {
    each: Duration,
    burst: Duration,
    /// When the failures of each source are forgotten. Each failure adds `each`.
    sources: Mutex<HashMap<Source, Instant>>,
}

impl FailureLimiter {
    /// `None` if the rate is off.
    pub(crate) fn new(rate: Rate, burst: u32) -> Option<Self> {
        let (each, burst) = quota(rate, burst)?;
        Some(Self { each, burst: each.saturating_mul(burst.get()), sources: Mutex::default() })
    }

    /// Whether a source has reached its rate of failures.
    pub(crate) fn is_reached(&self, source: Source) -> bool {
        self.sources.lock().get(&source).is_some_and(|until| *until >= deadline_after(Instant::now(), self.burst))
    }

    /// Counts a failure. If the table is full, the source with the fewest failures is forgotten.
    pub(crate) fn count(&self, source: Source) {
        let now = Instant::now();
        let mut sources = self.sources.lock();
        if !sources.contains_key(&source) && sources.len() >= MAX_FAILING_SOURCES {
            sources.retain(|_, until| *until > now);
            let fewest = sources.iter().min_by_key(|(_, until)| **until).map(|(source, _)| *source);
            if let Some(fewest) = fewest.filter(|_| sources.len() >= MAX_FAILING_SOURCES) {
                sources.remove(&fewest);
            }
        }
        // Failures of handshakes that were in progress together add at most one more burst.
        let until = sources.entry(source).or_insert(now);
        let most = deadline_after(now, self.burst.saturating_mul(2));
        *until = deadline_after((*until).max(now), self.each).min(most);
    }
}

#[cfg(test)]
mod tests;
