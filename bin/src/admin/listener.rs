//! `GET /listeners/NAME`: the way of a connection to the handler, the limits, and the connections that closed last.
//! `GET /reasons`: what the close reasons mean.

use std::time::SystemTime;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use switchboard::server::ListenerDetails;
use switchboard::settings::text::escape_unsafe;
use switchboard::settings::{Network, Networks, TlsStart};
use switchboard::{CloseReason, ClosedConnection, Kind};
use tokio::time::Instant;

use crate::admin::state::SharedState;
use crate::certificates;
use crate::config::Config;

/// Sections of a listener whose values are shown. They contain numbers and durations only.
const SECTIONS: [&str; 3] = ["limits", "timeouts", "rate"];

pub(super) async fn reasons() -> Json<Value> {
    let reason = |reason: CloseReason| json!({ "reason": reason.as_str(), "sentence": reason.sentence(), "is_failure": reason.is_failure() });
    Json(CloseReason::ALL.into_iter().map(reason).collect())
}

pub(super) async fn listener(State(state): SharedState, Path(name): Path<String>) -> Response {
    let Some(details) = state.running.listener_details(&name) else {
        return (StatusCode::NOT_FOUND, format!("listener {} not found\n", escape_unsafe(&name, |_| false)))
            .into_response();
    };
    let config = state.config.lock().clone();
    let ListenerDetails { certificates, handshakes, recently_closed, .. } = details;
    let now = certificates::unix_time(SystemTime::now());
    let certificates = certificates.iter().map(|certificate| certificates::json(certificate, now));
    Json(json!({
        "name": name,
        // A listener that a reload has removed has no configuration.
        "config": config_of(&config, &name),
        "certificates": certificates.collect::<Value>(),
        "handshakes": handshakes,
        "recently_closed": recently_closed.iter().map(|closed| closed_connection(closed, now)).collect::<Value>(),
    }))
    .into_response()
}

fn config_of(config: &Config, name: &str) -> Option<Value> {
    let listener = config.listeners.get(name)?;
    let spec = &listener.spec;
    let networks = |networks: &Networks| Vec::<Network>::from(networks.clone()).len();
    let tls = spec.tls.as_ref().map(|tls| {
        json!({
            "on_request": tls.start == TlsStart::OnRequest,
            "requires_client_certificate": tls.client_ca.is_some(),
        })
    });
    let whole = config.effective.json();
    let sections = SECTIONS.map(|section| (section.to_owned(), whole["listeners"][name][section].clone()));
    let mut value = json!({
        "listen": spec.endpoint.to_string(),
        "kind": if listener.kind == Kind::Stream { "connections" } else { "datagrams" },
        "proxy": spec.proxy.is_some(),
        "tls": tls,
        "allow": networks(&spec.access.allow),
        "deny": networks(&spec.access.deny),
        "framing": listener.framing.name(),
        "layers": listener.layers,
        "handler": listener.handler,
    });
    value.as_object_mut()?.extend(sections);
    Some(value)
}

fn closed_connection(closed: &ClosedConnection, now: f64) -> Value {
    let ago = Instant::now().saturating_duration_since(closed.closed);
    json!({
        "id": closed.id,
        "peer": closed.peer.to_string(),
        "uid": closed.credentials.map(|credentials| credentials.uid),
        "pid": closed.credentials.and_then(|credentials| credentials.pid),
        "closed_at": now - ago.as_secs_f64(),
        "age_seconds": closed.age.as_secs_f64(),
        "reason": closed.reason.as_str(),
        "error": closed.error.as_deref().map(|error| escape_unsafe(error, |_| false)),
        "messages": closed.messages,
        "bytes_in": closed.bytes_in,
        "bytes_out": closed.bytes_out,
    })
}
