//! The turns of calls that wait for a rate: each wakes for a turn of its own, not all of them for every turn.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::address::Source;
use crate::settings::deadline_after;

/// How long a call waits that finds no turn within this time; then it looks for one again. Turns of calls that have
/// ended stay unused, so a source can lose the turns of this time.
const MAX_TURN_WAIT: Duration = Duration::from_secs(1);

/// The waiting calls of each source.
#[derive(Debug)]
pub(crate) struct Turns {
    each: Duration,
    sources: Mutex<HashMap<Source, Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    calls: usize,
    /// The first turn that is free.
    free: Instant,
}

impl Turns {
    /// One turn per `each`.
    pub(super) fn new(each: Duration) -> Self {
        Self { each, sources: Mutex::default() }
    }

    /// Adds a waiting call.
    pub(crate) fn begin(&self, source: Source) {
        let first = Waiting { calls: 0, free: Instant::now() };
        self.sources.lock().entry(source).or_insert(first).calls += 1;
    }

    /// Removes a waiting call.
    pub(crate) fn end(&self, source: Source) {
        let mut sources = self.sources.lock();
        if let Some(waiting) = sources.get_mut(&source) {
            waiting.calls -= 1;
            if waiting.calls == 0 {
                sources.remove(&source);
            }
        }
    }

    /// The time until the next free turn, which the caller gets. It is at least `earliest`. `Err`: all turns within
    /// [`MAX_TURN_WAIT`] are taken; the time until the caller should ask again.
    pub(crate) fn take(&self, source: Source, earliest: Duration) -> Result<Duration, Duration> {
        let now = Instant::now();
        let mut sources = self.sources.lock();
        let Some(Waiting { free, .. }) = sources.get_mut(&source) else { return Ok(earliest) };
        let turn = deadline_after(now, earliest).max(*free);
        let (wait, most) = (turn.saturating_duration_since(now), earliest.max(MAX_TURN_WAIT));
        if wait > most {
            return Err(most);
        }
        *free = deadline_after(turn, self.each);
        Ok(wait)
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.sources.lock().is_empty()
    }
}
