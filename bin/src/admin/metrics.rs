//! The report of a server as metrics, in the text format of Prometheus. Labels come from fixed sets; a peer is never one.

use std::fmt::{Display, Write as _};

use switchboard::Phase;
use switchboard::metrics::LATENCY_BOUNDS;
use switchboard::server::ListenerReport;

/// The type of what [`text`] writes.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Every metric of every listener.
pub(super) fn text(reports: &[ListenerReport], phase: Phase, is_announced: bool) -> String {
    let mut page = Page(String::new());
    page.head("build_info", "gauge", "Always 1; the label says which version runs.");
    page.sample("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.head("drain_phase", "gauge", "How far a stop is: 0 running, 1 announced or draining, 2 cutting.");
    let drain_phase = match phase {
        Phase::Cutting => 2,
        Phase::Draining { .. } => 1,
        _ => i32::from(is_announced),
    };
    page.sample("drain_phase", &[], drain_phase);
    page.each("connections_open", "gauge", "Connections that are open.", reports, |report| report.open as u64);
    page.each("sessions_open", "gauge", "Datagram peers that are remembered.", reports, |report| {
        report.sessions as u64
    });
    page.each("connections_accepted_total", "counter", "Connections that were let in.", reports, |report| {
        report.accepted
    });
    page.head("connections_closed_total", "counter", "Connections that were closed, by why.");
    for report in reports {
        for (reason, count) in &report.closed {
            page.sample("connections_closed_total", &[("listener", &report.name), ("reason", reason.as_str())], *count);
        }
    }
    page.head("connections_rejected_total", "counter", "Connections rejected, by reason.");
    for report in reports {
        for (reason, count) in &report.rejected {
            page.sample(
                "connections_rejected_total",
                &[("listener", &report.name), ("reason", reason.as_str())],
                *count,
            );
        }
    }
    page.head("messages_total", "counter", "Messages, by how they ended.");
    for report in reports {
        for (outcome, count) in &report.messages {
            page.sample("messages_total", &[("listener", &report.name), ("outcome", outcome.as_str())], *count);
        }
    }
    page.latency(reports);
    page.each("received_bytes_total", "counter", "Bytes that came: framing counts, TLS does not.", reports, |report| {
        report.bytes_in
    });
    page.each("sent_bytes_total", "counter", "Bytes that went: framing counts, TLS does not.", reports, |report| {
        report.bytes_out
    });
    page.head("accept_errors_total", "counter", "Errors of accept, by what they were about.");
    for report in reports {
        for (class, count) in &report.accept_errors {
            page.sample("accept_errors_total", &[("listener", &report.name), ("class", class)], *count);
        }
    }
    page.0
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP switchboard_{name} {help}\n# TYPE switchboard_{name} {kind}");
    }

    /// The names of listeners, and all other labels, hold nothing that would have to be escaped.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let _ = match labels.is_empty() {
            true => writeln!(self.0, "switchboard_{name} {value}"),
            false => writeln!(self.0, "switchboard_{name}{{{}}} {value}", labels.join(",")),
        };
    }

    fn each(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        reports: &[ListenerReport],
        value: impl Fn(&ListenerReport) -> u64,
    ) {
        self.head(name, kind, help);
        for report in reports {
            self.sample(name, &[("listener", &report.name)], value(report));
        }
    }

    fn latency(&mut self, reports: &[ListenerReport]) {
        let help = "How long handled messages took, from the read that brought one until its answer was written.";
        self.head("message_seconds", "histogram", help);
        for report in reports {
            let (name, latency) = (&*report.name, &report.latency);
            for (bound, count) in LATENCY_BOUNDS.iter().zip(latency.within) {
                let le = bound.as_secs_f64().to_string();
                self.sample("message_seconds_bucket", &[("listener", name), ("le", &le)], count);
            }
            self.sample("message_seconds_bucket", &[("listener", name), ("le", "+Inf")], latency.count);
            self.sample("message_seconds_sum", &[("listener", name)], latency.sum.as_secs_f64());
            self.sample("message_seconds_count", &[("listener", name)], latency.count);
        }
    }
}
