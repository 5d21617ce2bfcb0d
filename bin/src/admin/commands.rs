//! The routes that reload and drain the server.

use std::io;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use switchboard::Drained;
use switchboard::server::Changes;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::admin::parameters::{Accepted, Parameters};
use crate::admin::state::{AdminState, ReloadMode, ReloadRequest, Reloaded, SharedState};
use crate::admin::timeouts::HEARTBEAT;

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

/// The result of the drain. If it takes longer, spaces are sent before it: a connection without traffic is closed.
async fn result(state: &AdminState) -> Response {
    let mut drained = state.drained.subscribe();
    let content_type = [(CONTENT_TYPE, "application/json")];
    match next_part(&mut drained).await {
        Some(Ok(json)) => (content_type, json).into_response(),
        Some(Err(_)) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        None => (content_type, Body::from_stream(parts(drained))).into_response(),
    }
}

fn parts(drained: watch::Receiver<Option<Drained>>) -> impl Stream<Item = io::Result<String>> {
    stream::unfold(Some(drained), |drained| async {
        let mut drained = drained?;
        Some(match next_part(&mut drained).await {
            Some(last) => (last, None),
            None => (Ok(" ".to_owned()), Some(drained)),
        })
    })
}

/// The result of the drain in JSON. `None`: it is time to send something else.
async fn next_part(drained: &mut watch::Receiver<Option<Drained>>) -> Option<io::Result<String>> {
    let result = timeout(HEARTBEAT, drained.wait_for(Option::is_some)).await.ok()?;
    Some(result.map_err(io::Error::other).map(|drained| {
        let Drained { open, cut, stop_failures, .. } = drained.unwrap_or_default();
        json!({ "open": open, "cut": cut, "stop_failures": stop_failures }).to_string()
    }))
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;
    use crate::admin::timeouts::IDLE_TIMEOUT;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_waits_for_a_long_drain_receives_something_in_each_idle_timeout() {
        let result = watch::Sender::new(None);
        let reply = tokio::spawn(parts(result.subscribe()).try_collect::<Vec<_>>());
        tokio::time::sleep(10 * IDLE_TIMEOUT).await;
        let mut drained = Drained::default();
        (drained.open, drained.cut) = (3, 1);
        result.send_replace(Some(drained));
        let chunks = reply.await.unwrap().unwrap();
        assert!(chunks.len() > 20, "{chunks:?}");
        let json: Value = serde_json::from_str(&chunks.concat()).unwrap();
        assert_eq!(json, json!({ "open": 3, "cut": 1, "stop_failures": 0 }));
    }
}
