//! The counts of a server as named numbers, so that another process can continue them. Names that the other process
//! does not know are ignored there, so that both can be different versions.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

use crate::close_reason::CloseReason;
use crate::metrics::{AcceptErrorClass, CounterArray, ListenerMetrics, Outcome};

/// What a set of counts belongs to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Counted {
    /// The listener with this name.
    Listener(String),
    /// The bans of the server.
    Bans,
    /// A series of a metric of a handler.
    Handler {
        /// The name of the metric.
        metric: String,
        /// The name of the handler.
        handler: String,
        /// The value of the label, if the metric has one.
        label: Option<String>,
    },
}

/// The counts of a listener, of the bans, or of a series of a handler: counters and histograms. Gauges are not
/// included, because they describe one process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Counts {
    /// What they belong to.
    pub of: Counted,
    /// The counts by name, without those that are zero.
    pub counts: BTreeMap<String, u64>,
    /// The sum of the observations of a handler's histogram.
    #[serde(default)]
    pub sum: f64,
}

impl Counts {
    pub(crate) fn new(of: Counted) -> Self {
        Self { of, counts: BTreeMap::new(), sum: 0.0 }
    }

    pub(crate) fn set(&mut self, name: impl Into<String>, count: u64) {
        if count > 0 {
            self.counts.insert(name.into(), count);
        }
    }

    /// What was added since an earlier snapshot. A count that has become smaller counts as unchanged.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut since = Self::new(self.of.clone());
        for (name, count) in &self.counts {
            since.set(name, count.saturating_sub(earlier.counts.get(name).copied().unwrap_or_default()));
        }
        since.sum = self.sum - earlier.sum;
        since
    }

    /// Adds counts of the same listener or series.
    pub fn add(&mut self, more: &Self) {
        for (name, count) in &more.counts {
            let sum = self.counts.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*count);
        }
        self.sum += more.sum;
    }

    /// Whether all counts are zero.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.sum == 0.0
    }

    /// The count of a handler's counter.
    pub(super) fn counter(&self) -> u64 {
        self.counts.get(names::COUNT).copied().unwrap_or_default()
    }

    /// The upper bounds of the buckets of a handler's histogram, with their counts.
    pub(super) fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        self.counts.iter().filter_map(|(name, count)| {
            let (name, bound) = name.split_once('.')?;
            let bound = bound.parse().ok().filter(|_| name == names::BUCKET)?;
            Some((bound, *count))
        })
    }
}

impl ListenerMetrics {
    /// Adds the counts of another process. The names are those of the report of a listener.
    pub(crate) fn add_counts(&self, counts: &Counts) {
        let add = |counter: &AtomicU64, count| {
            counter.fetch_add(count, Relaxed);
        };
        for (name, &count) in &counts.counts {
            let (name, label) = name.split_once('.').unwrap_or((name, ""));
            match name {
                names::ACCEPTED => add(&self.accepted, count),
                names::BYTES_IN => add(&self.bytes_in, count),
                names::BYTES_OUT => add(&self.bytes_out, count),
                names::CLOSED => add_labelled(&self.closed, CloseReason::ALL.map(CloseReason::as_str), label, count),
                names::REJECTED => {
                    add_labelled(&self.rejected, CloseReason::ALL.map(CloseReason::as_str), label, count)
                }
                names::FAILED => add_labelled(&self.failed, Outcome::ALL.map(Outcome::as_str), label, count),
                names::ACCEPT_ERRORS => {
                    let classes = AcceptErrorClass::ALL.map(AcceptErrorClass::as_str);
                    add_labelled(&self.accept_errors, classes, label, count);
                }
                names::LATENCY => {
                    if let Ok(bound) = label.parse::<u64>() {
                        self.latency.add(bound, count);
                    }
                }
                names::LATENCY_NANOS => self.latency.add_nanos(count),
                _ => {}
            }
        }
    }
}

fn add_labelled<const N: usize>(counters: &CounterArray<N>, labels: [&str; N], label: &str, count: u64) {
    if let Some(place) = labels.iter().position(|known| *known == label) {
        counters.add(place, count);
    }
}

/// Names of the counts. The first part of a name with a label is followed by a dot and the label.
pub(crate) mod names {
    pub(crate) const ACCEPTED: &str = "accepted";
    pub(crate) const BYTES_IN: &str = "bytes_in";
    pub(crate) const BYTES_OUT: &str = "bytes_out";
    pub(crate) const CLOSED: &str = "closed";
    pub(crate) const REJECTED: &str = "rejected";
    pub(crate) const FAILED: &str = "failed";
    pub(crate) const ACCEPT_ERRORS: &str = "accept_errors";
    /// The messages of a bucket. The label is its upper bound in nanoseconds, for the last one the largest number.
    pub(crate) const LATENCY: &str = "latency";
    pub(crate) const LATENCY_NANOS: &str = "latency_nanos";
    /// Bans. The label is their origin.
    pub(crate) const BANS: &str = "bans";
    pub(crate) const STRIKES: &str = "strikes";
    /// A handler's counter.
    pub(crate) const COUNT: &str = "count";
    /// The observations of a bucket of a handler's histogram. The label is its upper bound, for the last one `inf`.
    pub(crate) const BUCKET: &str = "le";
}
