//! The values of a handler's metrics: counters, gauges and histograms.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use strum::IntoStaticStr;

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
#[non_exhaustive]
pub enum MetricKind {
    /// A count that only grows.
    Counter,
    /// A number that grows and shrinks.
    Gauge,
    /// Observations, counted by size.
    Histogram,
}

impl MetricKind {
    /// The name of the type in the text format of Prometheus.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A count that only grows. Clones are the same counter.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds to the count.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that grows and shrinks. Clones are the same gauge.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    /// Sets the number.
    pub fn set(&self, number: i64) {
        self.0.store(number, Relaxed);
    }

    /// Adds to the number. A negative amount reduces it.
    pub fn add(&self, amount: i64) {
        self.0.fetch_add(amount, Relaxed);
    }

    /// The number.
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// Observations, counted by size. Clones are the same histogram.
#[derive(Debug, Clone)]
pub struct Histogram(Arc<Buckets>);

#[derive(Debug)]
struct Buckets {
    /// Ascending upper bounds.
    bounds: Vec<f64>,
    /// One bucket per bound, and one for larger observations.
    counts: Vec<AtomicU64>,
    /// The bits of a float.
    sum: AtomicU64,
}

impl Histogram {
    pub(super) fn new(bounds: &[f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Buckets { bounds: bounds.to_vec(), counts, sum: AtomicU64::new(0) }))
    }

    /// Counts an observation, in seconds for a duration. NaN is not counted.
    pub fn observe(&self, value: f64) {
        let Buckets { bounds, counts, .. } = &*self.0;
        if !value.is_nan() {
            counts[bounds.partition_point(|bound| *bound < value)].fetch_add(1, Relaxed);
            self.add_sum(value);
        }
    }

    /// Adds the observations of another histogram: the upper bounds of its buckets with their counts, and the sum.
    pub(super) fn add_counts(&self, buckets: impl Iterator<Item = (f64, u64)>, sum: f64) {
        let Buckets { bounds, counts, .. } = &*self.0;
        for (bound, count) in buckets {
            counts[bounds.partition_point(|own| *own < bound)].fetch_add(count, Relaxed);
        }
        self.add_sum(sum);
    }

    fn add_sum(&self, more: f64) {
        let add = |sum| Some((f64::from_bits(sum) + more).to_bits());
        let _ = self.0.sum.fetch_update(Relaxed, Relaxed, add); // never rejected
    }

    pub(super) fn read(&self) -> MetricValue {
        let Buckets { bounds, counts, sum } = &*self.0;
        let mut count = 0;
        let mut cumulative = counts.iter().map(|bucket| {
            count += bucket.load(Relaxed);
            count
        });
        let within = bounds.iter().copied().zip(cumulative.by_ref()).collect();
        cumulative.for_each(drop);
        MetricValue::Histogram { within, count, sum: f64::from_bits(sum.load(Relaxed)) }
    }
}

/// The value of one series.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum MetricValue {
    /// A count.
    Counter(u64),
    /// A number.
    Gauge(i64),
    /// Counted observations.
    Histogram {
        /// Each bound, and the observations up to it.
        within: Vec<(f64, u64)>,
        /// All observations.
        count: u64,
        /// The sum of all observations.
        sum: f64,
    },
}
