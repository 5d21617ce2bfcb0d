//! The routes of the admin endpoint, declared once in [`ROUTES`], and the dashboard.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, SERVER, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::middleware::{from_extractor, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, any, on};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use switchboard::server::{Changes, Readiness};
use switchboard::settings::text::escape_unsafe;
use tokio::sync::oneshot;

use crate::admin::auth::{Access, authorize};
use crate::admin::parameters::{Accepted, NoParameters, Parameters};
use crate::admin::state::{AdminState, ReloadRequest, SharedState};
use crate::admin::{connections, metrics, status};

/// The value of the header `Server`, by which a client recognizes an admin endpoint.
pub(crate) const SERVER_NAME: &str = "switchboard";

/// The dashboard, built from `bin/page`. It loads nothing from other hosts.
const DASHBOARD: &str = include_str!("../../page/dist/index.html");
/// Allows only the script and the style of the dashboard.
const DASHBOARD_POLICY: &str = include_str!("../../page/dist/policy");

struct Route {
    method: Method,
    path: &'static str,
    access: Access,
    /// The query parameters that the handler reads. Others are rejected.
    parameters: &'static [&'static str],
    help: &'static str,
    handler: Handler,
}

type Handler = fn(MethodFilter) -> MethodRouter<Arc<AdminState>>;

/// Every route. The router, the check of each request and the reply to unknown paths use this table.
const ROUTES: [Route; 12] = [
    read("/", "dashboard", |method| on(method, dashboard)),
    health("/livez", "200 while the process runs", |method| on(method, livez)),
    health("/readyz", "200 if every listener accepts connections, else 503", |method| on(method, readyz)),
    health("/metrics", "metrics in the Prometheus text format", |method| on(method, metrics::metrics)),
    read("/status", "state and counters of each listener, as JSON", |method| on(method, status::status)),
    read("/connections", "open connections, as JSON", |method| on(method, connections::connections))
        .with(&["limit", "after", "listener", "peer"]),
    read("/log-level", "log level or filter", |method| on(method, log_level)),
    protected(Method::GET, "/config", "effective configuration without secrets, as JSON", |method| on(method, config)),
    protected(Method::DELETE, "/connections/{id}", "close a connection", |method| on(method, close_connection)),
    protected(Method::PUT, "/log-level", "set the log level or filter", |method| on(method, set_log_level)),
    protected(Method::POST, "/drain", "drain and stop", |method| on(method, drain)),
    protected(Method::POST, "/reload", "reload the configuration", |method| on(method, reload)).with(&["force"]),
];

const fn health(path: &'static str, help: &'static str, handler: Handler) -> Route {
    Route { method: Method::GET, path, access: Access::Health, parameters: &[], help, handler }
}

const fn read(path: &'static str, help: &'static str, handler: Handler) -> Route {
    Route { method: Method::GET, path, access: Access::Read, parameters: &[], help, handler }
}

const fn protected(method: Method, path: &'static str, help: &'static str, handler: Handler) -> Route {
    Route { method, path, access: Access::Protected, parameters: &[], help, handler }
}

impl Route {
    const fn with(mut self, parameters: &'static [&'static str]) -> Self {
        self.parameters = parameters;
        self
    }
}

pub(super) fn router(state: Arc<AdminState>) -> Router {
    let mut router = Router::new();
    let authorized = |access| from_fn_with_state((state.clone(), access), authorize);
    for Route { method, path, access, parameters, handler, .. } in ROUTES {
        let mut route = handler(MethodFilter::try_from(method).expect("a standard method"));
        if parameters.is_empty() {
            route = route.route_layer(from_extractor::<Parameters<NoParameters>>());
        }
        router = router.route(path, route.route_layer(authorized(access)));
    }
    let fallback = any(not_found).layer(authorized(Access::Read));
    router.fallback_service(fallback.with_state(state.clone())).layer(map_response(common_headers)).with_state(state)
}

/// The headers of every reply. A reply is about this moment, so no cache keeps it.
async fn common_headers(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(SERVER, HeaderValue::from_static(SERVER_NAME));
    response
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
        _ => (StatusCode::NOT_FOUND, format!("connection {} not found\n", escape_unsafe(&id, |_| false))),
    }
}

async fn log_level(State(state): SharedState) -> (StatusCode, String) {
    match &state.log {
        Some(log) => (StatusCode::OK, log.level() + "\n"),
        None => no_log(),
    }
}

async fn set_log_level(State(state): SharedState, level: String) -> (StatusCode, String) {
    let Some(log) = &state.log else { return no_log() };
    match log.set_level(level.trim()) {
        Ok(()) => (StatusCode::OK, log.level() + "\n"),
        Err(error) => (StatusCode::UNPROCESSABLE_ENTITY, error + "\n"),
    }
}

fn no_log() -> (StatusCode, String) {
    (StatusCode::NOT_FOUND, "this program has its own tracing subscriber, which sets the level\n".to_owned())
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

impl Accepted for ReloadParameters {
    const ACCEPTED: &str = "force (true or false)";
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
