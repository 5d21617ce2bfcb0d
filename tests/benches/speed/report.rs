//! Results of the rounds: medians, ranges and ratios, as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value, json};

use crate::candidate::{Candidate, Kind};

/// A value measured in each round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    /// CPU time of the server in nanoseconds, per message or (churn) per connection.
    Cpu,
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

/// The results of a scenario.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) scenario: String,
    /// The metric of the ratios in the table.
    primary: Metric,
    pub(crate) servers: Vec<Rounds>,
    /// Failures and other remarks.
    pub(crate) notes: Vec<String>,
}

/// The rounds of a server. A failed round is `None`.
#[derive(Debug)]
pub(crate) struct Rounds {
    pub(crate) name: String,
    /// Whether the table shows ratios to this server.
    is_reference: bool,
    pub(crate) rounds: Vec<Option<Sample>>,
}

/// Median, minimum and maximum.
#[derive(Debug, Clone, Copy)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[half] } else { f64::midpoint(values[half - 1], values[half]) };
        Some(Self { median, min, max })
    }

    fn json(self) -> Value {
        json!({ "median": self.median, "min": self.min, "max": self.max })
    }
}

impl Metric {
    const ALL: [Self; 12] = [
        Self::Cpu,
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
    fn title(self) -> &'static str {
        match self {
            Self::Cpu => "cpu ns",
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
    fn key(self) -> &'static str {
        match self {
            Self::Cpu => "cpu_ns",
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

    fn format(self, value: f64) -> String {
        match self {
            Self::Cpu | Self::Rate | Self::Lost | Self::Idle | Self::Used => format!("{value:.0}"),
            Self::P50 | Self::P99 | Self::P999 => format!("{:.1}", value / 1e3),
            Self::Start | Self::Left => format!("{:.1}", value / 1024.0 / 1024.0),
            Self::Drain | Self::SystemCalls => format!("{value:.3}"),
        }
    }
}

impl Outcome {
    /// Creates an empty result. The first server is the server under test. Peers are not used as references.
    pub(crate) fn new(scenario: &str, primary: Metric, candidates: &[Candidate]) -> Self {
        let servers = candidates.iter().enumerate().map(|(nth, it)| Rounds {
            name: it.name.clone(),
            is_reference: nth > 0 && !matches!(it.kind, Kind::Peer(_)),
            rounds: Vec::new(),
        });
        Self { scenario: scenario.to_owned(), primary, servers: servers.collect(), notes: Vec::new() }
    }

    /// One line about the server under test.
    pub(crate) fn summary(&self) -> String {
        let Some(own) = self.spread(0, self.primary) else { return self.notes.join("; ") };
        let mut text = format!("{} {}", self.primary.title(), self.primary.format(own.median));
        for to in self.references() {
            if let Some(ratio) = self.ratio(0, to, self.primary) {
                let _ = write!(text, ", {:.3} × {}", ratio.median, self.servers[to].name);
            }
        }
        text
    }

    /// Number of failed rounds of all servers.
    pub(crate) fn failures(&self) -> usize {
        self.servers.iter().flat_map(|server| &server.rounds).filter(|round| round.is_none()).count()
    }

    fn references(&self) -> impl Iterator<Item = usize> {
        (0..self.servers.len()).filter(|nth| self.servers[*nth].is_reference)
    }

    /// Range of a metric of a server over all rounds.
    fn spread(&self, server: usize, metric: Metric) -> Option<Spread> {
        Spread::of(self.servers[server].rounds.iter().flatten().filter_map(|sample| sample.get(&metric).copied()))
    }

    /// Range of the ratios between two servers, calculated per round.
    fn ratio(&self, server: usize, to: usize, metric: Metric) -> Option<Spread> {
        let pairs = self.servers[server].rounds.iter().zip(&self.servers[to].rounds);
        Spread::of(pairs.filter_map(|(one, other)| {
            let ratio = one.as_ref()?.get(&metric)? / other.as_ref()?.get(&metric)?;
            ratio.is_finite().then_some(ratio)
        }))
    }

    fn metrics(&self) -> impl Iterator<Item = Metric> {
        let samples = || self.servers.iter().flat_map(|server| server.rounds.iter().flatten());
        Metric::ALL.into_iter().filter(move |metric| samples().any(|sample| sample.contains_key(metric)))
    }

    /// The result as a text table.
    pub(crate) fn table(&self) -> String {
        let mut titles = vec![self.scenario.clone()];
        for metric in self.metrics() {
            titles.push(metric.title().to_owned());
            titles.extend((metric == self.primary).then(|| "min–max".to_owned()));
        }
        titles.extend(self.references().map(|to| format!("× {}", self.servers[to].name)));
        let rows = (0..self.servers.len()).map(|nth| {
            let mut row = vec![format!("  {}", self.servers[nth].name)];
            for metric in self.metrics() {
                let spread = self.spread(nth, metric);
                row.push(spread.map_or("—".to_owned(), |it| metric.format(it.median)));
                let range = |it: Spread| format!("{}–{}", metric.format(it.min), metric.format(it.max));
                row.extend((metric == self.primary).then(|| spread.map_or(String::new(), range)));
            }
            row.extend(self.references().map(|to| {
                let ratio = self.ratio(nth, to, self.primary).filter(|_| nth != to);
                ratio.map_or(String::new(), |it| format!("{:.3} ({:.2}–{:.2})", it.median, it.min, it.max))
            }));
            row
        });
        let rows: Vec<Vec<String>> = std::iter::once(titles).chain(rows).collect();
        let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
        let mut text = String::new();
        for row in &rows {
            let _ = write!(text, "{:<width$}", row[0], width = widths[0].max(24));
            for (cell, width) in row.iter().zip(&widths).skip(1) {
                let _ = write!(text, "  {cell:>width$}");
            }
            text.push('\n');
        }
        for note in &self.notes {
            let _ = writeln!(text, "  {note}");
        }
        text
    }

    /// The result as JSON, with the values of every round.
    pub(crate) fn json(&self) -> Value {
        let keyed = |of: &dyn Fn(Metric) -> Option<Value>| -> Map<String, Value> {
            self.metrics().filter_map(|metric| Some((metric.key().to_owned(), of(metric)?))).collect()
        };
        let servers = self.servers.iter().enumerate().map(|(nth, server)| {
            let ratios = self.references().filter(|to| *to != nth).map(|to| {
                let ratio = keyed(&|metric| self.ratio(nth, to, metric).map(Spread::json));
                (self.servers[to].name.clone(), json!(ratio))
            });
            let round = |sample: &Option<Sample>| {
                sample.as_ref().map(|sample| keyed(&|metric| sample.get(&metric).map(|value| json!(value))))
            };
            json!({
                "name": server.name,
                "metrics": keyed(&|metric| self.spread(nth, metric).map(Spread::json)),
                "ratios": ratios.collect::<Map<_, _>>(),
                "rounds": server.rounds.iter().map(round).collect::<Vec<_>>(),
            })
        });
        json!({
            "scenario": self.scenario,
            "primary": self.primary.key(),
            "servers": servers.collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }
}
