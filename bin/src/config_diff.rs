//! `switchboard config diff`: the changes that a reload of the running server would make. Secrets are not compared.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::{Request, StatusCode};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::Value as Json;
use switchboard::settings::text::escape_unsafe;
use switchboard::{BoxError, Endpoint, Registry};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::assemble;
use crate::config::{self, Admin, Config, Inputs, Origin, Shape};
use crate::failure::Failure;

/// Time for the running server to reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest configuration that is read from the server.
const MAX_REPLY: usize = 16 << 20;

/// The changes, one line per key, compared with a file or with the running server.
pub(crate) fn between(
    config: &Config,
    against: Option<PathBuf>,
    inputs: &Inputs,
    registry: &Registry,
) -> Result<String, Failure> {
    let json = |config: &Config| serde_json::from_str::<Json>(&config.effective.print(Shape::Json));
    let before = match against {
        Some(file) => {
            let file_origin = Some(Origin::new("flag --against"));
            let inputs = Inputs { file: Some(file), file_origin, ..inputs.clone() };
            json(&assemble::load(&inputs, registry)?).map_err(Failure::new)?
        }
        None => running(config).map_err(Failure::new)?,
    };
    let after = json(config).map_err(Failure::new)?;
    let value = |value: Option<&Json>| value.map_or_else(|| "nothing".to_owned(), ToString::to_string);
    let mut text = String::new();
    for (key, before, after) in config::differences(&before, &after) {
        let when = if config::needs_restart(&key) { ", after a restart" } else { "" };
        let origin = config.effective.origin(&key);
        let origin = if after.is_some() { format!(" ({origin})") } else { String::new() };
        let _ = writeln!(text, "{}: {} -> {}{when}{origin}", config::dotted(&key), value(before), value(after));
    }
    Ok(if text.is_empty() { "no changes\n".to_owned() } else { escape_unsafe(&text, |c| c == '\n') })
}

fn running(config: &Config) -> Result<Json, String> {
    let Some(admin) = &config.admin else {
        let error = "cannot ask the running server, because [admin] is not configured";
        return Err(format!("{error}; compare with a file: --against FILE"));
    };
    let ask = || -> Result<Json, BoxError> {
        let runtime = assemble::runtime(1)?;
        let reply = runtime.block_on(async { timeout(REPLY_TIMEOUT, get_config(admin)).await });
        runtime.shutdown_background();
        reply.map_err(|_| format!("no reply within {} seconds", REPLY_TIMEOUT.as_secs()))?
    };
    ask().map_err(|error| format!("cannot ask the server at {} (admin.listen): {error}", admin.endpoint))
}

async fn get_config(admin: &Admin) -> Result<Json, BoxError> {
    match &admin.endpoint {
        Endpoint::Tcp(at) => {
            // A client cannot connect to a wildcard address.
            let host = match &*at.host {
                "0.0.0.0" => "127.0.0.1",
                "::" => "::1",
                host => host,
            };
            get(TcpStream::connect((host, at.port)).await?, admin).await
        }
        Endpoint::Unix(path) => get(UnixStream::connect(path).await?, admin).await,
        _ => Err("the address is neither TCP nor a Unix socket".into()),
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
    let body = to_bytes(Body::new(reply.into_body()), MAX_REPLY).await?;
    if status != StatusCode::OK {
        return Err(format!("it replied {status}: {}", String::from_utf8_lossy(&body).trim_end()).into());
    }
    Ok(serde_json::from_slice(&body)?)
}
