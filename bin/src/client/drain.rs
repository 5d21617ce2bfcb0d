//! `switchboard drain`: begins the drain and prints its progress until the server has stopped, and how it ended.

use std::time::Duration;

use crate::client::address::AdminAddress;
use crate::client::commands::{Printed, json_line, line};
use crate::client::http::{ClientError, REPLY_TIMEOUT, send, successful};
use crate::client::poll::{self, status};
use crate::client::report::{Drained, Listener, Status};
use crate::exit::INCOMPLETE;
use axum::http::Method;
use serde_json::json;

/// Maximum time of a drain. The server ends it at `drain.deadline`.
const MAX_DRAIN: Duration = Duration::from_secs(24 * 60 * 60);

/// `progress` prints a line at once.
pub(super) async fn drain(
    server: &AdminAddress,
    waits: bool,
    json: bool,
    progress: impl Fn(&str),
) -> Result<Printed, ClientError> {
    let pid = status(server).await?.pid;
    if !waits {
        let reply = successful(server, send(server, Method::POST, "/drain", String::new(), REPLY_TIMEOUT).await?)?;
        let json_text = json_line(&json!({ "draining": true, "pid": pid }));
        return Ok(Printed::out(if json { json_text } else { line(&reply.text()) }));
    }
    let progress = |line: &str| {
        if !json {
            progress(line);
        }
    };
    progress("draining\n");
    let result = async {
        let reply = send(server, Method::POST, "/drain?wait=true", String::new(), MAX_DRAIN).await?;
        successful(server, reply)?.json::<Drained>()
    };
    let (Drained { open, cut, stop_failures }, ()) = tokio::try_join!(result, stopped(server, pid, progress))?;
    let mut text = format!("stopped; connections: {open} open at the start of the drain, {cut} aborted\n");
    if stop_failures > 0 {
        text += &format!("handlers that did not stop: {stop_failures}; the log has their errors\n");
    }
    let json_text =
        json_line(&json!({ "stopped": true, "pid": pid, "open": open, "cut": cut, "stop_failures": stop_failures }));
    let is_complete = cut == 0 && stop_failures == 0;
    Ok(Printed {
        out: if json { json_text } else { text },
        status: if is_complete { 0 } else { INCOMPLETE },
        ..Printed::default()
    })
}

/// Prints the number of open connections when it changes, until the process has ended.
async fn stopped(server: &AdminAddress, pid: u32, progress: impl Fn(&str)) -> Result<(), ClientError> {
    let mut open = None;
    let check = |status: Status| {
        let now: u64 = status.listeners.iter().map(Listener::clients).sum();
        if open.replace(now) != Some(now) {
            progress(&format!("open connections: {now}\n"));
        }
        Ok(None::<()>)
    };
    poll::until(server, pid, check).await.map(|_| ())
}
