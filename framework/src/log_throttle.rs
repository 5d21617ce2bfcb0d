//! Limits log lines that a client could cause in any number: at most one per second, with a count.

use std::time::Duration;

use tokio::time::Instant;

/// Minimum time between two log lines of one kind.
const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct LogThrottle {
    last_line: Option<Instant>,
    unlogged: u64,
}

impl LogThrottle {
    /// Counts an event. `Some(n)`: write a line now; `n` events have happened since the last line, this one included.
    pub(crate) fn count(&mut self) -> Option<u64> {
        self.unlogged += 1;
        let now = Instant::now();
        if self.last_line.is_some_and(|last| now < last + INTERVAL) {
            return None;
        }
        self.last_line = Some(now);
        Some(std::mem::take(&mut self.unlogged))
    }
}
