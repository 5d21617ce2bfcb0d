//! The results as text and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use bytesize::ByteSize;
use indicatif::HumanCount;
use serde_json::{Value, json};
use switchboard::settings::text::escape_unsafe;

use super::load::Load;
use super::results::Results;

/// The quantiles of the table.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

pub(super) struct Report<'a> {
    pub(super) load: &'a Load,
    pub(super) results: &'a Results,
    /// Time from the end of the warmup to the last reply, or to the end.
    pub(super) measured: Duration,
    pub(super) is_interrupted: bool,
}

impl Report<'_> {
    pub(super) fn text(&self) -> String {
        let Self { load, results, measured, is_interrupted } = self;
        let mut text = format!(
            "{}, framing {}: {} connection{}, {}, {} bytes per message, {:.1} s{}\n",
            load.server.address,
            load.framing.name(),
            load.connections,
            if load.connections == 1 { "" } else { "s" },
            match load.rate {
                Some(rate) => format!("{rate} (open loop)"),
                None => format!("depth {} (closed loop)", load.depth),
            },
            load.message.len(),
            measured.as_secs_f64(),
            if *is_interrupted { ", interrupted" } else { "" },
        );
        let row = |text: &mut String, name: &str, value: String| {
            let _ = writeln!(text, "{name:<18} {value}"); // never fails
        };
        let messages = results.messages();
        row(
            &mut text,
            "messages",
            format!("{} ({}/s)", HumanCount(messages), HumanCount(self.per_second(messages).round() as u64)),
        );
        for (name, bytes) in [("sent", results.sent_bytes), ("received", results.received_bytes)] {
            row(
                &mut text,
                name,
                format!("{} ({:.2} MB/s)", ByteSize::b(bytes).display().si(), self.per_second(bytes) / 1e6),
            );
        }
        row(&mut text, "failed", HumanCount(results.failed_messages()).to_string());
        for (kind, failed) in &results.errors {
            let sentence = escape_unsafe(&failed.sentence, |_| false);
            row(&mut text, &format!("  {}", kind.name()), format!("{}: {sentence}", HumanCount(failed.messages)));
        }
        if messages > 0 {
            text.push_str(match load.rate {
                Some(_) => "latency, from the time at which a message was due\n",
                None => "latency\n",
            });
            for (name, quantile) in QUANTILES {
                row(&mut text, &format!("  {name}"), milliseconds(results.quantile(quantile)));
            }
            row(&mut text, "  max", milliseconds(Duration::from_nanos(results.latency.max())));
        }
        text
    }

    pub(super) fn json(&self) -> String {
        let Self { load, results, measured, is_interrupted } = self;
        let messages = results.messages();
        let mut latency = serde_json::Map::new();
        if messages > 0 {
            for (name, quantile) in QUANTILES {
                latency.insert(name.to_owned(), results.quantile(quantile).as_secs_f64().into());
            }
            latency.insert("max".to_owned(), Duration::from_nanos(results.latency.max()).as_secs_f64().into());
        }
        let errors = results.errors.iter().map(|(kind, failed)| {
            (kind.name().to_owned(), json!({ "messages": failed.messages, "message": failed.sentence }))
        });
        let report = json!({
            "address": load.server.address.to_string(),
            "framing": load.framing.name(),
            "connections": load.connections,
            "depth": load.depth,
            "rate": load.rate.map(|rate| rate.to_string()),
            "message_bytes": load.message.len(),
            "warmup_seconds": load.warmup.as_secs_f64(),
            "seconds": measured.as_secs_f64(),
            "interrupted": is_interrupted,
            "messages": messages,
            "messages_per_second": self.per_second(messages),
            "sent_bytes": results.sent_bytes,
            "received_bytes": results.received_bytes,
            "failed": results.failed_messages(),
            "errors": Value::Object(errors.collect()),
            "latency_seconds": latency,
        });
        format!("{report:#}\n")
    }

    fn per_second(&self, count: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
        let count = count as f64;
        if self.measured.is_zero() { 0.0 } else { count / self.measured.as_secs_f64() }
    }
}

fn milliseconds(latency: Duration) -> String {
    format!("{:>10.3} ms", latency.as_secs_f64() * 1e3)
}
