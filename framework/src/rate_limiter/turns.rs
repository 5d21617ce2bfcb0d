//! The turns of calls that wait for a rate: each wakes for a turn of its own, not all of them for every turn.

use std::collections::HashMap;
use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::address::Source;
use crate::rate_limiter::Limiter;
use crate::settings::deadline_after;

/// Maximum time until a call without a turn looks for one again. Turns of calls that have ended are unused, so a source
/// loses at most those of this time.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// The waiting calls of each source.
#[derive(Debug)]
pub(super) struct Turns {
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

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.sources.lock().is_empty()
    }
}

/// A call that waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    limiter: Arc<Limiter>,
    source: Source,
    /// It waits for a turn of its own.
    has_turn: bool,
}

impl Waiter {
    pub(crate) fn new(limiter: Arc<Limiter>, source: Source) -> Self {
        let first = Waiting { calls: 0, free: Instant::now() };
        limiter.turns.sources.lock().entry(source).or_insert(first).calls += 1;
        Self { limiter, source, has_turn: false }
    }

    /// Counts the call. `Err` with the time to wait.
    pub(crate) fn check(&mut self) -> Result<(), Duration> {
        self.limiter.check(self.source).map_err(|earliest| {
            // A call before it was late, so its turn is a little later. The second time, another call has used it.
            if take(&mut self.has_turn) { earliest } else { self.wait_for_turn(earliest) }
        })
    }

    /// Takes a turn, which begins after `earliest` at the earliest. Returns the time until then.
    pub(crate) fn wait_for_turn(&mut self, earliest: Duration) -> Duration {
        let Turns { each, sources } = &self.limiter.turns;
        let now = Instant::now();
        let mut sources = sources.lock();
        let Some(Waiting { free, .. }) = sources.get_mut(&self.source) else { return earliest };
        let turn = deadline_after(now, earliest).max(*free);
        let wait = turn.saturating_duration_since(now);
        if wait > earliest.max(MAX_WAIT) {
            return earliest.max(MAX_WAIT);
        }
        *free = deadline_after(turn, *each);
        self.has_turn = true;
        wait
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut sources = self.limiter.turns.sources.lock();
        if let Some(waiting) = sources.get_mut(&self.source) {
            waiting.calls -= 1;
            if waiting.calls == 0 {
                sources.remove(&self.source);
            }
        }
    }
}
