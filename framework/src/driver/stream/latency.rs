//! How many messages of a connection came, and how long they took: from the read that brought one until its answer was written.
//!
//! The time is looked at once for all messages that came with one read, and by itself for one that took its time.

use tokio::time::Instant;

use crate::connection::Connection;
use crate::driver::close_outcome::CloseOutcome;
use crate::error::BoxError;
use crate::metrics::Outcome;

#[derive(Debug, Default)]
pub(crate) struct LatencyTracker {
    /// How many messages came.
    pub(crate) messages: u64,
    /// How many of them are done with.
    timed: u64,
    /// When the first of the others was read.
    begun: Option<Instant>,
    /// The call for the last one was not ready at once.
    slow: bool,
}

impl LatencyTracker {
    /// Bytes came.
    pub(crate) fn read(&mut self) {
        if self.messages == self.timed {
            self.begun = Some(Instant::now());
        }
    }

    /// Something that the last message is waiting for was not ready at once.
    pub(crate) fn waits(&mut self) {
        self.slow = true;
    }

    /// Whether the last message took its time, and is to be told by itself.
    #[inline]
    pub(crate) fn was_slow(&mut self) -> bool {
        self.slow && std::mem::take(&mut self.slow)
    }

    /// The call for the last message has failed.
    #[cold]
    pub(crate) fn failed(&mut self, connection: &Connection, error: BoxError) -> CloseOutcome {
        let end = CloseOutcome::from_service(error);
        self.timed += 1; // time is told of those that were handled
        connection.listener_context().metrics.failed(Outcome::of(end.reason));
        end
    }

    /// What was read so far is answered, or about to be; `more` if something was read ahead.
    #[inline]
    pub(crate) fn told(&mut self, connection: &Connection, now: Instant, more: bool) {
        if self.messages == self.timed {
            return;
        }
        if let Some(begun) = self.begun {
            connection
                .listener_context()
                .metrics
                .latency
                .record(self.messages - self.timed, now.saturating_duration_since(begun));
        }
        self.timed = self.messages;
        self.begun = more.then_some(now); // what was read ahead waits from now on
    }
}
