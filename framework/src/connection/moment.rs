//! Times of a connection, in half of the memory of an `Instant`.

use std::num::NonZeroU64;
use std::time::Duration;

use tokio::time::Instant;

/// A time since an epoch: the start of the listener of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(NonZeroU64);

impl Moment {
    pub(crate) const EPOCH: Self = Self(NonZeroU64::MIN);

    pub(crate) fn new(instant: Instant, epoch: Instant) -> Self {
        Self::EPOCH + instant.saturating_duration_since(epoch)
    }

    pub(crate) fn instant(self, epoch: Instant) -> Instant {
        epoch + self.since(Self::EPOCH)
    }

    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.get().saturating_sub(earlier.0.get()))
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Self;

    /// The last moment, in 584 years, is as good as never.
    fn add(self, time: Duration) -> Self {
        let nanos = time.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(time.subsec_nanos()));
        Self(self.0.saturating_add(nanos))
    }
}
