//! What the rounds have shown: medians, spreads and ratios, as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Value, json};

/// Something that is measured in each round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    /// Nanoseconds of the server's time for a message.
    Cpu,
    /// Messages a second.
    Rate,
    /// Nanoseconds.
    P50,
    P99,
    P999,
}

/// One server in one round.
pub(crate) type Sample = BTreeMap<Metric, f64>;

/// A scenario: for each server its rounds, or why there are none.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) scenario: String,
    pub(crate) servers: Vec<(String, Vec<Option<Sample>>)>,
    pub(crate) failures: Vec<String>,
}

/// Median, least and most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
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
    const ALL: [Self; 5] = [Self::Cpu, Self::Rate, Self::P50, Self::P99, Self::P999];

    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu ns",
            Self::Rate => "per second",
            Self::P50 => "p50 µs",
            Self::P99 => "p99 µs",
            Self::P999 => "p99.9 µs",
        }
    }

    fn shown(self, value: f64) -> String {
        match self {
            Self::Cpu | Self::Rate => format!("{value:.0}"),
            Self::P50 | Self::P99 | Self::P999 => format!("{:.1}", value / 1e3),
        }
    }
}

impl Outcome {
    /// A metric of a server over all rounds.
    pub(crate) fn spread(&self, server: usize, metric: Metric) -> Option<Spread> {
        Spread::of(self.servers[server].1.iter().flatten().filter_map(|sample| sample.get(&metric).copied()))
    }

    /// How a server is to another, round by round.
    pub(crate) fn ratio(&self, server: usize, to: usize, metric: Metric) -> Option<Spread> {
        let pairs = self.servers[server].1.iter().zip(&self.servers[to].1);
        Spread::of(pairs.filter_map(|(one, other)| {
            let ratio = one.as_ref()?.get(&metric)? / other.as_ref()?.get(&metric)?;
            ratio.is_finite().then_some(ratio)
        }))
    }

    fn metrics(&self) -> impl Iterator<Item = Metric> {
        let samples = || self.servers.iter().flat_map(|server| server.1.iter().flatten());
        Metric::ALL.into_iter().filter(move |metric| samples().any(|sample| sample.contains_key(metric)))
    }

    /// For people. The ratios are of the first metric.
    pub(crate) fn table(&self) -> String {
        let mut rows = vec![vec!["server".to_owned()]];
        let metrics: Vec<Metric> = self.metrics().collect();
        for metric in &metrics {
            rows[0].push(metric.name().to_owned());
            rows[0].push("min–max".to_owned());
        }
        rows[0].extend(self.servers.iter().skip(1).map(|(name, _)| format!("× {name}")));
        for (nth, (name, _)) in self.servers.iter().enumerate() {
            let mut row = vec![name.clone()];
            for metric in &metrics {
                let spread = self.spread(nth, *metric);
                row.push(spread.map_or("—".to_owned(), |it| metric.shown(it.median)));
                row.push(
                    spread.map_or(String::new(), |it| format!("{}–{}", metric.shown(it.min), metric.shown(it.max))),
                );
            }
            for to in 1..self.servers.len() {
                let ratio = metrics.first().and_then(|metric| self.ratio(nth, to, *metric)).filter(|_| nth != to);
                row.push(ratio.map_or(String::new(), |it| format!("{:.3} ({:.2}–{:.2})", it.median, it.min, it.max)));
            }
            rows.push(row);
        }
        let columns = rows[0].len();
        let widths: Vec<usize> =
            (0..columns).map(|at| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0)).collect();
        let mut text = format!("{}\n", self.scenario);
        for row in rows {
            for (at, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let _ = if at == 0 { write!(text, "  {cell:<width$}") } else { write!(text, "  {cell:>width$}") };
            }
            text.push('\n');
        }
        for failure in &self.failures {
            let _ = writeln!(text, "  {failure}");
        }
        text
    }

    /// For programs: the same, and every round.
    pub(crate) fn json(&self) -> Value {
        let named = |of: &dyn Fn(Metric) -> Option<Value>| -> serde_json::Map<String, Value> {
            self.metrics().filter_map(|metric| Some((format!("{metric:?}").to_lowercase(), of(metric)?))).collect()
        };
        let servers = self.servers.iter().enumerate().map(|(nth, (name, rounds))| {
            let ratios = self.servers.iter().enumerate().filter(|(to, _)| *to != nth).map(|(to, (other, _))| {
                (other.clone(), json!(named(&|metric| self.ratio(nth, to, metric).map(Spread::json))))
            });
            json!({
                "name": name,
                "metrics": named(&|metric| self.spread(nth, metric).map(Spread::json)),
                "ratios": ratios.collect::<serde_json::Map<_, _>>(),
                "rounds": rounds.iter().map(|sample| sample.as_ref().map(|sample| {
                    named(&|metric| sample.get(&metric).map(|value| json!(value)))
                })).collect::<Vec<_>>(),
            })
        });
        json!({ "scenario": self.scenario, "servers": servers.collect::<Vec<_>>(), "failures": self.failures })
    }
}
