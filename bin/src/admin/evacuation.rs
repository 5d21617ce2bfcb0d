//! `POST /evacuate` begins an evacuation, `DELETE /evacuate` cancels it, and `GET /status` has its progress.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use switchboard::server::{Evacuation, EvacuationError, EvacuationReport};
use switchboard::settings::InvalidValue;

use crate::admin::parameters::{Accepted, Parameters, invalid_query};
use crate::admin::state::SharedState;

/// Texts, because an error of the parser names the parameter.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Query {
    share: Option<String>,
    rate: Option<String>,
    listener: Option<String>,
    source: Option<String>,
    /// Nothing changes; the reply has what would happen.
    dry_run: bool,
}

impl Accepted for Query {
    const ACCEPTED: &str = "share (above 0, at most 1) and rate (such as 200/s), which are required, and listener, source (a \
                            network, such as 10.0.0.0/8) and dry_run (true or false), each at most once";
}

impl Query {
    /// The error is the text of the reply.
    fn evacuation(&self, uri: &Uri) -> Result<Evacuation, String> {
        let (Some(share), Some(rate)) = (&self.share, &self.rate) else { return Err(invalid_query::<Self>(uri)) };
        let invalid = |name, error: InvalidValue| format!("invalid query: {name}: {error}\n");
        // The framework rejects a share out of range, such as NaN.
        let share = share.parse().unwrap_or(f64::NAN);
        let mut evacuation = Evacuation::new(share, rate.parse().map_err(|error| invalid("rate", error))?);
        evacuation.listener.clone_from(&self.listener);
        if let Some(source) = &self.source {
            evacuation.source = Some(source.parse().map_err(|error| invalid("source", error))?);
        }
        Ok(evacuation)
    }
}

pub(super) async fn evacuate(uri: Uri, State(state): SharedState, Parameters(query): Parameters<Query>) -> Response {
    let evacuation = match query.evacuation(&uri) {
        Ok(evacuation) => evacuation,
        Err(error) => return (StatusCode::UNPROCESSABLE_ENTITY, error).into_response(),
    };
    let running = state.running.clone();
    // Both visit every open connection.
    let result = tokio::task::spawn_blocking(move || {
        if query.dry_run {
            let plan = running.plan_evacuation(&evacuation)?;
            let (open, chosen, seconds) = (plan.open, plan.chosen, plan.duration.as_secs_f64());
            return Ok((StatusCode::OK, json!({ "open": open, "chosen": chosen, "seconds": seconds })));
        }
        running.evacuate(evacuation).map(|report| (StatusCode::ACCEPTED, progress(&report)))
    });
    match result.await {
        Ok(Ok((status, body))) => (status, Json(body)).into_response(),
        Ok(Err(error)) => {
            let status = match error {
                EvacuationError::InProgress(_) | EvacuationError::Draining => StatusCode::CONFLICT,
                _ => StatusCode::UNPROCESSABLE_ENTITY,
            };
            (status, format!("{error}\n")).into_response()
        }
        // The panic hook has logged the panic.
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

pub(super) async fn cancel(State(state): SharedState) -> (StatusCode, &'static str) {
    if state.running.cancel_evacuation() {
        (StatusCode::OK, "the evacuation is cancelled\n")
    } else {
        (StatusCode::NOT_FOUND, "no evacuation is in progress\n")
    }
}

pub(super) fn progress(report: &EvacuationReport) -> Value {
    let Evacuation { share, rate, listener, source, .. } = &report.evacuation;
    json!({
        "id": report.id,
        "state": report.state.as_str(),
        "share": share,
        "rate": rate.to_string(),
        "listener": listener,
        "source": source.map(|network| network.to_string()),
        "open": report.open,
        "chosen": report.chosen,
        "signalled": report.signalled,
        "closed": report.closed,
        "remaining": report.remaining(),
        "seconds": report.elapsed.as_secs_f64(),
    })
}
