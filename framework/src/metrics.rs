//! Metrics of listeners and handlers. Labels have fixed value sets and never contain a peer.
//!
//! Each connection counts its own messages and bytes; they are added to those of its listener when it closes.

mod counts;
mod family;
mod handler;
mod series;

pub(crate) use counts::names as count_names;
pub use counts::{Counted, Counts};
pub(crate) use family::HandlerMetricStore;
pub use family::{HandlerMetric, HandlerSample};
pub use handler::{HandlerMetrics, MetricError};
pub use series::{Counter, Gauge, Histogram, MetricKind, MetricValue};

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use strum::{IntoStaticStr, VariantArray};

use crate::close_reason::CloseReason;

/// Upper bounds of the buckets of [`Latency`], from 10 µs to 10 s.
pub const LATENCY_BOUNDS: [Duration; BOUNDS_NANOS.len()] = {
    let mut bounds = [Duration::ZERO; BOUNDS_NANOS.len()];
    let mut index = 0;
    while index < bounds.len() {
        bounds[index] = Duration::from_nanos(BOUNDS_NANOS[index]);
        index += 1;
    }
    bounds
};
/// [`LATENCY_BOUNDS`] in nanoseconds.
#[rustfmt::skip]
const BOUNDS_NANOS: [u64; 19] = [
    10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 25_000_000, 50_000_000, 100_000_000, 250_000_000, 500_000_000,
    1_000_000_000, 2_500_000_000, 5_000_000_000, 10_000_000_000,
];
/// Shards of the latency histogram, so that threads do not contend.
const SHARDS: usize = 8;

/// The outcome of a message: the values of the metric label `outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// The message was handled.
    Ok,
    /// The handler returned an error, or a reply that cannot be encoded or exceeds the budget of a datagram peer.
    Error,
    /// The handler panicked.
    Panic,
    /// The call took longer than `timeouts.message`.
    Timeout,
    /// The datagram or its reply was dropped, or the connection closed before the reply was ready.
    Dropped,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; Self::VARIANTS.len()] = *Self::VARIANTS.as_array().unwrap();

    /// The label value.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    pub(crate) fn of(reason: CloseReason) -> Self {
        match reason {
            CloseReason::Panic => Self::Panic,
            CloseReason::MessageTimeout => Self::Timeout,
            CloseReason::Rate => Self::Dropped,
            _ => Self::Error,
        }
    }
}

/// The class of an accept error: the values of the metric label `class`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum AcceptErrorClass {
    /// No client was waiting: accept again.
    Again,
    /// The connection of one client failed: accept the next one.
    Connection,
    /// File descriptors or memory are exhausted: pause.
    Exhausted,
    /// The listening socket failed: bind again.
    Listener,
    /// Unknown: pause.
    Other,
}

impl AcceptErrorClass {
    pub(crate) const ALL: [Self; Self::VARIANTS.len()] = *Self::VARIANTS.as_array().unwrap();

    pub(crate) fn as_str(self) -> &'static str {
        self.into()
    }
}

#[derive(Debug)]
pub(crate) struct CounterArray<const N: usize>([AtomicU64; N]);

impl<const N: usize> Default for CounterArray<N> {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; N])
    }
}

impl<const N: usize> CounterArray<N> {
    pub(crate) fn add(&self, index: usize, count: u64) {
        self.0[index].fetch_add(count, Relaxed);
    }

    pub(crate) fn counts(&self) -> [u64; N] {
        self.0.each_ref().map(|count| count.load(Relaxed))
    }
}

/// A snapshot of the latency histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Latency {
    /// Messages within each of [`LATENCY_BOUNDS`], cumulative.
    pub within: [u64; LATENCY_BOUNDS.len()],
    /// All messages.
    pub count: u64,
    /// The sum of their latencies.
    pub sum: Duration,
}

impl Latency {
    /// The sum of two snapshots.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        self.within.iter_mut().zip(other.within).for_each(|(count, added)| *count += added);
        self.count += other.count;
        self.sum += other.sum;
        self
    }
}

#[derive(Debug, Default)]
pub(crate) struct LatencyHistogram([HistogramShard; SHARDS]);

/// The part of the histogram that some of the threads write, on its own cache lines.
#[derive(Debug, Default)]
#[repr(align(128))]
struct HistogramShard {
    /// One bucket per bound, and one for longer latencies.
    buckets: CounterArray<{ LATENCY_BOUNDS.len() + 1 }>,
    nanos: AtomicU64,
}

impl LatencyHistogram {
    pub(crate) fn record(&self, count: u64, each: Duration) {
        let each = each.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(each.subsec_nanos()));
        let shard = &self.0[shard_index()];
        shard.buckets.add(BOUNDS_NANOS.partition_point(|bound| *bound < each), count);
        shard.nanos.fetch_add(each.saturating_mul(count), Relaxed);
    }

    /// Adds messages of another histogram, from its bucket with this upper bound in nanoseconds.
    pub(crate) fn add(&self, bound: u64, count: u64) {
        self.0[0].buckets.add(BOUNDS_NANOS.partition_point(|own| *own < bound), count);
    }

    /// Adds to the sum of the latencies.
    pub(crate) fn add_nanos(&self, nanos: u64) {
        self.0[0].nanos.fetch_add(nanos, Relaxed);
    }

    pub(crate) fn read(&self) -> Latency {
        let mut latency = Latency::default();
        for shard in &self.0 {
            let counts = shard.buckets.counts();
            let mut cumulative = 0;
            for (within, count) in latency.within.iter_mut().zip(counts) {
                cumulative += count;
                *within += cumulative;
            }
            latency.count += counts.iter().sum::<u64>();
            latency.sum += Duration::from_nanos(shard.nanos.load(Relaxed));
        }
        latency
    }
}

fn shard_index() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static INDEX: usize = NEXT.fetch_add(1, Relaxed) % SHARDS;
    }
    INDEX.with(|index| *index)
}

/// The metrics of one listener. Messages and bytes of open stream connections are not included.
#[derive(Debug, Default)]
pub(crate) struct ListenerMetrics {
    /// Connections accepted by all listeners with the name.
    pub(crate) accepted: AtomicU64,
    pub(crate) closed: CounterArray<{ CloseReason::ALL.len() }>,
    pub(crate) rejected: CounterArray<{ CloseReason::ALL.len() }>,
    pub(crate) accept_errors: CounterArray<{ AcceptErrorClass::ALL.len() }>,
    /// Failed messages by outcome. The histogram counts the handled ones.
    pub(crate) failed: CounterArray<{ Outcome::ALL.len() }>,
    pub(crate) latency: LatencyHistogram,
    /// Messages of closed connections and of datagram peers.
    pub(crate) messages: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) sessions: AtomicUsize,
}

impl ListenerMetrics {
    pub(crate) fn failed(&self, outcome: Outcome) {
        self.failed.add(outcome as usize, 1);
    }

    pub(crate) fn dropped(&self, count: usize) {
        self.failed.add(Outcome::Dropped as usize, count as u64);
    }
}

#[cfg(test)]
mod tests;
