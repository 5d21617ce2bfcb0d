//! Measures the latency of messages: from the read that received a message until its reply is written.
//!
//! The clock is read once per read, and once more for each message whose handler was not ready at once.

use tokio::time::Instant;

use crate::connection::Connection;
use crate::driver::close_outcome::CloseOutcome;
use crate::error::BoxError;
use crate::metrics::Outcome;

#[derive(Debug, Default)]
pub(crate) struct LatencyTracker {
    pub(crate) messages: u64,
    /// Messages whose latency is recorded, or that failed.
    recorded: u64,
    /// When the first message that is not recorded was read.
    started: Option<Instant>,
    /// The handler of the last message was not ready at once.
    pub(crate) slow: bool,
}

impl LatencyTracker {
    pub(crate) fn input_read(&mut self) {
        if self.messages == self.recorded {
            self.started = Some(Instant::now());
        }
    }

    /// Counts the last message as failed. Failed messages have no latency.
    #[cold]
    pub(crate) fn message_failed(&mut self, connection: &Connection, error: BoxError) -> CloseOutcome {
        let outcome = CloseOutcome::from_service(error);
        self.recorded += 1;
        connection.listener_info().metrics.failed(Outcome::of(outcome.reason));
        outcome
    }

    /// Records the messages received so far. `read_ahead`: there is undecoded input, whose latency starts at `now`.
    #[inline]
    pub(crate) fn record(&mut self, connection: &Connection, now: Instant, read_ahead: bool) {
        if self.messages == self.recorded {
            return;
        }
        if let Some(started) = self.started {
            let latency = &connection.listener_info().metrics.latency;
            latency.record(self.messages - self.recorded, now.saturating_duration_since(started));
        }
        self.recorded = self.messages;
        self.started = read_ahead.then_some(now);
    }
}
