//! `switchboard config diff`: what a reload would change, before it is asked for.
//!
//! The running server tells what it goes by, at its endpoint for operators. Secrets are neither told nor compared.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::{Request, StatusCode};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::Value as Json;
use switchboard::{BoxError, Endpoint, Registry};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::assemble;
use crate::config::{self, Admin, Config, Inputs, Path, Shape};
use crate::reload::needs_restart;

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest configuration that is taken.
const LARGEST: usize = 16 << 20;

/// What would change: a line for each key. Compared with the file, or else with the server that runs.
pub(crate) fn between(
    config: &Config,
    against: Option<PathBuf>,
    inputs: &Inputs,
    registry: &Registry,
) -> Result<String, String> {
    let before = match against {
        Some(file) => {
            let inputs = Inputs { file: Some(file), ..inputs.clone() };
            let other = config::load(&inputs, registry).map_err(|refused| refused.to_string())?;
            serde_json::from_str(&other.effective.print(Shape::Json)).map_err(|error| error.to_string())?
        }
        None => running(config)?,
    };
    let after: Json = serde_json::from_str(&config.effective.print(Shape::Json)).map_err(|error| error.to_string())?;
    Ok(told(&before, &after, config))
}

fn told(before: &Json, after: &Json, config: &Config) -> String {
    let mut keys = Vec::new();
    differences(before, after, &mut Vec::new(), &mut keys);
    let mut text = String::new();
    for (key, before, after) in keys {
        let value = |value: Option<&Json>| value.map_or_else(|| "nothing".to_owned(), ToString::to_string);
        let when = if needs_restart(&key) { ", at the next start" } else { "" };
        let origin = config.effective.origin(&key);
        let origin = if after.is_some() { format!(" ({origin})") } else { String::new() };
        let _ = writeln!(text, "{}: {} -> {}{when}{origin}", config::dotted(&key), value(before), value(after));
    }
    if text.is_empty() { "nothing would change\n".to_owned() } else { text }
}

type Change<'v> = (Path, Option<&'v Json>, Option<&'v Json>);

fn differences<'v>(before: &'v Json, after: &'v Json, at: &mut Path, found: &mut Vec<Change<'v>>) {
    let (Some(old), Some(new)) = (before.as_object(), after.as_object()) else {
        if before != after {
            found.push((at.clone(), Some(before), Some(after)));
        }
        return;
    };
    for key in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        at.push(key.clone());
        match (old.get(key), new.get(key)) {
            (Some(old), Some(new)) => differences(old, new, at, found),
            (old, new) => found.push((at.clone(), old, new)),
        }
        at.pop();
    }
}

/// What the running server goes by.
fn running(config: &Config) -> Result<Json, String> {
    let admin = config.admin.as_ref();
    let admin = admin.ok_or("without [admin] the running server cannot be asked; name a file with --against")?;
    let endpoint = &admin.endpoint;
    let failed = |error: String| format!("the server cannot be asked at {endpoint} (admin.listen): {error}");
    let runtime = assemble::runtime(1).map_err(|error| failed(error.to_string()))?;
    let asked = runtime.block_on(async { timeout(PATIENCE, ask(admin)).await });
    runtime.shutdown_background();
    match asked {
        Ok(answer) => answer.map_err(|error| failed(error.to_string())),
        Err(_) => Err(failed(format!("no answer within {} seconds", PATIENCE.as_secs()))),
    }
}

async fn ask(admin: &Admin) -> Result<Json, BoxError> {
    match &admin.endpoint {
        Endpoint::Tcp(at) => get(TcpStream::connect((reachable(&at.host), at.port)).await?, admin).await,
        Endpoint::Unix(path) => get(UnixStream::connect(path).await?, admin).await,
        _ => Err("it is neither TCP nor a Unix socket".into()),
    }
}

/// Every address is no address to connect to.
fn reachable(host: &str) -> &str {
    match host {
        "0.0.0.0" => "127.0.0.1",
        "::" => "::1",
        host => host,
    }
}

async fn get(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, admin: &Admin) -> Result<Json, BoxError> {
    let (mut client, conversation) = handshake(TokioIo::new(io)).await?;
    tokio::spawn(conversation);
    let request = Request::get("/config").header(HOST, "localhost");
    let request = match &admin.token {
        Some(token) => request.header(AUTHORIZATION, format!("Bearer {}", token.0)),
        None => request,
    };
    let answer = client.send_request(request.body(Body::empty())?).await?;
    let status = answer.status();
    let body = to_bytes(Body::new(answer.into_body()), LARGEST).await?;
    if status != StatusCode::OK {
        return Err(format!("it answers {status}: {}", String::from_utf8_lossy(&body).trim_end()).into());
    }
    Ok(serde_json::from_slice(&body)?)
}
