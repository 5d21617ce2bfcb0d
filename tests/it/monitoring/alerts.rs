//! The alerts, and what Prometheus must do with sample series. The rules and their tests come from one table.

use std::fmt::Write as _;

/// An alert: its expression is `value` and `condition`.
pub(super) struct Alert {
    pub(super) name: &'static str,
    severity: &'static str,
    /// How long the condition must hold.
    hold: &'static str,
    /// Returns something in every running server.
    pub(super) value: &'static str,
    condition: &'static str,
    summary: &'static str,
    /// What to do.
    description: &'static str,
    /// Series with labels, values for which the alert fires, and values for which it does not.
    series: &'static [(&'static str, &'static str, &'static str)],
    /// The labels of the firing alert, without those that every alert has.
    labels: &'static [(&'static str, &'static str)],
}

/// The labels of a series of one listener, and of a series of the whole server.
const LISTENER: [(&str, &str); 3] = [("instance", "one:9900"), ("job", "switchboard"), ("listener", "main")];

pub(super) const ALERTS: [Alert; 14] = [
    Alert {
        name: "SwitchboardInstanceDown",
        severity: "critical",
        hold: "1m",
        value: r#"up{job="switchboard"}"#,
        condition: "== 0",
        summary: "{{ $labels.instance }} does not answer",
        description: "Prometheus cannot read the metrics. Look at the service, and at its log for the reason of its end.",
        series: &[(r#"up{job="switchboard",instance="one:9900"}"#, "1x9 0x30", "1x40")],
        labels: &[LISTENER[0], LISTENER[1]],
    },
    Alert {
        name: "SwitchboardListenerDown",
        severity: "critical",
        hold: "1m",
        value: "switchboard_listener_up",
        // A listener of a server that stops is down on purpose.
        condition: "== 0 unless on (job, instance) switchboard_drain_phase > 0",
        summary: "Listener {{ $labels.listener }} of {{ $labels.instance }} accepts no clients",
        description: "/readyz and `switchboard status` have the reason. The server binds the listener again by itself.",
        series: &[
            (r#"switchboard_listener_up{job="switchboard",instance="one:9900",listener="main"}"#, "1x9 0x30", "0x40"),
            (r#"switchboard_drain_phase{job="switchboard",instance="one:9900"}"#, "0x40", "1x40"),
        ],
        labels: &LISTENER,
    },
    Alert {
        name: "SwitchboardClientsRejected",
        severity: "warning",
        hold: "1m",
        value: r#"rate(switchboard_connections_rejected_total{reason="limit"}[5m])"#,
        condition: "> 0",
        summary: "Listener {{ $labels.listener }} of {{ $labels.instance }} rejects clients at a limit",
        description: "The event `connection rejected` in the log names the limit. Raise it, or add an instance.",
        series: &[(
            r#"switchboard_connections_rejected_total{job="switchboard",instance="one:9900",listener="main",reason="limit"}"#,
            "0+10x40",
            "7x40",
        )],
        labels: &[LISTENER[0], LISTENER[1], LISTENER[2], ("reason", "limit")],
    },
    Alert {
        name: "SwitchboardOutOfResources",
        severity: "critical",
        hold: "1m",
        value: r#"rate(switchboard_accept_errors_total{class="exhausted"}[5m])"#,
        condition: "> 0",
        summary: "{{ $labels.instance }} has no file descriptors or memory for new connections",
        description: "The event `accept failed` in the log has the error. Raise LimitNOFILE, or lower limits.connections.",
        series: &[(
            r#"switchboard_accept_errors_total{job="switchboard",instance="one:9900",listener="main",class="exhausted"}"#,
            "0+1x40",
            "3x40",
        )],
        labels: &[("class", "exhausted"), LISTENER[0], LISTENER[1], LISTENER[2]],
    },
    Alert {
        name: "SwitchboardMessagesFail",
        severity: "warning",
        hold: "5m",
        value: r#"sum without (outcome) (rate(switchboard_messages_total{outcome=~"error|panic|timeout"}[5m])) / sum without (outcome) (rate(switchboard_messages_total[5m]))"#,
        condition: "> 0.01",
        summary: "More than 1 % of the messages of listener {{ $labels.listener }} of {{ $labels.instance }} fail",
        description: "The handler fails: the event `connection closed` or `datagram failed` in the log has the error.",
        series: &[
            (
                r#"switchboard_messages_total{job="switchboard",instance="one:9900",listener="main",outcome="error"}"#,
                "0+5x40",
                "0+5x40",
            ),
            (
                r#"switchboard_messages_total{job="switchboard",instance="one:9900",listener="main",outcome="ok"}"#,
                "0+100x40",
                "0+1000x40",
            ),
        ],
        labels: &LISTENER,
    },
    Alert {
        name: "SwitchboardHandlerPanics",
        severity: "warning",
        hold: "0m",
        value: r#"increase(switchboard_messages_total{outcome="panic"}[10m])"#,
        condition: "> 0",
        summary: "The handler of listener {{ $labels.listener }} of {{ $labels.instance }} panics",
        description: "A defect of the handler. The event `connection closed` with reason panic in the log has the place.",
        series: &[(
            r#"switchboard_messages_total{job="switchboard",instance="one:9900",listener="main",outcome="panic"}"#,
            "0x15 1x25",
            "1x40",
        )],
        labels: &[LISTENER[0], LISTENER[1], LISTENER[2], ("outcome", "panic")],
    },
    Alert {
        name: "SwitchboardSlowReplies",
        severity: "warning",
        hold: "10m",
        value: "histogram_quantile(0.99, rate(switchboard_message_seconds_bucket[5m]))",
        condition: "> 1",
        summary: "One in a hundred replies of listener {{ $labels.listener }} of {{ $labels.instance }} takes longer than 1 s",
        description: "Set the threshold to what your protocol needs. The operator's guide, Troubleshoot, has the usual causes.",
        series: &[
            (
                r#"switchboard_message_seconds_bucket{job="switchboard",instance="one:9900",listener="main",le="1"}"#,
                "0+90x40",
                "0+100x40",
            ),
            (
                r#"switchboard_message_seconds_bucket{job="switchboard",instance="one:9900",listener="main",le="5"}"#,
                "0+100x40",
                "0+100x40",
            ),
            (
                r#"switchboard_message_seconds_bucket{job="switchboard",instance="one:9900",listener="main",le="+Inf"}"#,
                "0+100x40",
                "0+100x40",
            ),
        ],
        labels: &LISTENER,
    },
    Alert {
        name: "SwitchboardHandshakesFail",
        severity: "warning",
        hold: "10m",
        value: r#"sum without (reason) (rate(switchboard_connections_closed_total{reason="handshake"}[5m])) / sum without (reason) (rate(switchboard_connections_closed_total[5m]))"#,
        condition: "> 0.5",
        summary: "More than half of the connections to listener {{ $labels.listener }} of {{ $labels.instance }} fail in the handshake",
        description: "Often a certificate has expired, or a proxy sends no PROXY header. The log has the error of each one.",
        series: &[
            (
                r#"switchboard_connections_closed_total{job="switchboard",instance="one:9900",listener="main",reason="handshake"}"#,
                "0+9x40",
                "0+9x40",
            ),
            (
                r#"switchboard_connections_closed_total{job="switchboard",instance="one:9900",listener="main",reason="peer_closed"}"#,
                "0+1x40",
                "0+90x40",
            ),
        ],
        labels: &LISTENER,
    },
    Alert {
        name: "SwitchboardConnectionsFail",
        severity: "warning",
        hold: "10m",
        value: r#"sum without (reason) (rate(switchboard_connections_closed_total{reason=~"handler_error|panic|first_message|message_timeout|write_stalled|frame_too_large|frame_timeout|bad_frame|outbox_full|starttls_injection|io_error"}[5m])) / sum without (reason) (rate(switchboard_connections_closed_total[5m]))"#,
        condition: "> 0.1",
        summary: "More than 10 % of the connections to listener {{ $labels.listener }} of {{ $labels.instance }} fail",
        description: "The event `connection closed` in the log has the reason and the error. ERRORS of `switchboard status` counts them.",
        series: &[
            (
                r#"switchboard_connections_closed_total{job="switchboard",instance="one:9900",listener="main",reason="frame_too_large"}"#,
                "0+2x40",
                "0+2x40",
            ),
            (
                r#"switchboard_connections_closed_total{job="switchboard",instance="one:9900",listener="main",reason="peer_closed"}"#,
                "0+8x40",
                "0+90x40",
            ),
        ],
        labels: &LISTENER,
    },
    Alert {
        name: "SwitchboardCertificateExpires",
        severity: "warning",
        hold: "1m",
        value: "switchboard_certificate_expiry_timestamp_seconds - time()",
        condition: "< 14 * 86400",
        summary: "A certificate of listener {{ $labels.listener }} of {{ $labels.instance }} expires within 14 days",
        description: "Renew it and reload. After its end, clients reject it, and a reload or restart fails.",
        series: &[(
            r#"switchboard_certificate_expiry_timestamp_seconds{job="switchboard",instance="one:9900",listener="main"}"#,
            "1000000x40",
            "2000000x40",
        )],
        labels: &LISTENER,
    },
    Alert {
        name: "SwitchboardFleetDivided",
        severity: "critical",
        hold: "1m",
        value: "switchboard_fleet_shared",
        condition: "== 0",
        summary: "{{ $labels.instance }} cannot use the server of its fleet, and enforces a part of each limit",
        description: "`switchboard status` has the error. A client gets more or less than the limit until it is repaired.",
        series: &[(r#"switchboard_fleet_shared{job="switchboard",instance="one:9900"}"#, "1x9 0x30", "1x40")],
        labels: &[LISTENER[0], LISTENER[1]],
    },
    Alert {
        name: "SwitchboardFleetLinkDown",
        severity: "critical",
        hold: "1m",
        value: "switchboard_fleet_link_connected",
        condition: "== 0",
        summary: "The link {{ $labels.link }} of {{ $labels.instance }} to the other instances is down",
        description: "Bans, or the frames of a hub, stay on their instance. `switchboard status` has the error.",
        series: &[(
            r#"switchboard_fleet_link_connected{job="switchboard",instance="one:9900",link="bans"}"#,
            "1x9 0x30",
            "1x40",
        )],
        labels: &[LISTENER[0], LISTENER[1], ("link", "bans")],
    },
    Alert {
        name: "SwitchboardFleetLoses",
        severity: "warning",
        hold: "10m",
        value: "rate(switchboard_fleet_link_lost_total[5m])",
        condition: "> 0",
        summary: "The link {{ $labels.link }} of {{ $labels.instance }} loses data again and again",
        description: "A hub receives more frames than it can deliver, or bans.entries is too small for the bans of the fleet.",
        series: &[(
            r#"switchboard_fleet_link_lost_total{job="switchboard",instance="one:9900",link="bans"}"#,
            "0+5x40",
            "0x9 5x30",
        )],
        labels: &[LISTENER[0], LISTENER[1], ("link", "bans")],
    },
    Alert {
        name: "SwitchboardVersionsDiffer",
        severity: "info",
        hold: "1h",
        value: "count by (job) (count by (job, version) (switchboard_build_info))",
        condition: "> 1",
        summary: "The instances of {{ $labels.job }} have different versions for an hour",
        description: "An upgrade has not reached every instance, or one of them has rejected it.",
        series: &[
            (r#"switchboard_build_info{job="switchboard",instance="one:9900",version="1.0.0"}"#, "1x90", "1x90"),
            (r#"switchboard_build_info{job="switchboard",instance="two:9900",version="1.1.0"}"#, "1x90", "_x90"),
        ],
        labels: &[LISTENER[1]],
    },
];

impl Alert {
    fn expression(&self) -> String {
        format!("{} {}", self.value, self.condition)
    }

    /// A text with the labels that the alert of the test has.
    fn expanded(&self, text: &str) -> String {
        self.labels
            .iter()
            .fold(text.to_owned(), |text, (label, value)| text.replace(&format!("{{{{ $labels.{label} }}}}"), value))
    }
}

/// A YAML scalar. A quote is written twice.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

pub(super) fn rules() -> String {
    let mut out = String::from(
        "# Alerts for Prometheus, generated from a table in the tests of the project. Test a change of a threshold with\n\
         # `promtool test rules rules.test.yml`.\n\
         groups:\n  - name: switchboard\n    rules:\n",
    );
    for alert in &ALERTS {
        let Alert { name, severity, hold, summary, description, .. } = alert;
        let _ = write!(
            out,
            "      - alert: {name}\n        expr: {}\n        for: {hold}\n        labels: {{ severity: {severity} }}\n        \
             annotations:\n          summary: {}\n          description: {}\n",
            quoted(&alert.expression()),
            quoted(summary),
            quoted(description)
        );
    }
    out
}

/// Two tests for each alert: series for which it fires, and series for which it does not.
pub(super) fn tests() -> String {
    let mut out = String::from(
        "# Tests of rules.yml: sample series for which each alert fires, and sample series for which it does not.\n\
         rule_files: [rules.yml]\nevaluation_interval: 1m\ntests:\n",
    );
    for alert in &ALERTS {
        for fires in [true, false] {
            // Long enough for each series and each `hold`.
            let at = if alert.hold == "1h" { "80m" } else { "20m" };
            let _ = writeln!(out, "  - interval: 1m\n    input_series:");
            for (series, firing, quiet) in alert.series {
                let values = if fires { firing } else { quiet };
                let _ = writeln!(out, "      - series: {}\n        values: {}", quoted(series), quoted(values));
            }
            let _ = writeln!(out, "    alert_rule_test:\n      - eval_time: {at}\n        alertname: {}", alert.name);
            if fires {
                let _ = writeln!(out, "        exp_alerts:\n          - exp_labels:");
                for (label, value) in alert.labels.iter().chain([&("severity", alert.severity)]) {
                    let _ = writeln!(out, "              {label}: {}", quoted(value));
                }
                let _ = write!(
                    out,
                    "            exp_annotations:\n              summary: {}\n              description: {}\n",
                    quoted(&alert.expanded(alert.summary)),
                    quoted(&alert.expanded(alert.description))
                );
            }
        }
    }
    out
}
