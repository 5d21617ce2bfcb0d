//! `GET /history`: the last seconds or minutes of the server or of a listener, as columns.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use switchboard::settings::text::escape_unsafe;

use super::sample::{COLUMNS, Row};
use super::{History, MINUTE, MINUTES, SECONDS, Step};
use crate::admin::parameters::{Accepted, Parameters, invalid_query};
use crate::admin::state::SharedState;

/// Rows, unless the request asks for another number.
const DEFAULT_SECONDS: usize = 300;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Query {
    seconds: Option<usize>,
    minutes: Option<usize>,
    listener: Option<String>,
}

impl Accepted for Query {
    const ACCEPTED: &str = "seconds (1 to 3600) or minutes (1 to 1440), and listener, each at most once";
}

pub(crate) async fn history(uri: Uri, State(state): SharedState, Parameters(query): Parameters<Query>) -> Response {
    let rows = match (query.seconds, query.minutes) {
        (None, None) => Some((Step::Second, DEFAULT_SECONDS)),
        (Some(seconds @ 1..=SECONDS), None) => Some((Step::Second, seconds)),
        (None, Some(minutes @ 1..=MINUTES)) => Some((Step::Minute, minutes)),
        _ => None,
    };
    let Some((step, limit)) = rows else {
        return (StatusCode::UNPROCESSABLE_ENTITY, invalid_query::<Query>(&uri)).into_response();
    };
    let Some((last, rows)) = state.history.read(step, query.listener.as_deref(), limit) else {
        let name = escape_unsafe(&query.listener.unwrap_or_default(), |_| false);
        let causes = "no such listener, one that is not among the first 100, or one that has just started";
        return (StatusCode::NOT_FOUND, format!("no history of a listener {name}: {causes}\n")).into_response();
    };
    let key = format!("history {query:?}");
    let history = state.history.clone();
    let build = move |_: &_| {
        let body = columns(&history, step, query.listener.as_deref(), last, &rows);
        ("application/json", body.to_string().into_bytes())
    };
    state.replies.reply(key, &state.running, build).await
}

fn columns(history: &History, step: Step, listener: Option<&str>, last: u64, rows: &[Row]) -> Value {
    let step_seconds = match step {
        Step::Second => 1,
        Step::Minute => MINUTE,
    };
    // The clock of today, so that a correction of the clock moves the whole history.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let epoch = now.saturating_sub(history.second());
    let column = |place: usize| rows.iter().map(|row| json!(row[place].get())).collect::<Value>();
    let columns: Map<_, _> =
        COLUMNS.iter().enumerate().map(|(place, name)| ((*name).to_owned(), column(place))).collect();
    json!({
        "pid": std::process::id(),
        "listener": listener,
        "step_seconds": step_seconds,
        "last": last,
        "last_time": epoch + last * step_seconds,
        "columns": columns,
    })
}
