//! The commands that send a few requests: connections, reload and the log level.

use axum::http::Method;
use form_urlencoded::Serializer;
use serde::Deserialize;
use serde_json::json;

use crate::client::address::AdminAddress;
use crate::client::http::{ClientError, REPLY_TIMEOUT, get, send, successful};
use crate::client::options::ConnectionsOptions;
use crate::client::reload_request::request_reload;
use crate::client::report::{Connection, Page};
use crate::client::text::{self, Align, Column, escape};
use crate::config_diff;
use crate::exit::FAILED;

/// Connections that `switchboard connections` requests at once. More requests follow, up to `--limit`.
const PAGE_SIZE: u64 = 1000;

/// What a command prints on standard output, and on standard error.
#[derive(Debug, Default)]
pub(super) struct Printed {
    pub(super) out: String,
    pub(super) err: String,
    /// The exit status, if the output was written.
    pub(super) status: u8,
}

impl Printed {
    pub(super) fn out(out: impl Into<String>) -> Self {
        Self { out: out.into(), ..Self::default() }
    }
}

pub(super) async fn connections(server: &AdminAddress, options: &ConnectionsOptions) -> Result<Printed, ClientError> {
    if options.kill_all {
        return kill_all(server, options).await;
    }
    if !options.kill.is_empty() {
        return Ok(kill_each(server, &options.kill, options.server.json).await);
    }
    let mut found = Page::default();
    loop {
        let left = options.limit - found.connections.len() as u64;
        let page = page(server, options, left.min(PAGE_SIZE), found.next).await?;
        // An empty page has no next one.
        let is_last = page.next.is_none() || page.connections.is_empty();
        found.next = page.next;
        found.connections.extend(page.connections);
        if is_last || found.connections.len() as u64 >= options.limit {
            break;
        }
    }
    if options.server.json {
        return Ok(Printed::out(json_line(&json!(found))));
    }
    let mut printed = Printed::out(if found.connections.is_empty() {
        "no connections\n".to_owned()
    } else {
        connection_table(&found.connections, text::width())
    });
    if found.next.is_some() {
        printed.err =
            format!("note: only the oldest {} are listed; raise --limit to list more\n", found.connections.len());
    }
    Ok(printed)
}

async fn page(
    server: &AdminAddress,
    options: &ConnectionsOptions,
    limit: u64,
    after: Option<u64>,
) -> Result<Page, ClientError> {
    let mut query = Serializer::new(String::new());
    query.append_pair("limit", &limit.to_string());
    query.extend_pairs(after.map(|id| ("after", id.to_string())));
    query.extend_pairs(selection(options));
    get(server, &format!("/connections?{}", query.finish())).await?.json()
}

/// The parameters that select connections.
fn selection(options: &ConnectionsOptions) -> impl Iterator<Item = (&'static str, &String)> {
    let listener = options.listener.as_ref().map(|name| ("listener", name));
    listener.into_iter().chain(options.peer.as_ref().map(|peer| ("peer", peer)))
}

async fn kill_all(server: &AdminAddress, options: &ConnectionsOptions) -> Result<Printed, ClientError> {
    #[derive(Deserialize)]
    struct Reply {
        closing: u64,
    }
    let query = Serializer::new(String::new()).extend_pairs(selection(options)).finish();
    let path = format!("/connections?{query}");
    let reply = send(server, Method::DELETE, &path, String::new(), REPLY_TIMEOUT).await?;
    let Reply { closing } = successful(server, reply)?.json()?;
    let text = match closing {
        0 => "no connections\n".to_owned(),
        1 => "1 connection is being closed\n".to_owned(),
        _ => format!("{closing} connections are being closed\n"),
    };
    Ok(Printed::out(if options.server.json { json_line(&json!({ "closing": closing })) } else { text }))
}

/// Closes each connection. One that is not open is an error, and the others are closed.
async fn kill_each(server: &AdminAddress, ids: &[u64], json: bool) -> Printed {
    let (mut printed, mut closing) = (Printed::default(), Vec::new());
    for &id in ids {
        match kill(server, id).await {
            Ok(text) => {
                printed.out += if json { "" } else { &text };
                closing.push(id);
            }
            Err(error) => {
                printed.err += &format!("error: {}\n", error.describe(server));
                printed.status = FAILED;
            }
        }
    }
    if json {
        printed.out = json_line(&json!({ "closing": closing }));
    }
    printed
}

fn connection_table(connections: &[Connection], width: usize) -> String {
    const COLUMNS: [Column; 8] = [
        ("ID", Align::Right),
        ("LISTENER", Align::Left),
        ("PEER", Align::Left),
        ("AGE", Align::Right),
        ("MESSAGES", Align::Right),
        ("IN", Align::Right),
        ("OUT", Align::Right),
        ("STATE", Align::Left),
    ];
    let row = |connection: &Connection| {
        vec![
            connection.id.to_string(),
            connection.listener.clone(),
            connection.peer.clone(),
            text::duration(connection.age_seconds),
            connection.messages.to_string(),
            text::size(connection.bytes_in),
            text::size(connection.bytes_out),
            connection.state.clone(),
        ]
    };
    text::table(&COLUMNS, &connections.iter().map(row).collect::<Vec<_>>(), width, 2)
}

/// Closes a connection. Returns the text of the server.
pub(super) async fn kill(server: &AdminAddress, id: u64) -> Result<String, ClientError> {
    let reply = send(server, Method::DELETE, &format!("/connections/{id}"), String::new(), REPLY_TIMEOUT).await?;
    Ok(line(&successful(server, reply)?.text()))
}

pub(super) async fn reload(server: &AdminAddress, force: bool, json: bool) -> Result<Printed, ClientError> {
    let (reply, reloaded) = request_reload(server, if force { "?force=true" } else { "" }).await?;
    let has_errors = !reloaded.errors.is_empty();
    if json {
        let out = reply.text().trim_end().to_owned() + "\n";
        return Ok(Printed { out, status: if has_errors { FAILED } else { 0 }, ..Printed::default() });
    }
    if has_errors {
        let errors: String = reloaded.errors.iter().map(|error| format!("error: {}\n", escape(error))).collect();
        let err = format!("{errors}the reload was rejected; nothing has changed\n");
        return Ok(Printed { err, status: FAILED, ..Printed::default() });
    }
    let mut text = String::from("reloaded\n");
    for (what, names) in [("started", reloaded.started), ("changed", reloaded.changed), ("stopped", reloaded.stopped)] {
        if !names.is_empty() {
            text += &format!("listeners {what}: {}\n", escape(&names.join(", ")));
        }
    }
    text += &reloaded.keys.iter().map(config_diff::line).collect::<String>();
    if reloaded.keys.is_empty() {
        text += "no changes\n";
    }
    Ok(Printed::out(text))
}

pub(super) async fn log_level(server: &AdminAddress, level: Option<&str>, json: bool) -> Result<Printed, ClientError> {
    let reply = match level {
        Some(level) => {
            let reply = send(server, Method::PUT, "/log-level", level.to_owned(), REPLY_TIMEOUT).await?;
            successful(server, reply)?
        }
        None => get(server, "/log-level").await?,
    };
    let level = line(&reply.text());
    Ok(Printed::out(if json { json_line(&json!({ "level": level.trim_end() })) } else { level }))
}

/// A text of the server as one line.
pub(super) fn line(text: &str) -> String {
    escape(text.trim_end()) + "\n"
}

pub(super) fn json_line(json: &serde_json::Value) -> String {
    format!("{json}\n")
}
