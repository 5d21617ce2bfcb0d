//! Limits log lines that a client could cause in any number: at most one per second, with a count.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// Minimum time between two log lines of one kind.
const INTERVAL: Duration = Duration::from_secs(1);

/// The throttle of one kind of line. Clones share their count.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogThrottle(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    next_line: Option<Instant>,
    unlogged: u64,
    /// A task writes the next line.
    is_scheduled: bool,
}

impl LogThrottle {
    /// Counts an event. `line` creates the function that writes a line: it gets the number of events since the last
    /// line. The first line is written at once. Later lines follow when the interval has passed, even if no further
    /// event occurs. Must be called inside a tokio runtime.
    pub(crate) fn log<L: FnOnce(u64) + Send + 'static>(&self, line: impl FnOnce() -> L) {
        let mut state = self.0.lock();
        state.unlogged += 1;
        if state.is_scheduled {
            return;
        }
        let due = state.next_line.filter(|due| Instant::now() < *due);
        state.is_scheduled = true;
        drop(state);
        let scheduled = ScheduledLine { state: self.0.clone(), line: Some(line()) };
        if let Some(due) = due {
            tokio::spawn(async move {
                sleep_until(due).await;
                drop(scheduled);
            });
        }
    }
}

/// A line that is written on drop: when it is due, or when the runtime stops.
struct ScheduledLine<L: FnOnce(u64)> {
    state: Arc<Mutex<State>>,
    line: Option<L>,
}

impl<L: FnOnce(u64)> Drop for ScheduledLine<L> {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        (state.is_scheduled, state.next_line) = (false, Some(Instant::now() + INTERVAL));
        let count = std::mem::take(&mut state.unlogged);
        drop(state);
        if let Some(line) = self.line.take() {
            line(count);
        }
    }
}

#[cfg(test)]
mod tests;
