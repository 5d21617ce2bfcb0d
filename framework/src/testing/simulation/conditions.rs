//! The properties of a simulated network, and the random choices that follow them.

use std::ops::Range;
use std::time::Duration;

use crate::testing::conformance::Random;

/// The properties of the network.
#[derive(Debug, Clone)]
pub(super) struct Conditions {
    pub(super) delay: Range<Duration>,
    pub(super) segment: usize,
    pub(super) window: usize,
    pub(super) resets: f64,
    pub(super) outages: f64,
    pub(super) longest_outage: Duration,
    pub(super) partitions: f64,
    pub(super) faults_within: Duration,
    pub(super) loss: f64,
    pub(super) duplicates: f64,
    pub(super) truncation: f64,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            delay: Duration::ZERO..Duration::from_millis(50),
            segment: 64 * 1024,
            window: 64 * 1024,
            resets: 0.0,
            outages: 0.0,
            longest_outage: Duration::ZERO,
            partitions: 0.0,
            faults_within: Duration::from_secs(60),
            loss: 0.0,
            duplicates: 0.0,
            truncation: 0.0,
        }
    }
}

/// Whether an event of this share happens.
pub(super) fn happens(random: &mut Random, share: f64) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "the number is below a million")]
    let number = random.below(1_000_000) as f64;
    number < share * 1e6
}

/// A time of the range, in whole milliseconds as the timers of tokio.
pub(super) fn random_time(random: &mut Random, range: &Range<Duration>) -> Duration {
    let length = range.end.saturating_sub(range.start).as_millis();
    let offset = random.below(usize::try_from(length).unwrap_or(usize::MAX)) as u64;
    range.start + Duration::from_millis(offset)
}
