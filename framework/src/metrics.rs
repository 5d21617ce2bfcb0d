//! What a listener counts: fixed sets of labels, never a peer, and nothing that a message has to wait for.
//!
//! Messages and bytes are counted by each connection for itself; they are added here when it leaves, and looked up when
//! somebody asks. What is counted at once for all is spread over cells of their own, so that threads do not wait for each other.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::reason::CloseReason;

/// The upper bounds of the buckets of [`Latency`], from ten microseconds to ten seconds.
pub const LATENCY_BOUNDS: [Duration; 19] = {
    let mut bounds = [Duration::ZERO; 19];
    let mut at = 0;
    while at < bounds.len() {
        bounds[at] = Duration::from_nanos(NANOS[at]);
        at += 1;
    }
    bounds
};
#[rustfmt::skip]
const NANOS: [u64; 19] = [
    10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 25_000_000, 50_000_000, 100_000_000, 250_000_000, 500_000_000,
    1_000_000_000, 2_500_000_000, 5_000_000_000, 10_000_000_000,
];
/// Buckets: one for each bound, and one for what is longer.
const BUCKETS: usize = 20;
const _: () = assert!(BUCKETS == LATENCY_BOUNDS.len() + 1);
/// Cells that threads share out among them.
const CELLS: usize = 8;

/// How a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It was handled.
    Ok,
    /// The handler returned an error.
    Error,
    /// The handler panicked.
    Panic,
    /// The call took longer than `timeouts.message`.
    Timeout,
    /// A datagram that was dropped before it was handled, or its answer before it was sent.
    Dropped,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Ok, Self::Error, Self::Panic, Self::Timeout, Self::Dropped];

    /// The name in metrics, fixed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Panic => "panic",
            Self::Timeout => "timeout",
            Self::Dropped => "dropped",
        }
    }

    /// That of a call which ended so.
    pub(crate) fn of(reason: CloseReason) -> Self {
        match reason {
            CloseReason::Panic => Self::Panic,
            CloseReason::MessageTimeout => Self::Timeout,
            CloseReason::Rate => Self::Dropped,
            _ => Self::Error,
        }
    }
}

/// Counts of a fixed set.
#[derive(Debug)]
pub(crate) struct CounterArray<const N: usize>([AtomicU64; N]);

impl<const N: usize> Default for CounterArray<N> {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; N])
    }
}

impl<const N: usize> CounterArray<N> {
    pub(crate) fn add(&self, which: usize, count: u64) {
        self.0[which].fetch_add(count, Relaxed);
    }

    pub(crate) fn counts(&self) -> [u64; N] {
        self.0.each_ref().map(|count| count.load(Relaxed))
    }
}

/// How long messages took: how many were not longer than each of [`LATENCY_BOUNDS`], how many there were, and all their time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Latency {
    /// Not longer than the bound of the same place; each count has those before it in it.
    pub within: [u64; LATENCY_BOUNDS.len()],
    /// All of them.
    pub count: u64,
    /// Their time together.
    pub sum: Duration,
}

impl Latency {
    /// Both together.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        self.within.iter_mut().zip(other.within).for_each(|(one, more)| *one += more);
        self.count += other.count;
        self.sum += other.sum;
        self
    }
}

/// Counts how long messages take.
#[derive(Default)]
pub(crate) struct LatencyHistogram([HistogramShard; CELLS]);

/// What some threads counted. On cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
struct HistogramShard {
    buckets: CounterArray<BUCKETS>,
    nanos: AtomicU64,
}

impl LatencyHistogram {
    /// So many messages took so long each.
    pub(crate) fn record(&self, count: u64, each: Duration) {
        let each = each.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(each.subsec_nanos()));
        let cell = &self.0[own_cell()];
        cell.buckets.add(NANOS.partition_point(|bound| *bound < each), count);
        cell.nanos.fetch_add(each.saturating_mul(count), Relaxed);
    }

    pub(crate) fn read(&self) -> Latency {
        let mut latency = Latency::default();
        for cell in &self.0 {
            let counts = cell.buckets.counts();
            let mut so_far = 0;
            for (within, count) in latency.within.iter_mut().zip(counts) {
                so_far += count;
                *within += so_far;
            }
            latency.count += counts.iter().sum::<u64>();
            latency.sum += Duration::from_nanos(cell.nanos.load(Relaxed));
        }
        latency
    }
}

impl fmt::Debug for LatencyHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LatencyHistogram").field(&self.read()).finish()
    }
}

/// The cell of this thread.
fn own_cell() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    OWN.with(|own| {
        if own.get() == usize::MAX {
            own.set(NEXT.fetch_add(1, Relaxed) % CELLS);
        }
        own.get()
    })
}

/// What one listener has counted, under whatever settings. What connections that are open have counted comes on top.
#[derive(Debug, Default)]
pub(crate) struct ListenerMetrics {
    pub(crate) closed: CounterArray<{ CloseReason::ALL.len() }>,
    /// By why.
    pub(crate) rejected: CounterArray<3>,
    /// By class.
    pub(crate) accept_errors: CounterArray<5>,
    /// Messages that were not handled; those that were are counted with their time.
    pub(crate) failed: CounterArray<{ Outcome::ALL.len() }>,
    pub(crate) latency: LatencyHistogram,
    /// Of connections that have left, and of datagrams.
    pub(crate) messages: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    /// Datagram peers that are remembered.
    pub(crate) sessions: AtomicUsize,
}

impl ListenerMetrics {
    /// A message ended so.
    pub(crate) fn failed(&self, outcome: Outcome) {
        self.failed.add(outcome as usize, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_as_long_as_a_bound_is_within_it_and_every_thread_counts() {
        let stopwatch = LatencyHistogram::default();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| stopwatch.record(2, Duration::from_micros(10)));
            }
        });
        stopwatch.record(1, Duration::from_nanos(10_001));
        stopwatch.record(1, Duration::from_secs(11));
        let latency = stopwatch.read();
        assert_eq!((latency.within[0], latency.within[1], latency.within[18], latency.count), (40, 41, 41, 42));
        assert_eq!(latency.sum, Duration::from_nanos(400_000 + 10_001 + 11_000_000_000));
    }

    #[test]
    fn every_name_is_its_own() {
        let names: std::collections::BTreeSet<_> = Outcome::ALL.iter().map(|outcome| outcome.as_str()).collect();
        assert_eq!(names.len(), Outcome::ALL.len());
        assert!(Outcome::ALL.iter().enumerate().all(|(at, outcome)| *outcome as usize == at));
    }
}
