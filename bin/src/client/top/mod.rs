//! `switchboard top`: a live view of load, latency and connections, or samples as lines of JSON.

mod app;
mod columns;
mod sample;
mod screen;
mod view;

use std::io::ErrorKind;

use serde::Serialize;
use tokio::time::sleep;

use crate::client::address::AdminAddress;
use crate::client::http::ClientError;
use crate::client::options::TopOptions;
use crate::client::report::Status;
use crate::client::top::sample::{Load, take, take_status};
use crate::exit::write_stdout;
use crate::failure::{Failure, cannot_write};

pub(super) async fn top(server: &AdminAddress, options: &TopOptions) -> Result<u8, Failure> {
    let failed = |error: ClientError| Failure::new(error.describe(server));
    if options.server.json {
        return json_lines(server, options).await;
    }
    if !screen::is_usable() {
        return Err(Failure::usage("top needs a terminal for its input and output; --json prints one line per sample"));
    }
    screen::run(server, *options.interval, take(server).await.map_err(failed)?).await
}

/// A line of `--json`.
#[derive(Serialize)]
struct JsonSample<'a> {
    version: &'a str,
    pid: u32,
    phase: &'a str,
    uptime_seconds: f64,
    listeners: Vec<JsonListener<'a>>,
}

#[derive(Serialize)]
struct JsonListener<'a> {
    name: &'a str,
    state: &'a str,
    open: u64,
    #[serde(flatten)]
    load: Load,
}

async fn json_lines(server: &AdminAddress, options: &TopOptions) -> Result<u8, Failure> {
    let failed = |error: ClientError| Failure::new(error.describe(server));
    let mut before = take_status(server).await.map_err(failed)?;
    for _ in 0..options.count.unwrap_or(u64::MAX) {
        sleep(*options.interval).await;
        let after = take_status(server).await.map_err(failed)?;
        match write_stdout(&json_line(&before, &after)) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(0),
            written => written.map_err(|error| cannot_write(&error))?,
        }
        before = after;
    }
    Ok(0)
}

fn json_line(before: &Status, after: &Status) -> String {
    let loads = Load::between(Some(before), after);
    let listeners = after.listeners.iter().zip(loads).map(|(listener, load)| JsonListener {
        name: &listener.name,
        state: &listener.state,
        open: listener.clients(),
        load,
    });
    let sample = JsonSample {
        version: &after.version,
        pid: after.pid,
        phase: &after.phase,
        uptime_seconds: after.uptime_seconds,
        listeners: listeners.collect(),
    };
    serde_json::to_string(&sample).unwrap_or_default() + "\n"
}
