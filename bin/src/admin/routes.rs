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
use tokio::sync::oneshot;

use crate::admin::{Desk, Wish, guard, metrics, page, status};

/// What runs, key by key. It is nobody's business but the operator's.
pub(super) const CONFIG: &str = "/config";

type Asked = State<Arc<Desk>>;

pub(super) fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/", get(page::page))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_page))
        .route("/status", get(|State(desk): Asked| async move { Json(status::status(&desk.running, desk.started)) }))
        .route("/connections", get(|State(desk): Asked| async move { Json(status::connections(&desk.running)) }))
        .route("/connections/{id}", delete(kill))
        .route("/log-level", get(|State(desk): Asked| async move { desk.log.level() + "\n" }).put(log_level))
        .route(CONFIG, get(configuration))
        .route("/drain", post(drain))
        .route("/reload", post(reload))
        .fallback(unknown)
        .layer(from_fn_with_state(desk.clone(), guard::guard))
        .with_state(desk)
}

async fn unknown(uri: Uri) -> (StatusCode, String) {
    let known = "/ /livez /readyz /metrics /status /connections /config /log-level /drain /reload";
    (StatusCode::NOT_FOUND, format!("there is no {}; there are {known}\n", uri.path()))
}

async fn ready(State(desk): Asked) -> (StatusCode, String) {
    match desk.running.is_ready() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why + "\n"),
    }
}

async fn metrics_page(State(desk): Asked) -> Response {
    let text = metrics::text(&desk.running.report(), desk.running.phase(), desk.running.is_stopping());
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}

async fn configuration(State(desk): Asked) -> Response {
    ([(CONTENT_TYPE, "application/json")], desk.configuration()).into_response()
}

async fn kill(State(desk): Asked, Path(id): Path<String>) -> (StatusCode, String) {
    match id.parse().map(|id| desk.running.kill(id)) {
        Ok(true) => (StatusCode::OK, format!("connection {id} is being closed\n")),
        _ => (StatusCode::NOT_FOUND, format!("there is no connection {id}\n")),
    }
}

async fn log_level(State(desk): Asked, level: String) -> (StatusCode, String) {
    match desk.log.set_level(level.trim()) {
        Ok(()) => (StatusCode::OK, desk.log.level() + "\n"),
        Err(error) => (StatusCode::UNPROCESSABLE_ENTITY, error + "\n"),
    }
}

async fn drain(State(desk): Asked) -> (StatusCode, &'static str) {
    if desk.running.is_stopping() {
        return (StatusCode::ACCEPTED, "draining already\n");
    }
    match desk.wishes.try_send(Wish::Drain) {
        Ok(()) => (StatusCode::ACCEPTED, "draining\n"),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "busy; try again\n"),
    }
}

async fn reload(State(desk): Asked) -> (StatusCode, Json<Value>) {
    let (answer, answered) = oneshot::channel();
    let refused = |errors: Vec<String>| Json(json!({ "errors": errors }));
    if desk.wishes.try_send(Wish::Reload(answer)).is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, refused(vec!["busy; try again".to_owned()]));
    }
    match answered.await {
        Ok(Ok(())) => (StatusCode::OK, Json(json!({ "reloaded": true }))),
        Ok(Err(errors)) => (StatusCode::UNPROCESSABLE_ENTITY, refused(errors)),
        // Whoever would have done it is stopping.
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, refused(vec!["the server is draining".to_owned()])),
    }
}
