//! The metrics in the Prometheus text format. Label values come from fixed sets and never contain a peer.

use std::fmt::{Display, Write as _};

use switchboard::Phase;
use switchboard::metrics::{LATENCY_BOUNDS, Latency};
use switchboard::server::ListenerReport;

pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

struct Metric {
    /// Without the prefix `switchboard_`.
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    samples: Samples,
}

/// The labels of a metric, and where its values come from. All but `Server` have the label `listener`.
enum Samples {
    /// One sample with these labels, from the phase and whether a drain is announced.
    Server(&'static [(&'static str, &'static str)], fn(Phase, bool) -> u64),
    /// One sample per listener.
    Listener(fn(&ListenerReport) -> u64),
    /// One sample per listener and value of this label.
    Labelled(&'static str, fn(&ListenerReport) -> Vec<(&'static str, u64)>),
    /// One histogram of seconds per listener.
    Histogram(fn(&ListenerReport) -> &Latency),
}

/// Every metric, in the order of the output.
const METRICS: [Metric; 12] = [
    gauge(
        "build_info",
        "Version of the program, as a label. Always 1.",
        Samples::Server(&[("version", env!("CARGO_PKG_VERSION"))], |_, _| 1),
    ),
    gauge(
        "drain_phase",
        "Shutdown phase: 0 running, 1 draining, 2 closing remaining connections.",
        Samples::Server(&[], drain_phase),
    ),
    gauge("connections_open", "Open connections.", Samples::Listener(|report| report.open as u64)),
    gauge("sessions_open", "Datagram peers with a session.", Samples::Listener(|report| report.sessions as u64)),
    counter("connections_accepted_total", "Accepted connections.", Samples::Listener(|report| report.accepted)),
    counter(
        "connections_closed_total",
        "Closed connections, by reason.",
        Samples::Labelled("reason", |report| names(&report.closed, |reason| reason.as_str())),
    ),
    counter(
        "connections_rejected_total",
        "Rejected connections, by reason.",
        Samples::Labelled("reason", |report| names(&report.rejected, |reason| reason.as_str())),
    ),
    counter(
        "messages_total",
        "Messages, by outcome.",
        Samples::Labelled("outcome", |report| names(&report.messages, |outcome| outcome.as_str())),
    ),
    Metric {
        name: "message_seconds",
        kind: "histogram",
        help: "Time from the read that received a message until its reply was written.",
        samples: Samples::Histogram(|report| &report.latency),
    },
    counter(
        "received_bytes_total",
        "Bytes received, including framing but not TLS overhead.",
        Samples::Listener(|report| report.bytes_in),
    ),
    counter(
        "sent_bytes_total",
        "Bytes sent, including framing but not TLS overhead.",
        Samples::Listener(|report| report.bytes_out),
    ),
    counter(
        "accept_errors_total",
        "Accept errors, by class.",
        Samples::Labelled("class", |report| report.accept_errors.clone()),
    ),
];

const fn gauge(name: &'static str, help: &'static str, samples: Samples) -> Metric {
    Metric { name, kind: "gauge", help, samples }
}

const fn counter(name: &'static str, help: &'static str, samples: Samples) -> Metric {
    Metric { name, kind: "counter", help, samples }
}

fn names<T: Copy>(counts: &[(T, u64)], name: fn(T) -> &'static str) -> Vec<(&'static str, u64)> {
    counts.iter().map(|(label, count)| (name(*label), *count)).collect()
}

fn drain_phase(phase: Phase, is_stopping: bool) -> u64 {
    match phase {
        Phase::Cutting => 2,
        Phase::Draining { .. } => 1,
        _ => u64::from(is_stopping),
    }
}

/// All metrics as text.
pub(super) fn text(reports: &[ListenerReport], phase: Phase, is_stopping: bool) -> String {
    let mut out = String::new();
    for Metric { name, kind, help, samples } in METRICS {
        let _ = writeln!(out, "# HELP switchboard_{name} {help}\n# TYPE switchboard_{name} {kind}");
        if let Samples::Server(labels, value) = samples {
            sample(&mut out, name, labels, value(phase, is_stopping));
            continue;
        }
        for report in reports {
            let listener = ("listener", &*report.name);
            match samples {
                Samples::Server(..) => {}
                Samples::Listener(value) => sample(&mut out, name, &[listener], value(report)),
                Samples::Labelled(label, counts) => {
                    for (value, count) in counts(report) {
                        sample(&mut out, name, &[listener, (label, value)], count);
                    }
                }
                Samples::Histogram(latency) => histogram(&mut out, name, listener, latency(report)),
            }
        }
    }
    out
}

/// Label values contain no characters that need escaping.
fn sample(out: &mut String, name: &str, labels: &[(&str, &str)], value: impl Display) {
    let labels: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
    let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    let _ = writeln!(out, "switchboard_{name}{labels} {value}");
}

fn histogram(out: &mut String, name: &str, listener: (&str, &str), latency: &Latency) {
    let bucket = format!("{name}_bucket");
    for (bound, count) in LATENCY_BOUNDS.iter().zip(latency.within) {
        sample(out, &bucket, &[listener, ("le", &bound.as_secs_f64().to_string())], count);
    }
    sample(out, &bucket, &[listener, ("le", "+Inf")], latency.count);
    sample(out, &format!("{name}_sum"), &[listener], latency.sum.as_secs_f64());
    sample(out, &format!("{name}_count"), &[listener], latency.count);
}
