//! `switchboard evacuate`: begins an evacuation, and prints its progress until the connections have closed.

use axum::http::Method;
use form_urlencoded::Serializer;
use serde_json::json;

use crate::client::address::AdminAddress;
use crate::client::commands::{Printed, json_line, line};
use crate::client::http::{ClientError, REPLY_TIMEOUT, send, successful};
use crate::client::options::EvacuateOptions;
use crate::client::poll::{self, status};
use crate::client::report::{Evacuation, EvacuationPlan, Status};
use crate::client::text;
use crate::exit::FAILED;

/// `progress` prints a line at once.
pub(super) async fn evacuate(
    server: &AdminAddress,
    options: &EvacuateOptions,
    progress: impl Fn(&str),
) -> Result<Printed, ClientError> {
    let json = options.server.json;
    if options.cancel {
        let reply = send(server, Method::DELETE, "/evacuate", String::new(), REPLY_TIMEOUT).await?;
        let text = line(&successful(server, reply)?.text());
        return Ok(Printed::out(if json { json_line(&json!({ "cancelled": true })) } else { text }));
    }
    let pid = status(server).await?.pid;
    let reply = send(server, Method::POST, &path(options), String::new(), REPLY_TIMEOUT).await?;
    let reply = successful(server, reply)?;
    if options.dry_run {
        let EvacuationPlan { open, chosen, seconds } = reply.json()?;
        let time = text::duration(seconds);
        let text = format!("would close {chosen} of {open} connections within {time}\n");
        return Ok(Printed::out(if json { line(&reply.text()) } else { text }));
    }
    let begun: Evacuation = reply.json()?;
    let Evacuation { id, open, chosen, rate, .. } = &begun;
    let text = format!("evacuating {chosen} of {open} connections at {}\n", text::escape(rate));
    if options.no_wait {
        return Ok(Printed::out(if json { line(&reply.text()) } else { text }));
    }
    let progress = |text: &str| {
        if !json {
            progress(text);
        }
    };
    progress(&text);
    let ended = ended(server, pid, *id, progress).await?;
    let status = if ended.state == "finished" { 0 } else { FAILED };
    Ok(Printed { out: if json { json_line(&json!(ended)) } else { summary(&ended) }, status, ..Printed::default() })
}

fn path(options: &EvacuateOptions) -> String {
    let mut query = Serializer::new(String::new());
    query.extend_pairs(options.share.map(|share| ("share", share.to_string())));
    query.extend_pairs(options.rate.map(|rate| ("rate", rate.to_string())));
    query.extend_pairs(options.listener.as_ref().map(|name| ("listener", name)));
    query.extend_pairs(options.source.map(|network| ("source", network.to_string())));
    if options.dry_run {
        query.append_pair("dry_run", "true");
    }
    format!("/evacuate?{}", query.finish())
}

fn summary(ended: &Evacuation) -> String {
    let Evacuation { state, chosen, signalled, closed, remaining, .. } = ended;
    let mut text = if state == "finished" { "evacuated".to_owned() } else { text::escape(state) };
    text += &format!("; {closed} of {chosen} connections closed\n");
    if *remaining > 0 {
        text += &format!("{remaining} have a message in progress and close when it ends\n");
    }
    if state == "finished" && signalled < chosen {
        text += &format!("{} had closed before\n", chosen - signalled);
    }
    text
}

/// Prints the number of closed connections when it changes, until the evacuation has ended.
async fn ended(server: &AdminAddress, pid: u32, id: u64, progress: impl Fn(&str)) -> Result<Evacuation, ClientError> {
    let mut printed = 0;
    let check = |Status { evacuation, .. }: Status| {
        let other = || ClientError::Other("another evacuation has begun".to_owned());
        let now = evacuation.filter(|evacuation| evacuation.id == id).ok_or_else(other)?;
        if now.state != "in_progress" {
            return Ok(Some(*now));
        }
        if now.closed != printed {
            printed = now.closed;
            progress(&format!("closed: {printed}\n"));
        }
        Ok(None)
    };
    // A process that was replaced drains its connections.
    let stopped = || ClientError::Other("the server has stopped, so the evacuation has ended".to_owned());
    poll::until(server, pid, check).await?.ok_or_else(stopped)
}
