//! What is measured in a round: the metrics, their formats, and their spread over the rounds.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// A value measured in each round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    /// CPU time of the server in nanoseconds, per message or (churn) per connection.
    Cpu,
    /// CPU time of the server in nanoseconds per second, without any message.
    IdleCpu,
    /// Messages or (churn) connections per second.
    Rate,
    /// Latency in nanoseconds.
    P50,
    P99,
    P999,
    /// Datagrams without a reply.
    Lost,
    /// Memory per connection before its first message, in bytes.
    Idle,
    /// Memory per connection after a message, in bytes.
    Used,
    /// Memory of the server before the first connection, in bytes.
    Start,
    /// Memory of the server after all connections are closed, in bytes.
    Left,
    /// Duration of the drain in seconds.
    Drain,
    /// System calls per message.
    SystemCalls,
}

/// Measurements of one server in one round.
pub(crate) type Sample = BTreeMap<Metric, f64>;

/// Median, minimum and maximum.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[half] } else { f64::midpoint(values[half - 1], values[half]) };
        Some(Self { median, min, max })
    }

    pub(crate) fn json(self) -> Value {
        json!({ "median": self.median, "min": self.min, "max": self.max })
    }
}

impl Metric {
    pub(crate) const ALL: [Self; 13] = [
        Self::Cpu,
        Self::IdleCpu,
        Self::Rate,
        Self::P50,
        Self::P99,
        Self::P999,
        Self::Lost,
        Self::Idle,
        Self::Used,
        Self::Start,
        Self::Left,
        Self::Drain,
        Self::SystemCalls,
    ];

    /// Column title.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Cpu => "cpu ns",
            Self::IdleCpu => "cpu ns/s",
            Self::Rate => "per second",
            Self::P50 => "p50 µs",
            Self::P99 => "p99 µs",
            Self::P999 => "p99.9 µs",
            Self::Lost => "lost",
            Self::Idle => "idle B",
            Self::Used => "used B",
            Self::Start => "start MiB",
            Self::Left => "left MiB",
            Self::Drain => "drain s",
            Self::SystemCalls => "calls",
        }
    }

    /// JSON key, with the unit.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Cpu => "cpu_ns",
            Self::IdleCpu => "cpu_ns_per_second",
            Self::Rate => "per_second",
            Self::P50 => "p50_ns",
            Self::P99 => "p99_ns",
            Self::P999 => "p999_ns",
            Self::Lost => "lost",
            Self::Idle => "idle_bytes",
            Self::Used => "used_bytes",
            Self::Start => "start_bytes",
            Self::Left => "left_bytes",
            Self::Drain => "drain_seconds",
            Self::SystemCalls => "calls",
        }
    }

    pub(crate) fn format(self, value: f64) -> String {
        match self {
            Self::Cpu | Self::IdleCpu | Self::Rate | Self::Lost | Self::Idle | Self::Used => format!("{value:.0}"),
            Self::P50 | Self::P99 | Self::P999 => format!("{:.1}", value / 1e3),
            Self::Start | Self::Left => format!("{:.1}", value / 1024.0 / 1024.0),
            Self::Drain | Self::SystemCalls => format!("{value:.3}"),
        }
    }

    /// The value with its unit, for the document.
    pub(crate) fn with_unit(self, value: f64) -> String {
        match self {
            Self::Cpu => format!("{:.2} µs", value / 1e3),
            Self::IdleCpu => format!("{:.2} ms per second", value / 1e6),
            Self::Rate => format!("{} per second", grouped(value as u64)),
            Self::P50 | Self::P99 | Self::P999 => format!("{:.1} µs", value / 1e3),
            Self::Idle | Self::Used => format!("{} B", grouped(value as u64)),
            Self::Start | Self::Left => format!("{:.1} MiB", value / 1024.0 / 1024.0),
            Self::Drain => format!("{value:.2} s"),
            Self::Lost | Self::SystemCalls => self.format(value),
        }
    }
}

/// An integer with a comma between groups of three digits.
pub(crate) fn grouped(number: u64) -> String {
    if number < 1000 { number.to_string() } else { format!("{},{:03}", grouped(number / 1000), number % 1000) }
}
