//! The state of the server and its connections as JSON.

use axum::Json;
use axum::extract::State;
use serde_json::{Map, Value, json};
use switchboard::metrics::{LATENCY_BOUNDS, Outcome};
use switchboard::server::ListenerReport;
use switchboard::{CloseReason, Connection, Phase};

use crate::admin::state::SharedState;

pub(super) async fn status(State(state): SharedState) -> Json<Value> {
    let phase = match state.running.phase() {
        Phase::Cutting => "cutting",
        Phase::Running if !state.running.is_stopping() => "running",
        _ => "draining",
    };
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "uptime_seconds": state.started.elapsed().as_secs_f64(),
        "phase": phase,
        "listeners": state.running.report().iter().map(listener).collect::<Value>(),
    }))
}

pub(super) async fn connections(State(state): SharedState) -> Json<Value> {
    let mut connections = state.running.connections();
    connections.sort_by_key(Connection::id);
    Json(json!({ "connections": connections.iter().map(connection).collect::<Value>() }))
}

fn listener(report: &ListenerReport) -> Value {
    let latency = &report.latency;
    let within = LATENCY_BOUNDS.iter().zip(latency.within);
    let within: Value = within.map(|(bound, count)| json!({ "le": bound.as_secs_f64(), "count": count })).collect();
    json!({
        "name": report.name,
        "address": report.endpoint.to_string(),
        "state": report.state.as_str(),
        "problem": report.problem,
        "open": report.open,
        "sessions": report.sessions,
        "accepted": report.accepted,
        "closed": counts(&report.closed, CloseReason::as_str),
        "rejected": counts(&report.rejected, CloseReason::as_str),
        "messages": counts(&report.messages, Outcome::as_str),
        "message_seconds": { "count": latency.count, "sum": latency.sum.as_secs_f64(), "within": within },
        "bytes_in": report.bytes_in,
        "bytes_out": report.bytes_out,
        "accept_errors": counts(&report.accept_errors, |class| class),
    })
}

fn counts<T: Copy>(counts: &[(T, u64)], name: fn(T) -> &'static str) -> Map<String, Value> {
    counts.iter().map(|(label, count)| (name(*label).to_owned(), (*count).into())).collect()
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
