//! `/bans`: lists, adds and removes bans.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use switchboard::Running;
use switchboard::bans::{Ban, BanOrigin, Bans, NewBan};
use switchboard::deadline_timer::timeout;
use switchboard::settings::text::escape_unsafe;
use switchboard::settings::{Interval, Network};

use crate::admin::parameters::{Accepted, Parameters, invalid_query};
use crate::admin::state::SharedState;

/// Bans of a page, unless the request asks for another number.
const DEFAULT_BANS: usize = 1_000;
/// The largest page of bans.
const MAX_BANS: usize = 10_000;
/// Up to this many bans, the reply to a change waits until the file has it. Larger files take long to write.
const MAX_SAVED_AT_ONCE: usize = 1_000;
/// How long the reply to a change waits for the file of the bans.
const SAVE_TIMEOUT: Duration = Duration::from_secs(2);

/// The parameters of `GET /bans`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ListParameters {
    limit: Option<usize>,
    /// The `next` of the previous page.
    after: Option<Network>,
}

impl Accepted for ListParameters {
    const ACCEPTED: &str = "limit (1 to 10000) and after (a network, the next of the previous page)";
}

/// The parameters of `DELETE /bans/NETWORK`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RemoveParameters {
    /// Only a ban with this origin.
    origin: Option<BanOrigin>,
}

impl Accepted for RemoveParameters {
    const ACCEPTED: &str = "origin (operator, strikes or fail2ban)";
}

/// The body of `POST /bans`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with the key network")]
struct Request {
    network: Network,
    duration: Option<Interval>,
    reason: Option<String>,
    #[serde(default)]
    origin: BanOrigin,
}

#[derive(Serialize)]
struct Page {
    bans: Vec<Entry>,
    /// The `after` of the next page; `None` after the last one.
    next: Option<Network>,
}

#[derive(Serialize)]
struct Entry {
    network: Network,
    reason: String,
    origin: BanOrigin,
    times: u32,
    age_seconds: f64,
    seconds_left: f64,
}

/// The reply to a change.
#[derive(Serialize)]
struct Changed {
    #[serde(flatten)]
    ban: Entry,
    /// Listeners that accept the network nevertheless, because their `access.allow` names it.
    exempt_listeners: Vec<String>,
    /// Why the change is not in the file, if so.
    file_error: Option<String>,
}

impl From<&Ban> for Entry {
    fn from(ban: &Ban) -> Self {
        Self {
            network: ban.network,
            reason: ban.reason.to_string(),
            origin: ban.origin,
            times: ban.times,
            age_seconds: ban.began.elapsed().unwrap_or_default().as_secs_f64(),
            seconds_left: ban.time_left().as_secs_f64(),
        }
    }
}

pub(super) async fn list(
    uri: Uri,
    State(state): SharedState,
    Parameters(query): Parameters<ListParameters>,
) -> Response {
    let limit = query.limit.unwrap_or(DEFAULT_BANS);
    if !(1..=MAX_BANS).contains(&limit) {
        return (StatusCode::UNPROCESSABLE_ENTITY, invalid_query::<ListParameters>(&uri)).into_response();
    }
    let build = move |running: &Running| {
        // One more, to know whether this is the last page.
        let mut bans = running.bans().list(query.after, limit + 1);
        let is_last = bans.len() <= limit;
        bans.truncate(limit);
        let next = if is_last { None } else { bans.last().map(|ban| ban.network) };
        let page = Page { bans: bans.iter().map(Entry::from).collect(), next };
        ("application/json", serde_json::to_vec(&page).expect("a page is valid JSON"))
    };
    state.replies.reply(format!("bans {query:?}"), &state.running, build).await
}

pub(super) async fn add(State(state): SharedState, body: String) -> Response {
    let request: Request = match serde_json::from_str(&body) {
        Ok(request) => request,
        Err(error) => return unprocessable(&format!("invalid ban: {error}")),
    };
    let Request { network, duration, reason, origin } = request;
    if origin == BanOrigin::Strikes {
        return unprocessable(&"origin: only the server bans for strikes; use operator or fail2ban");
    }
    let exempt_listeners = state.running.listeners_exempting(network);
    if !exempt_listeners.is_empty() && exempt_listeners.len() == state.running.addresses().len() {
        let why = "access.allow of every listener names it, so a ban would have no effect";
        return (StatusCode::CONFLICT, format!("{network} cannot be banned: {why}\n")).into_response();
    }
    let bans = state.running.bans();
    if bans.is_suspended() {
        return upgrading();
    }
    let mut new = NewBan::new(network).reason(reason.unwrap_or_default()).origin(origin);
    if let Some(duration) = duration {
        new = new.duration(*duration);
    }
    match bans.add(new) {
        Ok(ban) => Json(changed(bans, &ban, exempt_listeners).await).into_response(),
        Err(error) => unprocessable(&error),
    }
}

pub(super) async fn remove(
    State(state): SharedState,
    Path(network): Path<String>,
    Parameters(RemoveParameters { origin }): Parameters<RemoveParameters>,
) -> Response {
    let bans = state.running.bans();
    if bans.is_suspended() {
        return upgrading();
    }
    let removed = match network.parse() {
        Ok(network) => bans.remove(network, origin),
        Err(error) => return unprocessable(&error),
    };
    match removed {
        Some(ban) => Json(changed(bans, &ban, Vec::new()).await).into_response(),
        None => {
            let origin = origin.map(|origin| format!(" by {origin}")).unwrap_or_default();
            (StatusCode::NOT_FOUND, format!("no ban{origin} of {network}\n")).into_response()
        }
    }
}

async fn changed(bans: &Bans, ban: &Ban, exempt_listeners: Vec<String>) -> Changed {
    if bans.report().active <= MAX_SAVED_AT_ONCE {
        let _ = timeout(SAVE_TIMEOUT, bans.save()).await; // the report has the error
    }
    Changed { ban: ban.into(), exempt_listeners, file_error: bans.report().file_error }
}

fn unprocessable(error: &impl ToString) -> Response {
    let error = escape_unsafe(&error.to_string(), |_| false) + "\n";
    (StatusCode::UNPROCESSABLE_ENTITY, error).into_response()
}

fn upgrading() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "an upgrade is in progress; try again when it has ended\n").into_response()
}
