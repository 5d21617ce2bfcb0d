//! The outcome and the latency of the messages of one connection.

use tokio::time::Instant;

use crate::connection::{Connection, Moment};
use crate::driver::close_outcome::CloseOutcome;
use crate::driver::stream::deadlines::Deadlines;
use crate::error::BoxError;
use crate::metrics::Outcome;

/// Counts a failed message.
#[cold]
pub(crate) fn failed(connection: &Connection, error: BoxError) -> CloseOutcome {
    let outcome = CloseOutcome::from_service(error);
    connection.listener_info().metrics.failed(Outcome::of(outcome.reason));
    outcome
}

/// Measures the latency of messages, from the read that received a message until its reply is written. The clock is
/// read once per read, and once more for each message whose handler was not ready immediately.
#[derive(Debug, Default)]
pub(crate) struct LatencyTracker {
    /// Messages whose latency is recorded, or that failed.
    recorded: u64,
    /// When the first message that is not recorded was read.
    started: Option<Moment>,
}

impl LatencyTracker {
    #[inline]
    pub(crate) fn input_read(&mut self, connection: &Connection, deadlines: &Deadlines) {
        if connection.messages() == self.recorded {
            self.started = Some(deadlines.now());
        }
    }

    /// The reply to the last message becomes ready later: its latency is recorded then. Returns when the message was
    /// received; `None` before the first message.
    pub(crate) fn defer(&mut self, connection: &Connection) -> Option<Instant> {
        if connection.messages() == self.recorded {
            return None;
        }
        self.recorded += 1;
        Some(self.started.map_or_else(Instant::now, |started| connection.listener_info().instant(started)))
    }

    /// Counts the last message as failed. Failed messages have no latency.
    #[cold]
    pub(crate) fn message_failed(&mut self, connection: &Connection, error: BoxError) -> CloseOutcome {
        self.recorded += 1;
        failed(connection, error)
    }

    /// Counts the last message as dropped: the connection closes before the reply is ready.
    #[cold]
    pub(crate) fn message_dropped(&mut self, connection: &Connection) {
        self.recorded += 1;
        connection.listener_info().metrics.dropped(1);
    }

    /// Records the messages received so far. `read_ahead`: there is undecoded input, whose latency starts at `now`.
    #[inline]
    pub(crate) fn record(&mut self, connection: &Connection, now: Moment, read_ahead: bool) {
        let messages = connection.messages();
        if messages == self.recorded {
            return;
        }
        if let Some(started) = self.started {
            let latency = &connection.listener_info().metrics.latency;
            latency.record(messages - self.recorded, now.since(started));
        }
        self.recorded = messages;
        self.started = read_ahead.then_some(now);
    }
}
