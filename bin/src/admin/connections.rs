//! `GET /connections`: pages of the open connections as JSON.

use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use switchboard::settings::text::escape_unsafe;
use switchboard::{Address, Connection, Running};

use crate::admin::parameters::Parameters;
use crate::admin::state::SharedState;

/// Connections of a page, unless the request asks for another number.
const DEFAULT_LIMIT: usize = 200;
/// The largest page.
const MAX_LIMIT: usize = 10_000;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Query {
    limit: Option<String>,
    /// The `next` of the previous page.
    after: Option<String>,
    listener: Option<String>,
    /// An IP address with a port, or the address alone for all its ports, or another address as it is printed.
    peer: Option<String>,
}

#[derive(Serialize)]
struct Page {
    connections: Vec<Entry>,
    /// The `after` of the next page; `None` after the last one.
    next: Option<u64>,
}

#[derive(Serialize)]
struct Entry {
    id: u64,
    listener: String,
    peer: String,
    age_seconds: f64,
    messages: u64,
    bytes_in: u64,
    bytes_out: u64,
    state: &'static str,
}

pub(super) async fn connections(State(state): SharedState, Parameters(query): Parameters<Query>) -> Response {
    let numbers = number("limit", &query.limit, DEFAULT_LIMIT, 1..=MAX_LIMIT)
        .and_then(|limit| number("after", &query.after, 0, 0..=u64::MAX).map(|after| (limit, after)));
    let (limit, after) = match numbers {
        Ok(numbers) => numbers,
        Err(error) => return (StatusCode::UNPROCESSABLE_ENTITY, error).into_response(),
    };
    let key = format!("connections {query:?}");
    let build = move |running: &Running| {
        let page = serde_json::to_vec(&page(running, &query, limit, after));
        ("application/json", page.expect("a page is valid JSON"))
    };
    state.replies.reply(key, &state.running, build).await
}

/// The number in a parameter. The error names the parameter and its range.
fn number<T>(name: &str, text: &Option<String>, default: T, range: RangeInclusive<T>) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display,
{
    let Some(text) = text else { return Ok(default) };
    text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
        let (from, to, found) = (range.start(), range.end(), escape_unsafe(text, |_| false));
        format!("invalid query: {name}={found} is not a number from {from} to {to}\n")
    })
}

fn page(running: &Running, query: &Query, limit: usize, after: u64) -> Page {
    let peer_ip: Option<IpAddr> = query.peer.as_deref().and_then(|peer| peer.parse().ok());
    let is_peer = |peer: &str, address: &Address| match (peer_ip, address) {
        (Some(ip), Address::Inet(address)) => address.ip().to_canonical() == ip.to_canonical(),
        (_, address) => address.to_string() == peer,
    };
    let matches = |connection: &Connection| {
        query.listener.as_deref().is_none_or(|listener| connection.listener() == listener)
            && query.peer.as_deref().is_none_or(|peer| is_peer(peer, connection.peer()))
    };
    // One more, to know whether this is the last page.
    let mut found = running.connections_after(after, limit + 1, matches);
    let is_last = found.len() <= limit;
    found.truncate(limit);
    let next = if is_last { None } else { found.last().map(Connection::id) };
    Page { connections: found.iter().map(Entry::new).collect(), next }
}

impl Entry {
    fn new(connection: &Connection) -> Self {
        Self {
            id: connection.id(),
            listener: connection.listener().to_owned(),
            peer: connection.peer().to_string(),
            age_seconds: connection.opened().elapsed().as_secs_f64(),
            messages: connection.messages(),
            bytes_in: connection.bytes_in(),
            bytes_out: connection.bytes_out(),
            state: if connection.drain().is_draining() { "draining" } else { "open" },
        }
    }
}
