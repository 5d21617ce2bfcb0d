//! When the connections of an evacuation are signalled: evenly, with a random part.

use std::hash::BuildHasher;
use std::time::Duration;

use tokio::time::Instant;

use crate::settings::deadline_after;

/// The source of the random times. The seed of a simulated network must repeat them.
#[cfg(not(feature = "testing"))]
type Jitter = std::hash::RandomState;
#[cfg(feature = "testing")]
type Jitter = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

/// How far the schedule may be late. A process that was stopped does not signal everything at once when it continues.
const MAX_DELAY: Duration = Duration::from_secs(1);

/// One signal in each period, at a random time of the period.
#[derive(Debug)]
pub(super) struct Schedule {
    period: Duration,
    /// The beginning of the current period.
    begin: Instant,
    /// When the next signal is due.
    pub(super) due: Instant,
    periods: u64,
    random: Jitter,
}

impl Schedule {
    pub(super) fn new(period: Duration, begin: Instant) -> Self {
        let mut schedule = Self { period, begin, due: begin, periods: 0, random: Jitter::default() };
        schedule.set_due();
        schedule
    }

    /// Begins the next period. `now` is the time of the signal that was due.
    pub(super) fn advance(&mut self, now: Instant) {
        let next = deadline_after(self.begin, self.period);
        self.begin = if now.saturating_duration_since(next) > MAX_DELAY { now } else { next };
        self.periods += 1;
        self.set_due();
    }

    fn set_due(&mut self) {
        // 32 random bits, as a part of the period.
        let random = self.random.hash_one(self.periods) >> 32;
        let nanos = (self.period.as_nanos() * u128::from(random)) >> 32;
        self.due = deadline_after(self.begin, Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_period_has_one_signal_at_its_own_time() {
        let (begin, period) = (Instant::now(), Duration::from_millis(10));
        let mut schedule = Schedule::new(period, begin);
        let mut offsets = Vec::new();
        for nth in 0..100 {
            let offset = schedule.due - (begin + period * nth);
            assert!(offset < period, "{offset:?}");
            offsets.push(offset);
            schedule.advance(schedule.due);
        }
        offsets.sort();
        offsets.dedup();
        assert!(offsets.len() > 90, "{offsets:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_was_stopped_does_not_catch_up() {
        let (begin, period) = (Instant::now(), Duration::from_millis(10));
        let mut schedule = Schedule::new(period, begin);
        let late = begin + Duration::from_secs(60);
        schedule.advance(late);
        assert!(schedule.due >= late);
        schedule.advance(schedule.due);
        assert!(schedule.due >= late + period);
    }
}
