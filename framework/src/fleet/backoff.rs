//! The pauses between attempts to reach the server of a fleet.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

/// The pause after a failure. It is doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Pauses that become longer with each failure.
pub(crate) struct Backoff {
    pause: Duration,
    jitter: RandomState,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { pause: FIRST_PAUSE, jitter: RandomState::new() }
    }

    /// An attempt has succeeded.
    pub(crate) fn reset(&mut self) {
        self.pause = FIRST_PAUSE;
    }

    /// The pause after a failure.
    pub(crate) fn next_pause(&mut self) -> Duration {
        let pause = self.jittered(self.pause);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        pause
    }

    /// Between three and five quarters of a time, so that no instance is always the last to ask.
    pub(crate) fn jittered(&self, time: Duration) -> Duration {
        let random = self.jitter.hash_one(Instant::now()) % 1024;
        time.mul_f64(0.75 + random as f64 / 2048.0)
    }
}
