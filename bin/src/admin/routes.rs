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
use serde_json::json;
use switchboard::server::Readiness;
use switchboard::settings::text::escape_unsafe;

use crate::admin::auth::{Access, authorize};
use crate::admin::forward::forward;
use crate::admin::parameters::{Accepted, NoParameters, Parameters};
use crate::admin::state::{AdminState, SharedState};
use crate::admin::{bans, commands, connections, evacuation, history, listener, metrics, status, tap};
use crate::config::{self, Shape};

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
const ROUTES: [Route; 25] = [
    read("/", "dashboard", |method| on(method, dashboard)),
    health("/livez", "200 while the process runs", |method| on(method, livez)),
    health("/readyz", "200 if every listener accepts connections, else 503", |method| on(method, readyz)),
    health("/metrics", "metrics in the Prometheus text format", |method| on(method, metrics::metrics)),
    read("/status", "state and counters of each listener, as JSON", |method| on(method, status::status)),
    read("/connections", "open connections, as JSON", |method| on(method, connections::connections))
        .with(&["limit", "after", "listener", "peer"]),
    read("/bans", "bans in effect, as JSON", |method| on(method, bans::list)).with(&["limit", "after"]),
    read("/listeners/{name}", "configuration, limits and last closed connections of a listener, as JSON", |method| {
        on(method, listener::listener)
    }),
    read("/history", "numbers of the last seconds or minutes, as JSON", |method| on(method, history::history))
        .with(&["seconds", "minutes", "listener"]),
    read("/reasons", "what the close reasons mean, as JSON", |method| on(method, listener::reasons)),
    read("/drain", "waits for the end of a drain, and returns its result as JSON", |method| {
        on(method, commands::drained)
    }),
    read("/log-level", "log level or filter", |method| on(method, log_level)),
    protected(
        Method::GET,
        "/config",
        "effective configuration without secrets, as JSON, or as TOML with origins",
        |method| on(method, config),
    )
    .with(&["origin"]),
    protected(Method::GET, "/log", "last lines of the log, as JSON", |method| on(method, log_tail)).with(&["after"]),
    protected(Method::DELETE, "/connections", "close the connections of a listener or peer", |method| {
        on(method, connections::close)
    })
    .with(&["listener", "peer"]),
    protected(Method::DELETE, "/connections/{id}", "close a connection", |method| on(method, close_connection)),
    protected(Method::GET, "/connections/{id}/tap", "messages of a connection, as server-sent events", |method| {
        on(method, tap::tap)
    })
    .with(&["duration"]),
    protected(
        Method::POST,
        "/connections/{id}/record",
        "write a file with the last messages of a connection",
        |method| on(method, tap::record),
    ),
    protected(Method::POST, "/bans", "ban a network, described as JSON", |method| on(method, bans::add)),
    protected(Method::DELETE, "/bans/{*network}", "remove a ban", |method| on(method, bans::remove)).with(&["origin"]),
    protected(Method::PUT, "/log-level", "set the log level or filter", |method| on(method, set_log_level)),
    protected(Method::POST, "/drain", "drain and stop", |method| on(method, commands::drain)).with(&["wait"]),
    protected(Method::POST, "/evacuate", "close a share of the connections at a rate", |method| {
        on(method, evacuation::evacuate)
    })
    .with(&["share", "rate", "listener", "source", "dry_run"]),
    protected(Method::DELETE, "/evacuate", "cancel the evacuation in progress", |method| {
        on(method, evacuation::cancel)
    }),
    protected(Method::POST, "/reload", "reload the configuration", |method| on(method, commands::reload))
        .with(&["force", "dry_run"]),
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
        let forwarded = route.route_layer(from_fn_with_state(state.clone(), forward));
        router = router.route(path, forwarded.route_layer(authorized(access)));
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

/// The parameters of `GET /config`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ConfigParameters {
    /// TOML with the origin of each value, instead of JSON.
    origin: bool,
}

impl Accepted for ConfigParameters {
    const ACCEPTED: &str = "origin (true or false)";
}

async fn config(
    State(state): SharedState,
    Parameters(ConfigParameters { origin }): Parameters<ConfigParameters>,
) -> impl IntoResponse {
    let config = state.config.lock().clone();
    if origin {
        return ([(CONTENT_TYPE, "text/plain; charset=utf-8")], config.effective.print(Shape::Origins));
    }
    let running = config::running(&state.initial, &config);
    ([(CONTENT_TYPE, "application/json")], config::print_json(&running))
}

/// The parameters of `GET /log`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct LogParameters {
    /// The `next` of an earlier reply: only the lines since then.
    after: u64,
}

impl Accepted for LogParameters {
    const ACCEPTED: &str = "after (a number, the next of an earlier reply)";
}

async fn log_tail(
    State(state): SharedState,
    Parameters(LogParameters { after }): Parameters<LogParameters>,
) -> Response {
    let Some(log) = &state.log else { return no_log().into_response() };
    let (next, lines) = log.tail(after);
    Json(json!({ "next": next, "lines": lines })).into_response()
}
