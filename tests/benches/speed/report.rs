//! Results of the rounds: medians, ranges, ratios and goals, as a table and as JSON.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use crate::candidate::{Candidate, Kind};
use crate::metric::{Metric, Sample, Spread};
use crate::scenario::{Goal, Scenario};

/// The results of a scenario.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) scenario: Scenario,
    /// The metric of the ratios in the table.
    pub(crate) primary: Metric,
    pub(crate) servers: Vec<Rounds>,
    /// The greatest value that the goal permits.
    limit: Option<f64>,
    /// Failures and other remarks.
    pub(crate) notes: Vec<String>,
}

/// The rounds of a server. A failed round is `None`.
#[derive(Debug)]
pub(crate) struct Rounds {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) rounds: Vec<Option<Sample>>,
}

/// The figure of the server under test next to the goal.
#[derive(Debug)]
pub(crate) struct Verdict {
    value: f64,
    pub(crate) limit: f64,
    figure: String,
    goal: String,
}

impl Verdict {
    fn met(&self) -> bool {
        self.value <= self.limit
    }

    /// The figure, the goal, and whether it is met.
    fn columns(&self) -> [String; 3] {
        let met = if self.met() { "met" } else { "missed" };
        [self.figure.clone(), format!("goal {}", self.goal), met.to_owned()]
    }
}

impl Outcome {
    /// Creates an empty result. The first server is the server under test.
    pub(crate) fn new(scenario: &Scenario, candidates: &[Candidate]) -> Self {
        let servers =
            candidates.iter().map(|it| Rounds { name: it.name.clone(), kind: it.kind.clone(), rounds: Vec::new() });
        Self {
            scenario: scenario.clone(),
            primary: scenario.load.primary(),
            servers: servers.collect(),
            limit: None,
            notes: Vec::new(),
        }
    }

    /// Applies the goal. The goal of a point of a curve depends on the first point, which ran earlier.
    pub(crate) fn apply_goal(&mut self, earlier: &[Self]) {
        self.limit = self.scenario.goal.and_then(|goal| match goal {
            Goal::Value(max) | Goal::Ratio { max, .. } => Some(max),
            Goal::Growth { to, first, max } => {
                let first = earlier.iter().find(|outcome| outcome.scenario.name == first)?;
                Some(max * first.ratio(0, first.position(to)?, first.primary)?.median)
            }
        });
    }

    /// `None` without a goal or without a figure.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        let limit = self.limit?;
        let ratio = |to| Some(self.ratio(0, self.position(to)?, self.primary)?.median);
        let (value, figure, goal) = match self.scenario.goal? {
            Goal::Value(_) => {
                let value = self.spread(0, self.primary)?.median;
                let figure = format!("{} {}", self.primary.title(), self.primary.format(value));
                (value, figure, self.primary.format(limit))
            }
            Goal::Ratio { to, .. } => {
                let value = ratio(to)?;
                (value, format!("{value:.3} × {to}"), format!("{limit:.3}"))
            }
            Goal::Growth { to, first, max } => {
                let value = ratio(to)?;
                (value, format!("{value:.3} × {to}"), format!("{limit:.3} = {max:.2} × {first}"))
            }
        };
        Some(Verdict { value, limit, figure, goal })
    }

    /// One line about the server under test.
    pub(crate) fn summary(&self) -> String {
        let Some(own) = self.spread(0, self.primary) else { return self.notes.join("; ") };
        let goal = |to: Option<&str>| {
            let verdict = self.verdict().filter(|_| self.scenario.goal.and_then(Goal::baseline) == to);
            verdict.map_or(String::new(), |verdict| format!(" ({})", verdict.columns()[1..].join(", ")))
        };
        let mut text = format!("{} {}{}", self.primary.title(), self.primary.format(own.median), goal(None));
        for to in self.references() {
            if let Some(ratio) = self.ratio(0, to, self.primary) {
                let name = &*self.servers[to].name;
                let _ = write!(text, ", {:.3} × {name}{}", ratio.median, goal(Some(name)));
            }
        }
        text
    }

    /// Number of failed rounds of all servers.
    pub(crate) fn failures(&self) -> usize {
        self.servers.iter().flat_map(|server| &server.rounds).filter(|round| round.is_none()).count()
    }

    /// The servers to which the table shows ratios: all except the server under test and the peers.
    fn references(&self) -> impl Iterator<Item = usize> {
        (1..self.servers.len()).filter(|nth| !matches!(self.servers[*nth].kind, Kind::Peer(_)))
    }

    /// Index of a server.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.servers.iter().position(|server| server.name == name)
    }

    /// Range of a metric of a server over all rounds.
    pub(crate) fn spread(&self, server: usize, metric: Metric) -> Option<Spread> {
        Spread::of(self.servers[server].rounds.iter().flatten().filter_map(|sample| sample.get(&metric).copied()))
    }

    /// Range of the ratios between two servers, calculated per round.
    pub(crate) fn ratio(&self, server: usize, to: usize, metric: Metric) -> Option<Spread> {
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
        let mut titles = vec![self.scenario.name.clone()];
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
        let mut text = aligned(&rows);
        if let Some(verdict) = self.verdict() {
            let _ = writeln!(text, "  {}", verdict.columns().join(", "));
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
            "scenario": self.scenario.name,
            "label": self.scenario.label,
            "primary": self.primary.key(),
            "goal": self.verdict().map(|it| json!({ "figure": it.value, "max": it.limit, "met": it.met() })),
            "servers": servers.collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }
}

/// All goals with their figures, and whether they are met. Empty without goals.
pub(crate) fn goals(outcomes: &[Outcome]) -> String {
    let rows = outcomes.iter().filter_map(|outcome| {
        let columns = outcome.verdict()?.columns();
        Some(std::iter::once(outcome.scenario.name.clone()).chain(columns).collect())
    });
    aligned(&rows.collect::<Vec<Vec<String>>>())
}

/// Lines with columns of equal width. The first column is aligned to the left.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let _ = write!(text, "{:<width$}", row[0], width = widths[0].max(24));
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            let _ = write!(text, "  {cell:>width$}");
        }
        text.push('\n');
    }
    text
}
