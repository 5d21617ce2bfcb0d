//! `switchboard drain`: begins the drain and prints its progress until the server has stopped.

use std::time::Duration;

use axum::http::Method;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::client::address::AdminAddress;
use crate::client::commands::{Printed, json_line, line};
use crate::client::http::{ClientError, REPLY_TIMEOUT, get, send, successful};
use crate::client::report::{Listener, Status};

/// Time between two requests for the progress of a drain.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Maximum time without a reply during a drain. The drain itself ends at `drain.deadline`.
const MAX_SILENCE: Duration = Duration::from_secs(60);

/// `progress` prints a line at once.
pub(super) async fn drain(
    server: &AdminAddress,
    waits: bool,
    json: bool,
    progress: impl Fn(&str),
) -> Result<Printed, ClientError> {
    let process = async || Ok::<_, ClientError>(get(server, "/status").await?.json::<Status>()?);
    let pid = process().await?.pid;
    let reply = successful(server, send(server, Method::POST, "/drain", String::new(), REPLY_TIMEOUT).await?)?;
    if !waits {
        return Ok(Printed::out(if json {
            json_line(&json!({ "draining": true, "pid": pid }))
        } else {
            line(&reply.text())
        }));
    }
    if !json {
        progress(&line(&reply.text()));
    }
    let (mut open, mut answered) = (None, Instant::now());
    loop {
        match process().await {
            // The service manager has started it again.
            Ok(status) if status.pid != pid => break,
            Ok(status) => {
                answered = Instant::now();
                let now: u64 = status.listeners.iter().map(Listener::clients).sum();
                if open.replace(now) != Some(now) && !json {
                    progress(&format!("open connections: {now}\n"));
                }
            }
            Err(ClientError::Connect(_)) => break,
            // A request that the end of the server interrupts, or a busy server.
            Err(ClientError::Closed | ClientError::Slow(_)) if answered.elapsed() < MAX_SILENCE => {}
            Err(error) => return Err(error),
        }
        sleep(POLL_INTERVAL).await;
    }
    Ok(Printed::out(if json { json_line(&json!({ "stopped": true, "pid": pid })) } else { "stopped\n".to_owned() }))
}
