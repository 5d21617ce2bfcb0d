//! `GET /connections`: pages of the open connections as JSON.

use std::net::IpAddr;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use switchboard::settings::Network;
use switchboard::settings::text::escape_unsafe;
use switchboard::{Address, Connection, Networks, Running};

use crate::admin::parameters::{Accepted, Parameters, invalid_query};
use crate::admin::state::SharedState;

/// Connections of a page, unless the request asks for another number.
const DEFAULT_LIMIT: usize = 200;
/// What a peer must be.
const PEER: &str = "neither a network or IP address, such as 10.0.0.0/8, nor an address as it is listed";
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
    let selection = match Selection::new(&state.running, query.listener.clone(), query.peer.as_deref()) {
        Ok(selection) => selection,
        Err(error) => return error.into_response(),
    };
    let key = format!("connections {query:?}");
    let build = move |running: &Running| {
        let page = serde_json::to_vec(&page(running, query.after, &selection, limit));
        ("application/json", page.expect("a page is valid JSON"))
    };
    state.replies.reply(key, &state.running, build).await
}

/// The parameters of `DELETE /connections`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CloseQuery {
    listener: Option<String>,
    peer: Option<String>,
}

impl Accepted for CloseQuery {
    const ACCEPTED: &str = "listener and peer, each at most once";
}

/// Closes the selected connections. Those that open meanwhile are not closed.
pub(super) async fn close(State(state): SharedState, Parameters(query): Parameters<CloseQuery>) -> Response {
    if query.listener.is_none() && query.peer.is_none() {
        let error = "name the connections to close, by listener, peer or both; POST /drain closes all of them\n";
        return (StatusCode::UNPROCESSABLE_ENTITY, error).into_response();
    }
    let selection = match Selection::new(&state.running, query.listener, query.peer.as_deref()) {
        Ok(selection) => selection,
        Err(error) => return error.into_response(),
    };
    let running = state.running.clone();
    let closed = tokio::task::spawn_blocking(move || {
        let found = running.connections_after(0, usize::MAX, |connection| selection.includes(connection));
        found.iter().for_each(Connection::kill);
        found.len()
    });
    match closed.await {
        Ok(closing) => Json(json!({ "closing": closing })).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The connections that a query selects.
struct Selection {
    listener: Option<String>,
    peer: Option<Peer>,
}

impl Selection {
    /// The error is a reply.
    fn new(running: &Running, listener: Option<String>, peer: Option<&str>) -> Result<Self, (StatusCode, String)> {
        let unknown = listener.as_deref().filter(|name| running.listener_details(name).is_none());
        if let Some(name) = unknown {
            let known: Vec<_> = running.addresses().into_iter().map(|(name, _)| name).collect();
            let (name, known) = (escape_unsafe(name, |_| false), known.join(", "));
            return Err((StatusCode::NOT_FOUND, format!("listener {name} not found; the listeners are {known}\n")));
        }
        let peer = peer.map(Peer::parse).transpose().map_err(|error| (StatusCode::UNPROCESSABLE_ENTITY, error))?;
        Ok(Self { listener, peer })
    }

    fn includes(&self, connection: &Connection) -> bool {
        self.listener.as_deref().is_none_or(|listener| connection.listener() == listener)
            && self.peer.as_ref().is_none_or(|peer| peer.includes(connection.peer()))
    }
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
            let is_address = text.contains(':') || text.starts_with('[');
            return match is_address {
                true => Ok(Self::Printed(text.to_owned())),
                false => Err(format!("invalid query: peer: {:?} is {PEER}\n", escape_unsafe(text, |_| false))),
            };
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

fn page(running: &Running, after: u64, selection: &Selection, limit: usize) -> Page {
    // One more, to know whether this is the last page.
    let mut found = running.connections_after(after, limit + 1, |connection| selection.includes(connection));
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
