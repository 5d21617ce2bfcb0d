//! The state of the server and its listeners as JSON.

use std::time::SystemTime;

use axum::extract::State;
use axum::response::Response;
use nix::unistd::gethostname;
use serde_json::{Map, Value, json};
use switchboard::bans::{BanOrigin, BanReport};
use switchboard::fleet::{FailureClass, FleetLinkReport, FleetReport};
use switchboard::metrics::{LATENCY_BOUNDS, Outcome};
use switchboard::recorder::{RecorderReport, SkipReason};
use switchboard::server::ListenerReport;
use switchboard::{CloseReason, Phase, Running};

use crate::admin::evacuation;
use crate::admin::state::SharedState;
use crate::certificates;

pub(super) async fn status(State(state): SharedState) -> Response {
    let started = state.started;
    let build = move |running: &Running| {
        let phase = match running.phase() {
            Phase::Cutting => "cutting",
            Phase::Running if !running.is_stopping() => "running",
            _ => "draining",
        };
        let drain = running.drain_settings();
        let now = certificates::unix_time(SystemTime::now());
        let host = gethostname().ok().map(|name| name.to_string_lossy().into_owned());
        let status = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "uptime_seconds": started.elapsed().as_secs_f64(),
            "host": host,
            "phase": phase,
            "drain": {
                "announce_seconds": drain.announce.as_secs_f64(),
                "deadline_seconds": drain.deadline.as_secs_f64(),
                "seconds_left": running.drain_time_left().map(|left| left.as_secs_f64()),
            },
            "bans": bans(&running.bans().report()),
            "recorder": running.recorders().first().map(|first| recorder(&first.report())),
            "evacuation": running.evacuation().as_ref().map(evacuation::progress),
            "fleet": running.fleet().as_ref().map(fleet),
            "listeners": running.report().iter().map(|report| listener(report, now)).collect::<Value>(),
        });
        ("application/json", status.to_string().into_bytes())
    };
    state.replies.reply("status".to_owned(), &state.running, build).await
}

fn bans(report: &BanReport) -> Value {
    json!({
        "active": report.active,
        "entries": report.entries,
        "total": counts(&report.bans, BanOrigin::as_str),
        "strikes": report.strikes,
        "file": report.file.as_ref().map(|file| file.display().to_string()),
        "file_error": report.file_error,
    })
}

fn recorder(report: &RecorderReport) -> Value {
    json!({
        "memory_used": report.memory_used,
        "memory": report.memory,
        "connections": report.connections,
        "written": report.written,
        "skipped": counts(&report.skipped, SkipReason::as_str),
    })
}

fn listener(report: &ListenerReport, now: f64) -> Value {
    let latency = &report.latency;
    let within = LATENCY_BOUNDS.iter().zip(latency.within);
    let within: Value = within.map(|(bound, count)| json!({ "le": bound.as_secs_f64(), "count": count })).collect();
    json!({
        "name": report.name,
        "address": report.endpoint.to_string(),
        "state": report.state.as_str(),
        "problem": report.problem,
        "certificate": report.certificate.as_ref().map(|certificate| certificates::json(certificate, now)),
        "open": report.open,
        "sessions": report.sessions,
        "max_open": report.max_open,
        "accepted": report.accepted,
        "errors": report.errors(),
        "closed": counts(&report.closed, CloseReason::as_str),
        "rejected": counts(&report.rejected, CloseReason::as_str),
        "messages": counts(&report.messages, Outcome::as_str),
        "message_seconds": { "count": latency.count, "sum": latency.sum.as_secs_f64(), "within": within },
        "bytes_in": report.bytes_in,
        "bytes_out": report.bytes_out,
        "accept_errors": counts(&report.accept_errors, |class| class),
    })
}

fn fleet(report: &FleetReport) -> Value {
    json!({
        "link": report.link,
        "state": report.state.as_str(),
        "state_seconds": report.state_time.as_secs_f64(),
        "connected": report.is_connected,
        "error": report.error,
        "instances": report.instances,
        "sources": report.sources,
        "calls": report.calls,
        "failures": counts(&report.failures, FailureClass::as_str),
        "renewals": report.renewals,
        "links": report.links.iter().map(link).collect::<Value>(),
    })
}

fn link(link: &FleetLinkReport) -> Value {
    json!({
        "name": link.name,
        "connected": link.is_connected,
        "error": link.error,
        "sent": link.sent,
        "received": link.received,
        "lost": link.lost,
        "failures": link.failures,
    })
}

fn counts<T: Copy>(counts: &[(T, u64)], name: fn(T) -> &'static str) -> Map<String, Value> {
    counts.iter().map(|(label, count)| (name(*label).to_owned(), (*count).into())).collect()
}
