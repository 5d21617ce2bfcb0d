//! `GET /connections`: pages of the open connections as JSON.

use std::net::IpAddr;

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use switchboard::settings::Network;
use switchboard::{Address, Connection, Networks, Running};

use crate::admin::parameters::{Accepted, Parameters, invalid_query};
use crate::admin::state::SharedState;

/// Connections of a page, unless the request asks for another number.
const DEFAULT_LIMIT: usize = 200;
/// The largest page.
const MAX_LIMIT: usize = 10_000;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Query {
    limit: Option<usize>,
    /// The `next` of the previous page.
    after: u64,
    listener: Option<String>,
    /// A network or an IP address, for all its ports, or an address as it is printed.
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
    /// The user and the process of a peer on a Unix socket.
    uid: Option<u32>,
    pid: Option<i32>,
    age_seconds: f64,
    messages: u64,
    bytes_in: u64,
    bytes_out: u64,
    state: &'static str,
}

impl Accepted for Query {
    const ACCEPTED: &str = "limit (1 to 10000), after (a number, the next of the previous page), listener and peer, \
                            each at most once";
}

pub(super) async fn connections(uri: Uri, State(state): SharedState, Parameters(query): Parameters<Query>) -> Response {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return (StatusCode::UNPROCESSABLE_ENTITY, invalid_query::<Query>(&uri)).into_response();
    }
    let peer = match query.peer.as_deref().map(Peer::parse).transpose() {
        Ok(peer) => peer,
        Err(error) => return (StatusCode::UNPROCESSABLE_ENTITY, error).into_response(),
    };
    let key = format!("connections {query:?}");
    let build = move |running: &Running| {
        let page = serde_json::to_vec(&page(running, &query, peer.as_ref(), limit));
        ("application/json", page.expect("a page is valid JSON"))
    };
    state.replies.reply(key, &state.running, build).await
}

/// The peers that a query selects.
enum Peer {
    Network(Networks),
    /// An address with a port, the path of a Unix socket, or another name.
    Printed(String),
}

impl Peer {
    /// The error is the text of the reply.
    fn parse(text: &str) -> Result<Self, String> {
        let address = text.split_once('/').map_or(text, |(address, _)| address);
        if address.parse::<IpAddr>().is_err() {
            return Ok(Self::Printed(text.to_owned()));
        }
        let network: Network = text.parse().map_err(|error| format!("invalid query: peer: {error}\n"))?;
        Ok(Self::Network(Networks::from_iter([network])))
    }

    fn includes(&self, address: &Address) -> bool {
        match self {
            Self::Network(network) => address.ip().is_some_and(|ip| network.contains(ip)),
            Self::Printed(text) => address.to_string() == *text,
        }
    }
}

fn page(running: &Running, query: &Query, peer: Option<&Peer>, limit: usize) -> Page {
    let matches = |connection: &Connection| {
        query.listener.as_deref().is_none_or(|listener| connection.listener() == listener)
            && peer.is_none_or(|peer| peer.includes(connection.peer()))
    };
    // One more, to know whether this is the last page.
    let mut found = running.connections_after(query.after, limit + 1, matches);
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
            uid: connection.credentials().map(|credentials| credentials.uid),
            pid: connection.credentials().and_then(|credentials| credentials.pid),
            age_seconds: connection.opened().elapsed().as_secs_f64(),
            messages: connection.messages(),
            bytes_in: connection.bytes_in(),
            bytes_out: connection.bytes_out(),
            state: if connection.drain().is_draining() { "draining" } else { "open" },
        }
    }
}
