//! The metrics in the Prometheus text format. Label values come from fixed sets and never contain a peer.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use switchboard::bans::BanReport;
use switchboard::fleet::{FleetLinkReport, FleetReport, FleetState};
use switchboard::metrics::{HandlerMetric, HandlerSample, LATENCY_BOUNDS, Latency, MetricValue};
use switchboard::recorder::RecorderReport;
use switchboard::server::{ListenerReport, ListenerStatus};
use switchboard::{CloseReason, Phase, Running};

use crate::admin::metrics::Samples::{Histogram, Labelled, Optional, Reasons, Single};
use crate::admin::state::SharedState;

enum Samples {
    Single(fn(&ListenerReport) -> u64),
    /// No sample of a listener without a value.
    Optional(fn(&ListenerReport) -> Option<i64>),
    Reasons(fn(&ListenerReport) -> &[(CloseReason, u64)]),
    /// One sample per value of this label.
    Labelled(&'static str, fn(&ListenerReport) -> Vec<(&'static str, u64)>),
    Histogram(fn(&ListenerReport) -> &Latency),
}

/// The metrics of a listener: name, type, help, samples.
const METRICS: [(&str, &str, &str, Samples); 12] = [
    ("listener_up", "gauge", LISTENER_UP, Single(|report| u64::from(report.state == ListenerStatus::Listening))),
    ("connections_open", "gauge", "Open connections.", Single(|report| report.open as u64)),
    ("sessions_open", "gauge", "Datagram peers with a session.", Single(|report| report.sessions as u64)),
    ("connections_accepted_total", "counter", "Accepted connections.", Single(|report| report.accepted)),
    ("connections_closed_total", "counter", "Closed connections, by reason.", Reasons(|report| &report.closed)),
    ("connections_rejected_total", "counter", "Rejected connections, by reason.", Reasons(|report| &report.rejected)),
    ("messages_total", "counter", "Messages, by outcome.", Labelled("outcome", outcomes)),
    ("message_seconds", "histogram", MESSAGE_SECONDS, Histogram(|report| &report.latency)),
    ("received_bytes_total", "counter", RECEIVED_BYTES, Single(|report| report.bytes_in)),
    ("sent_bytes_total", "counter", SENT_BYTES, Single(|report| report.bytes_out)),
    ("accept_errors_total", "counter", "Accept errors, by class.", Labelled("class", accept_errors)),
    ("certificate_expiry_timestamp_seconds", "gauge", CERTIFICATE_EXPIRY, Optional(certificate_expiry)),
];
const LISTENER_UP: &str = "Whether the listener accepts clients: 1, or 0 while it is down or drains.";
const MESSAGE_SECONDS: &str = "Time from the read that received a message until its reply was written.";
const CERTIFICATE_EXPIRY: &str = "Earliest expiry of the certificates of a TLS listener, in seconds of Unix time.";
const RECEIVED_BYTES: &str = "Bytes received, including framing but not TLS overhead.";
const SENT_BYTES: &str = "Bytes sent, including framing but not TLS overhead.";

