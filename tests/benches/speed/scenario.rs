//! What a scenario is: a comparison of servers under one load, with a goal.

use crate::candidate::Service;
use crate::metric::{Metric, grouped};

/// A comparison of servers under one load.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    /// The description in the document.
    pub(crate) label: String,
    /// The table of the document that shows it.
    pub(crate) table: Table,
    pub(crate) service: Service,
    pub(crate) load: Load,
    /// The baselines that support the service.
    pub(crate) baselines: &'static [&'static str],
    /// Whether `--peers` adds the peers.
    pub(crate) peers: bool,
    pub(crate) effort: Effort,
    pub(crate) goal: Option<Goal>,
}

/// A table of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    Messages,
    KeyValue,
    Recorder,
    Connections,
    Growth,
    SystemCalls,
}

/// The load on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// A closed loop: each connection has `depth` messages of `size` bytes in flight.
    Closed { connections: usize, depth: usize, size: usize },
    /// A closed loop with UDP sockets.
    Datagrams { sockets: usize, depth: usize, size: usize },
    /// An open loop: messages at a constant rate, half of the maximum of the first baseline.
    Open { connections: usize, size: usize },
    /// An open loop with batches of `depth` messages, for CPU time: in a closed loop, a slower server has a lower rate.
    Paced { connections: usize, depth: usize, size: usize },
    /// Connect, one message, close.
    Churn { size: usize },
    /// Idle connections, which then send one message and close.
    Idle { connections: usize },
    /// Connections that are idle after one message each, at most as many as the limit of open files permits.
    IdleCpu { connections: usize },
    /// Idle connections while the server drains.
    Drain { connections: usize },
    /// A closed loop with counted system calls.
    SystemCalls { connections: usize, depth: usize, size: usize },
    /// redis-benchmark with one command.
    Redis { command: &'static str, pipeline: usize },
}

/// How much of the configured rounds and time a scenario uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    All,
    /// Half of the time, for one point of a curve.
    Point,
    /// One round, for results without variance.
    Once,
}

/// A limit for the server under test. A missed goal is reported, but is not a failure: the machine is noisy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    /// The greatest median of the primary metric.
    Value(f64),
    /// The greatest median ratio of the primary metric to a baseline.
    Ratio { to: &'static str, max: f64 },
    /// The greatest median ratio to a baseline, as a multiple of the ratio at the first point of the curve.
    Growth { to: &'static str, first: &'static str, max: f64 },
}

impl Goal {
    /// The baseline of the ratio.
    pub(crate) fn baseline(self) -> Option<&'static str> {
        match self {
            Self::Value(_) => None,
            Self::Ratio { to, .. } | Self::Growth { to, .. } => Some(to),
        }
    }
}

impl Load {
    /// The metric of the ratios and of the goal.
    pub(crate) fn primary(self) -> Metric {
        match self {
            Self::Open { .. } => Metric::P999,
            Self::Idle { .. } => Metric::Used,
            Self::IdleCpu { .. } => Metric::IdleCpu,
            Self::Drain { .. } => Metric::Drain,
            Self::SystemCalls { .. } => Metric::SystemCalls,
            Self::Closed { .. }
            | Self::Datagrams { .. }
            | Self::Paced { .. }
            | Self::Churn { .. }
            | Self::Redis { .. } => Metric::Cpu,
        }
    }
}

impl Scenario {
    pub(crate) fn new(
        name: &str,
        label: &str,
        protocol: &'static str,
        load: Load,
        baselines: &'static [&'static str],
    ) -> Self {
        let large = matches!(load, Load::Closed { size, .. } if size > 1024);
        let buffer = if large { 64 * 1024 } else { 16 * 1024 };
        let service =
            Service { protocol, buffer, listeners: 1, deny: 0, bans: 0, recorder: false, level: "warn", workers: 1 };
        let (name, label) = (name.to_owned(), label.to_owned());
        let (table, effort) = (Table::Messages, Effort::All);
        Self { name, label, table, service, load, baselines, peers: false, effort, goal: None }
    }

    /// A closed loop over connections, with the peers.
    pub(crate) fn closed(
        scheme: &str,
        protocol: &'static str,
        baselines: &'static [&'static str],
        connections: usize,
        depth: usize,
        size: usize,
    ) -> Self {
        let what = if scheme == protocol { scheme.to_owned() } else { format!("{scheme}-{protocol}") };
        let name = format!("{what}-{}-c{connections}-d{depth}", bytes(size).replace(' ', "").replace("KiB", "K"));
        let what = match protocol {
            "raw" => "TCP raw echo",
            "tls" => "TLS echo",
            protocol => protocol,
        };
        let label = format!("{what} {}, {}{}", bytes(size), count(connections, "connection"), pipeline(depth));
        let load = Load::Closed { connections, depth, size };
        Self { peers: true, ..Self::new(&name, &label, protocol, load, baselines) }
    }

    /// Changes the name and the label, for a variant of a scenario. The peers do not support it.
    pub(crate) fn named(self, name: &str, label: &str) -> Self {
        Self { name: name.to_owned(), label: label.to_owned(), peers: false, ..self }
    }

    /// Sets the goal.
    pub(crate) fn goal(self, goal: Goal) -> Self {
        Self { goal: Some(goal), ..self }
    }

    /// Sets the greatest ratio to the baseline `tokio`, if there is a goal.
    pub(crate) fn at_most(self, max: impl Into<Option<f64>>) -> Self {
        Self { goal: max.into().map(|max| Goal::Ratio { to: "tokio", max }), ..self }
    }

    /// Sets the table that shows it, and the effort.
    pub(crate) fn shown_in(self, table: Table, effort: Effort) -> Self {
        Self { table, effort, ..self }
    }
}

/// A size, for example `64 B` or `16 KiB`.
pub(crate) fn bytes(size: usize) -> String {
    if size >= 1024 { format!("{} KiB", size / 1024) } else { format!("{size} B") }
}

/// A number of things, for example `1 socket` or `1,000 connections`.
pub(crate) fn count(number: usize, thing: &str) -> String {
    format!("{} {thing}{}", grouped(number as u64), if number == 1 { "" } else { "s" })
}

/// The part of a label about the depth. Empty without pipelining.
pub(crate) fn pipeline(depth: usize) -> String {
    if depth == 1 { String::new() } else { format!(", pipeline of {depth}") }
}
