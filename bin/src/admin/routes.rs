//! The routes of the admin endpoint, declared once in [`ROUTES`], and the dashboard.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{from_extractor, from_fn_with_state};
use axum::response::IntoResponse;
use axum::routing::{MethodFilter, MethodRouter, on};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use switchboard::server::{Changes, Readiness};
use tokio::sync::oneshot;

use crate::admin::parameters::{NoParameters, Parameters};
use crate::admin::state::{AdminState, ReloadRequest, SharedState};
use crate::admin::{auth, metrics, status};

/// The dashboard, built from `bin/page`. It loads nothing from other hosts.
const DASHBOARD: &str = include_str!("../../page/dist/index.html");
/// Allows only the script and the style of the dashboard.
const DASHBOARD_POLICY: &str = include_str!("../../page/dist/policy");

struct Route {
    method: Method,
    path: &'static str,
    /// It modifies the server or returns sensitive data, so it requires the token.
    is_protected: bool,
    /// The query parameters that the handler reads. Others are rejected.
    parameters: &'static [&'static str],
    help: &'static str,
    handler: Handler,
}

type Handler = fn(MethodFilter) -> MethodRouter<Arc<AdminState>>;

/// Every route. The router, the check of the token and the reply to unknown paths use this table.
const ROUTES: [Route; 12] = [
    public("/", "dashboard", |method| on(method, dashboard)),
    public("/livez", "200 while the process runs", |method| on(method, livez)),
    public("/readyz", "200 if every listener accepts connections, else 503", |method| on(method, readyz)),
    public("/metrics", "metrics in the Prometheus text format", |method| on(method, metrics::metrics)),
    public("/status", "state and counters of each listener, as JSON", |method| on(method, status::status)),
    public("/connections", "open connections, as JSON", |method| on(method, status::connections)),
    public("/log-level", "log level or filter", |method| on(method, log_level)),
    protected(Method::GET, "/config", "effective configuration without secrets, as JSON", |method| on(method, config)),
    protected(Method::DELETE, "/connections/{id}", "close a connection", |method| on(method, close_connection)),
    protected(Method::PUT, "/log-level", "set the log level or filter", |method| on(method, set_log_level)),
    protected(Method::POST, "/drain", "drain and stop", |method| on(method, drain)),
    protected(Method::POST, "/reload", "reload the configuration", |method| on(method, reload)).with(&["force"]),
];

const fn public(path: &'static str, help: &'static str, handler: Handler) -> Route {
    Route { method: Method::GET, path, is_protected: false, parameters: &[], help, handler }
}

const fn protected(method: Method, path: &'static str, help: &'static str, handler: Handler) -> Route {
    Route { method, path, is_protected: true, parameters: &[], help, handler }
}

impl Route {
    const fn with(mut self, parameters: &'static [&'static str]) -> Self {
        self.parameters = parameters;
        self
    }
}

pub(super) fn router(state: Arc<AdminState>) -> Router {
    let mut router = Router::new();
    for Route { method, path, is_protected, parameters, handler, .. } in ROUTES {
        let mut route = handler(MethodFilter::try_from(method).expect("a standard method"));
        if parameters.is_empty() {
            route = route.route_layer(from_extractor::<Parameters<NoParameters>>());
        }
        if is_protected {
            route = route.route_layer(from_fn_with_state(state.clone(), auth::authenticate));
        }
        router = router.route(path, route);
    }
    router.fallback(not_found).layer(from_fn_with_state(state.clone(), auth::check_request)).with_state(state)
}

async fn not_found(uri: Uri) -> (StatusCode, String) {
    let routes = ROUTES.map(|Route { method, path, parameters, help, .. }| {
        let query = if parameters.is_empty() { String::new() } else { format!(" ({})", parameters.join(", ")) };
        format!("{method} {path} - {help}{query}\n")
    });
    (StatusCode::NOT_FOUND, format!("{} not found; available routes:\n{}", uri.path(), routes.concat()))
}

async fn dashboard() -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, DASHBOARD_POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
    ];
    (headers, DASHBOARD)
}

async fn livez() -> &'static str {
    "alive\n"
}

async fn readyz(State(state): SharedState) -> (StatusCode, String) {
    match state.running.readiness() {
        Readiness::Ready => (StatusCode::OK, "ready\n".to_owned()),
        Readiness::NotReady(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason + "\n"),
    }
}

async fn close_connection(State(state): SharedState, Path(id): Path<String>) -> (StatusCode, String) {
    match id.parse().map(|id| state.running.kill(id)) {
        Ok(true) => (StatusCode::OK, format!("connection {id} is being closed\n")),
        _ => (StatusCode::NOT_FOUND, format!("connection {id} not found\n")),
    }
}

async fn log_level(State(state): SharedState) -> String {
    state.log.level() + "\n"
}

async fn set_log_level(State(state): SharedState, level: String) -> (StatusCode, String) {
    match state.log.set_level(level.trim()) {
        Ok(()) => (StatusCode::OK, state.log.level() + "\n"),
        Err(error) => (StatusCode::UNPROCESSABLE_ENTITY, error + "\n"),
    }
}

async fn config(State(state): SharedState) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], state.config.lock().clone())
}

async fn drain(State(state): SharedState) -> (StatusCode, &'static str) {
    if state.running.is_stopping() {
        return (StatusCode::ACCEPTED, "already draining\n");
    }
    state.drain.notify_one();
    (StatusCode::ACCEPTED, "draining\n")
}

/// The parameters of `POST /reload`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ReloadParameters {
    /// The reload may remove every current listener.
    force: bool,
}

async fn reload(
    State(state): SharedState,
    Parameters(ReloadParameters { force }): Parameters<ReloadParameters>,
) -> (StatusCode, Json<Value>) {
    let (result, reloaded) = oneshot::channel();
    let errors = |errors: &[String]| Json(json!({ "errors": errors }));
    if state.reloads.try_send(ReloadRequest { is_forced: force, result }).is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, errors(&["busy; try again".to_owned()]));
    }
    match reloaded.await {
        Ok(Ok(Changes { started, changed, stopped, .. })) => {
            let body = json!({ "reloaded": true, "started": started, "changed": changed, "stopped": stopped });
            (StatusCode::OK, Json(body))
        }
        Ok(Err(found)) => (StatusCode::UNPROCESSABLE_ENTITY, errors(&found)),
        // The control loop has ended.
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, errors(&["the server is draining".to_owned()])),
    }
}
