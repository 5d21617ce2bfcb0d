//! What can be asked: the routes, each a few lines.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, Uri};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use switchboard::server::Readiness;
use tokio::sync::oneshot;

use crate::admin::{AdminCommand, AdminState, auth, dashboard, metrics, status};

/// What runs, key by key. It is nobody's business but the operator's.
pub(super) const CONFIG: &str = "/config";

type Asked = State<Arc<AdminState>>;

pub(super) fn router(state: Arc<AdminState>) -> Router {
    Router::new()
        .route("/", get(dashboard::dashboard))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_page))
        .route("/status", get(|State(state): Asked| async move { Json(status::status(&state.running, state.started)) }))
        .route("/connections", get(|State(state): Asked| async move { Json(status::connections(&state.running)) }))
        .route("/connections/{id}", delete(kill))
        .route("/log-level", get(|State(state): Asked| async move { state.log.level() + "\n" }).put(log_level))
        .route(CONFIG, get(configuration))
        .route("/drain", post(drain))
        .route("/reload", post(reload))
        .fallback(unknown)
        .layer(from_fn_with_state(state.clone(), auth::authorize))
        .with_state(state)
}

async fn unknown(uri: Uri) -> (StatusCode, String) {
    let known = "/ /livez /readyz /metrics /status /connections /config /log-level /drain /reload";
    (StatusCode::NOT_FOUND, format!("there is no {}; there are {known}\n", uri.path()))
}

async fn ready(State(state): Asked) -> (StatusCode, String) {
    match state.running.readiness() {
        Readiness::Ready => (StatusCode::OK, "ready\n".to_owned()),
        Readiness::NotReady(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason + "\n"),
    }
}

async fn metrics_page(State(state): Asked) -> Response {
    let text = metrics::text(&state.running.report(), state.running.phase(), state.running.is_stopping());
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}

async fn configuration(State(state): Asked) -> Response {
    ([(CONTENT_TYPE, "application/json")], state.configuration()).into_response()
}

async fn kill(State(state): Asked, Path(id): Path<String>) -> (StatusCode, String) {
    match id.parse().map(|id| state.running.kill(id)) {
        Ok(true) => (StatusCode::OK, format!("connection {id} is being closed\n")),
        _ => (StatusCode::NOT_FOUND, format!("there is no connection {id}\n")),
    }
}

async fn log_level(State(state): Asked, level: String) -> (StatusCode, String) {
    match state.log.set_level(level.trim()) {
        Ok(()) => (StatusCode::OK, state.log.level() + "\n"),
        Err(error) => (StatusCode::UNPROCESSABLE_ENTITY, error + "\n"),
    }
}

async fn drain(State(state): Asked) -> (StatusCode, &'static str) {
    if state.running.is_stopping() {
        return (StatusCode::ACCEPTED, "draining already\n");
    }
    match state.commands.try_send(AdminCommand::Drain) {
        Ok(()) => (StatusCode::ACCEPTED, "draining\n"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "busy; try again\n"),
    }
}

async fn reload(State(state): Asked) -> (StatusCode, Json<Value>) {
    let (answer, answered) = oneshot::channel();
    let refused = |errors: Vec<String>| Json(json!({ "errors": errors }));
    if state.commands.try_send(AdminCommand::Reload(answer)).is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, refused(vec!["busy; try again".to_owned()]));
    }
    match answered.await {
        Ok(Ok(())) => (StatusCode::OK, Json(json!({ "reloaded": true }))),
        Ok(Err(errors)) => (StatusCode::UNPROCESSABLE_ENTITY, refused(errors)),
        // Whoever would have done it is stopping.
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, refused(vec!["the server is draining".to_owned()])),
    }
}