/// Name, type, help and value of a metric of a fleet.
type FleetMetric = (&'static str, &'static str, &'static str, fn(&FleetReport) -> u64);

const FLEET: [FleetMetric; 6] = [
    ("fleet_connected", "gauge", "Whether the last call to the fleet's server succeeded.", |report| {
        u64::from(report.is_connected)
    }),
    (
        "fleet_shared",
        "gauge",
        "1: leases of the fleet apply. 0: limits are divided by the number of instances.",
        |report| u64::from(report.state == FleetState::Shared),
    ),
    ("fleet_instances", "gauge", "Instances of the fleet.", |report| u64::from(report.instances)),
    ("fleet_sources", "gauge", "Sources with a lease, or that need one.", |report| report.sources as u64),
    ("fleet_calls_total", "counter", "Successful calls to the fleet's server.", |report| report.calls),
    ("fleet_renewals_total", "counter", "Renewed leases.", |report| report.renewals),
];
const FLEET_FAILURES: &str = "fleet_failures_total";

/// Name, type, help and value of a metric of a link of a fleet.
type LinkMetric = (&'static str, &'static str, &'static str, fn(&FleetLinkReport) -> u64);

const FLEET_LINKS: [LinkMetric; 5] = [
    ("fleet_link_connected", "gauge", "Whether the link of a hub, or of the bans, is connected.", |link| {
        u64::from(link.is_connected)
    }),
    ("fleet_link_sent_total", "counter", "Frames of a hub, or changes of bans, sent to other instances.", |link| {
        link.sent
    }),
    ("fleet_link_received_total", "counter", "Frames of a hub, or changes of bans, from other instances.", |link| {
        link.received
    }),
    (
        "fleet_link_lost_total",
        "counter",
        "Dropped frames and reported gaps of a hub, or bans that did not fit.",
        |link| link.lost,
    ),
    ("fleet_link_failures_total", "counter", "Failed connections and calls of the link.", |link| link.failures),
];

fn outcomes(report: &ListenerReport) -> Vec<(&'static str, u64)> {
    report.messages.iter().map(|(outcome, count)| (outcome.as_str(), *count)).collect()
}

fn accept_errors(report: &ListenerReport) -> Vec<(&'static str, u64)> {
    report.accept_errors.clone()
}

fn certificate_expiry(report: &ListenerReport) -> Option<i64> {
    report.certificate.as_ref().map(|certificate| certificate.not_after)
}

pub(super) async fn metrics(State(state): SharedState) -> Response {
    let build = |running: &Running| ("text/plain; version=0.0.4; charset=utf-8", text(running).into_bytes());
    state.replies.reply("metrics".to_owned(), &state.running, build).await
}

fn text(running: &Running) -> String {
    let mut out = String::new();
    header(&mut out, "build_info", "gauge", "Version of the program, as a label. Always 1.");
    sample(&mut out, "build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    header(&mut out, "drain_phase", "gauge", "Shutdown phase: 0 running, 1 draining, 2 closing remaining connections.");
    let phase = match running.phase() {
        Phase::Cutting => 2,
        Phase::Draining { .. } => 1,
        _ => u8::from(running.is_stopping()),
    };
    sample(&mut out, "drain_phase", &[], phase);
    header(&mut out, "evacuating", "gauge", "Evacuation (partial drain) in progress: 1, otherwise 0.");
    let is_evacuating = running.evacuation().is_some_and(|report| report.is_in_progress());
    sample(&mut out, "evacuating", &[], u8::from(is_evacuating));
    bans(&mut out, &running.bans().report());
    running.recorders().first().iter().for_each(|first| recorder(&mut out, &first.report()));
    let reports = running.report();
    for (name, kind, help, samples) in METRICS {
        header(&mut out, name, kind, help);
        for report in &reports {
            let listener = ("listener", &*report.name);
            match samples {
                Single(value) => sample(&mut out, name, &[listener], value(report)),
                Optional(value) => value(report).iter().for_each(|value| sample(&mut out, name, &[listener], value)),
                Reasons(counts) => {
                    for (reason, count) in counts(report) {
                        sample(&mut out, name, &[listener, ("reason", reason.as_str())], count);
                    }
                }
                Labelled(label, counts) => {
                    for (value, count) in counts(report) {
                        sample(&mut out, name, &[listener, (label, value)], count);
                    }
                }
                Histogram(latency) => {
                    let Latency { within, count, sum, .. } = latency(report);
                    let within = LATENCY_BOUNDS.iter().map(Duration::as_secs_f64).zip(*within);
                    histogram(&mut out, name, &[listener], within, *count, sum.as_secs_f64());
                }
            }
        }
    }
    if let Some(report) = running.fleet() {
        for (name, kind, help, value) in FLEET {
            header(&mut out, name, kind, help);
            sample(&mut out, name, &[], value(&report));
        }
        header(&mut out, FLEET_FAILURES, "counter", "Failed calls to the fleet's server, by class.");
        for (class, count) in &report.failures {
            sample(&mut out, FLEET_FAILURES, &[("class", class.as_str())], count);
        }
        for (name, kind, help, value) in FLEET_LINKS {
            header(&mut out, name, kind, help);
            report.links.iter().for_each(|link| sample(&mut out, name, &[("link", &link.name)], value(link)));
        }
    }
    running.handler_metrics().iter().for_each(|metric| handler_metric(&mut out, metric));
    out
}

fn bans(out: &mut String, report: &BanReport) {
    header(out, "bans_active", "gauge", "Bans in effect.");
    sample(out, "bans_active", &[], report.active);
    header(out, "bans_total", "counter", "Bans, by origin.");
    for (origin, count) in &report.bans {
        sample(out, "bans_total", &[("origin", origin.as_str())], count);
    }
    header(out, "strikes_total", "counter", "Strikes of clients.");
    sample(out, "strikes_total", &[], report.strikes);
}

/// All listeners have the same recorder.
fn recorder(out: &mut String, report: &RecorderReport) {
    let gauges = [
        ("recorder_memory_bytes", "Memory of the recorder that connections use.", report.memory_used),
        ("recorder_memory_limit_bytes", "Maximum memory of the recorder.", report.memory),
        ("recorder_connections", "Connections that are recorded.", report.connections),
    ];
    for (name, help, value) in gauges {
        header(out, name, "gauge", help);
        sample(out, name, &[], value);
    }
    header(out, "recorder_files_written_total", "counter", "Files written by the recorder.");
    sample(out, "recorder_files_written_total", &[], report.written);
    header(out, "recorder_files_skipped_total", "counter", "Files not written by the recorder, by reason.");
    for (reason, count) in &report.skipped {
        sample(out, "recorder_files_skipped_total", &[("reason", reason.as_str())], count);
    }
}

fn handler_metric(out: &mut String, metric: &HandlerMetric) {
    let name = format!("handler_{}", metric.name);
    let help = metric.help.replace('\\', "\\\\").replace('\n', "\\n");
    header(out, &name, metric.kind.as_str(), &help);
    for HandlerSample { handler, label, value, .. } in &metric.samples {
        let label = label
            .as_ref()
            .map(|(label, value)| (&**label, value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")));
        let own = label.as_ref().map(|(label, value)| (*label, &**value));
        let labels: Vec<_> = [("handler", &**handler)].into_iter().chain(own).collect();
        match value {
            MetricValue::Counter(count) => sample(out, &name, &labels, count),
            MetricValue::Gauge(number) => sample(out, &name, &labels, number),
            MetricValue::Histogram { within, count, sum } => {
                histogram(out, &name, &labels, within.iter().copied(), *count, *sum);
            }
            _ => {}
        }
    }
}

fn header(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP switchboard_{name} {help}\n# TYPE switchboard_{name} {kind}");
}

/// Label values are escaped: those of listeners and handlers have no character that needs it.
fn sample(out: &mut String, name: &str, labels: &[(&str, &str)], value: impl Display) {
    let labels: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
    let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    let _ = writeln!(out, "switchboard_{name}{labels} {value}");
}

fn histogram(
    out: &mut String,
    name: &str,
    labels: &[(&str, &str)],
    within: impl Iterator<Item = (f64, u64)>,
    count: u64,
    sum: f64,
) {
    let bucket = format!("{name}_bucket");
    for (bound, count) in within.map(|(bound, count)| (bound.to_string(), count)).chain([("+Inf".to_owned(), count)]) {
        sample(out, &bucket, &[labels, &[("le", &bound)]].concat(), count);
    }
    sample(out, &format!("{name}_sum"), labels, sum);
    sample(out, &format!("{name}_count"), labels, count);
}
