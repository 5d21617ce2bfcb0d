//! Log lines that an attacker could multiply: at most one a second of each kind, with a count.

use std::time::Duration;

use tokio::time::Instant;

/// Counts events of one kind and says when it is time for a line about them.
#[derive(Debug, Default)]
pub(crate) struct LogThrottle {
    last: Option<Instant>,
    since: u64,
}

impl LogThrottle {
    /// One more. `Some(n)`: say so now; `n` have happened since the last line, this one included.
    pub(crate) fn count(&mut self) -> Option<u64> {
        self.since += 1;
        let now = Instant::now();
        if self.last.is_some_and(|last| now < last + Duration::from_secs(1)) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.since))
    }
}
