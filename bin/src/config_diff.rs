//! `switchboard config diff`: the changes that a reload would make. Secrets are not compared.
//!
//! The running configuration is read from the admin endpoint.

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
use crate::config::{self, Admin, Config, Inputs, Shape};

/// `config diff`: time for the running server to reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
/// `config diff`: the largest configuration that is read from the server.
const LARGEST: usize = 16 << 20;

/// The changes, one line per key, compared with a file or with the running server.
pub(crate) fn between(
    config: &Config,
    against: Option<PathBuf>,
    inputs: &Inputs,
    registry: &Registry,
) -> Result<String, String> {
    let before = match against {
        Some(file) => {
            let inputs = Inputs { file: Some(file), ..inputs.clone() };
            let other = config::load(&inputs, registry).map_err(|refused| refused.diagnostics.to_string())?;
            serde_json::from_str(&other.effective.print(Shape::Json)).map_err(|error| error.to_string())?
        }
        None => running(config)?,
    };
    let after: Json = serde_json::from_str(&config.effective.print(Shape::Json)).map_err(|error| error.to_string())?;
    Ok(text(&before, &after, config))
}

fn text(before: &Json, after: &Json, config: &Config) -> String {
    let mut text = String::new();
    for (key, before, after) in config::differences(before, after) {
        let value = |value: Option<&Json>| value.map_or_else(|| "nothing".to_owned(), ToString::to_string);
        let when = if config::needs_restart(&key) { ", after a restart" } else { "" };
        let origin = config.effective.origin(&key);
        let origin = if after.is_some() { format!(" ({origin})") } else { String::new() };
        let _ = writeln!(text, "{}: {} -> {}{when}{origin}", config::dotted(&key), value(before), value(after));
    }
    if text.is_empty() { "no changes\n".to_owned() } else { text }
}

fn running(config: &Config) -> Result<Json, String> {
    let admin = config.admin.as_ref().ok_or(
        "cannot ask the running server, because [admin] is not configured; compare with a file: --against FILE",
    )?;
    let endpoint = &admin.endpoint;
    let failed = |error: String| format!("cannot ask the server at {endpoint} (admin.listen): {error}");
    let runtime = assemble::runtime(1).map_err(|error| failed(error.to_string()))?;
    let reply = runtime.block_on(async { timeout(REPLY_TIMEOUT, ask(admin)).await });
    runtime.shutdown_background();
    let reply = reply.map_err(|_| failed(format!("no reply within {} seconds", REPLY_TIMEOUT.as_secs())))?;
    reply.map_err(|error| failed(error.to_string()))
}

async fn ask(admin: &Admin) -> Result<Json, BoxError> {
    match &admin.endpoint {
        Endpoint::Tcp(at) => get(TcpStream::connect((reachable(&at.host), at.port)).await?, admin).await,
        Endpoint::Unix(path) => get(UnixStream::connect(path).await?, admin).await,
        _ => Err("the address is neither TCP nor a Unix socket".into()),
    }
}

/// A wildcard address is not an address to connect to.
fn reachable(host: &str) -> &str {
    match host {
        "0.0.0.0" => "127.0.0.1",
        "::" => "::1",
        host => host,
    }
}

async fn get(io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, admin: &Admin) -> Result<Json, BoxError> {
    let (mut client, connection) = handshake(TokioIo::new(io)).await?;
    tokio::spawn(connection);
    let mut request = Request::get("/config").header(HOST, "localhost");
    if let Some(token) = &admin.token {
        request = request.header(AUTHORIZATION, format!("Bearer {}", token.0));
    }
    let reply = client.send_request(request.body(Body::empty())?).await?;
    let status = reply.status();
    let body = to_bytes(Body::new(reply.into_body()), LARGEST).await?;
    if status != StatusCode::OK {
        return Err(format!("it replied {status}: {}", String::from_utf8_lossy(&body).trim_end()).into());
    }
    Ok(serde_json::from_slice(&body)?)
}
