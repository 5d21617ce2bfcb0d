//! The routes that reload and drain the server.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use switchboard::Drained;
use switchboard::server::Changes;
use tokio::sync::oneshot;

use crate::admin::parameters::{Accepted, Parameters};
use crate::admin::state::{AdminState, ReloadMode, ReloadRequest, Reloaded, SharedState};

/// The parameters of `POST /reload`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ReloadParameters {
    /// The reload may remove every current listener.
    force: bool,
    /// Nothing changes; the reply has what would change.
    dry_run: bool,
}

impl Accepted for ReloadParameters {
    const ACCEPTED: &str = "force and dry_run (true or false)";
}

pub(super) async fn reload(
    State(state): SharedState,
    Parameters(ReloadParameters { force, dry_run }): Parameters<ReloadParameters>,
) -> (StatusCode, Json<Value>) {
    let (result, reloaded) = oneshot::channel();
    let errors = |errors: &[String]| Json(json!({ "errors": errors }));
    let mode = ReloadMode { is_forced: force, is_dry_run: dry_run };
    if state.reloads.try_send(ReloadRequest { mode, result }).is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, errors(&["busy; try again".to_owned()]));
    }
    match reloaded.await {
        Ok(Ok(Reloaded { changes, differences })) => {
            let keys = json!(differences);
            let body = match changes {
                Some(Changes { started, changed, stopped, .. }) => json!({
                    "reloaded": true, "started": started, "changed": changed, "stopped": stopped, "keys": keys,
                }),
                None => json!({ "reloaded": false, "keys": keys }),
            };
            (StatusCode::OK, Json(body))
        }
        Ok(Err(found)) => (StatusCode::UNPROCESSABLE_ENTITY, errors(&found)),
        // The control loop has ended.
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, errors(&["the server is draining".to_owned()])),
    }
}

/// The parameters of `POST /drain`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct DrainParameters {
    /// The reply comes when the drain has ended, with its result.
    wait: bool,
}

impl Accepted for DrainParameters {
    const ACCEPTED: &str = "wait (true or false)";
}

pub(super) async fn drain(
    State(state): SharedState,
    Parameters(DrainParameters { wait }): Parameters<DrainParameters>,
) -> Response {
    let is_draining = state.running.is_stopping();
    if !is_draining {
        state.drain.notify_one();
    }
    match (wait, is_draining) {
        (true, _) => result(&state).await,
        (false, true) => (StatusCode::ACCEPTED, "already draining\n").into_response(),
        (false, false) => (StatusCode::ACCEPTED, "draining\n").into_response(),
    }
}

/// Replies when the drain has ended. The admin endpoint finishes this request before the process exits.
pub(super) async fn drained(State(state): SharedState) -> Response {
    if !state.running.is_stopping() {
        return (StatusCode::CONFLICT, "no drain is in progress\n").into_response();
    }
    result(&state).await
}

async fn result(state: &AdminState) -> Response {
    let mut drained = state.drained.subscribe();
    let result = drained.wait_for(Option::is_some).await.ok().and_then(|drained| *drained);
    match result {
        Some(Drained { open, cut, stop_failures, .. }) => {
            Json(json!({ "open": open, "cut": cut, "stop_failures": stop_failures })).into_response()
        }
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
