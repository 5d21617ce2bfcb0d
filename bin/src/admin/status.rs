//! The state of the server as JSON.

use std::time::Instant;

use serde_json::{Map, Value, json};
use switchboard::metrics::LATENCY_BOUNDS;
use switchboard::server::ListenerReport;
use switchboard::{Connection, Phase, Running};

/// The body of `GET /status`.
pub(super) fn status(running: &Running, started: Instant) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "uptime_seconds": started.elapsed().as_secs_f64(),
        "phase": phase(running),
        "listeners": running.report().iter().map(listener).collect::<Vec<_>>(),
    })
}

fn phase(running: &Running) -> &'static str {
    match running.phase() {
        Phase::Cutting => "cutting",
        Phase::Draining { .. } => "draining",
        _ if running.is_stopping() => "draining",
        _ => "running",
    }
}

/// The body of `GET /connections`.
pub(super) fn connections(running: &Running) -> Value {
    let mut connections = running.connections();
    connections.sort_by_key(Connection::id);
    json!({ "connections": connections.iter().map(connection).collect::<Vec<_>>() })
}

fn listener(report: &ListenerReport) -> Value {
    let latency = &report.latency;
    let bounds = LATENCY_BOUNDS.iter().map(|bound| bound.as_secs_f64());
    let within: Vec<_> = bounds.zip(latency.within).map(|(le, count)| json!({ "le": le, "count": count })).collect();
    json!({
        "name": report.name,
        "address": report.endpoint.to_string(),
        "state": report.state.as_str(),
        "open": report.open,
        "sessions": report.sessions,
        "accepted": report.accepted,
        "closed": counts(report.closed.iter().map(|(reason, count)| (reason.as_str(), *count))),
        "rejected": counts(report.rejected.iter().map(|(reason, count)| (reason.as_str(), *count))),
        "messages": counts(report.messages.iter().map(|(outcome, count)| (outcome.as_str(), *count))),
        "message_seconds": { "count": latency.count, "sum": latency.sum.as_secs_f64(), "within": within },
        "bytes_in": report.bytes_in,
        "bytes_out": report.bytes_out,
        "accept_errors": counts(report.accept_errors.iter().copied()),
    })
}

fn counts(counts: impl Iterator<Item = (&'static str, u64)>) -> Map<String, Value> {
    counts.map(|(name, count)| (name.to_owned(), count.into())).collect()
}

fn connection(connection: &Connection) -> Value {
    json!({
        "id": connection.id(),
        "listener": connection.listener(),
        "peer": connection.peer().to_string(),
        "age_seconds": connection.opened().elapsed().as_secs_f64(),
        "messages": connection.messages(),
        "bytes_in": connection.bytes_in(),
        "bytes_out": connection.bytes_out(),
        "state": if connection.drain().is_draining() { "draining" } else { "open" },
    })
}
