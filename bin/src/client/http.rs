//! One HTTP request to the admin endpoint, and what can go wrong.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use axum::http::header::{AUTHORIZATION, HOST, SERVER};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use switchboard::Endpoint;
use switchboard::error::find_cause;
use switchboard::settings::text::escape_unsafe;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::admin::SERVER_NAME;
use crate::admin_socket::{AdminSocket, connect};
use crate::client::address::{AdminAddress, FLAG};
use crate::exit::reason;

/// Time for the running server to reply to a command.
pub(super) const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
/// A hint for an address of the configuration that does not answer.
const CHANGED_ADDRESS: &str =
    "; if admin.listen has changed since the server started or reloaded, name its address: --admin ADDRESS";
/// The largest reply of the running server.
const MAX_REPLY: usize = 16 << 20;

#[derive(Debug)]
pub(super) enum ClientError {
    /// No connection.
    Connect(io::Error),
    /// Port 0 is known only to the running server.
    Port,
    /// The server closed the connection before the reply was complete.
    Closed,
    Slow(Duration),
    TooLarge,
    NotHttp,
    /// An HTTP server, with its `Server` header, but no admin endpoint.
    Foreign(String),
    /// The admin endpoint rejected the request.
    Rejected {
        status: StatusCode,
        text: String,
        has_token: bool,
    },
    Invalid(serde_json::Error),
    Other(String),
}

/// A reply of an admin endpoint.
#[derive(Debug)]
pub(super) struct HttpReply {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl HttpReply {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        serde_json::from_slice(&self.body).map_err(ClientError::Invalid)
    }
}

/// Sends `GET path` and returns the reply, which must have status 200.
pub(super) async fn get(server: &AdminAddress, path: &str) -> Result<HttpReply, ClientError> {
    successful(server, send(server, Method::GET, path, String::new(), REPLY_TIMEOUT).await?)
}

/// Any reply with an error status is an error.
pub(super) fn successful(server: &AdminAddress, reply: HttpReply) -> Result<HttpReply, ClientError> {
    if reply.status.is_success() {
        return Ok(reply);
    }
    let (text, has_token) = (reply.text(), server.token.is_some());
    Err(ClientError::Rejected { status: reply.status, text, has_token })
}

/// Sends a request within `limit`. A reply with an error status is no error here.
pub(super) async fn send(
    server: &AdminAddress,
    method: Method,
    path: &str,
    body: String,
    limit: Duration,
) -> Result<HttpReply, ClientError> {
    let exchange = async {
        let (status, mut body) = open(server, method, path, body).await?;
        let body = Limited::new(&mut body.body, MAX_REPLY).collect().await.map_err(|error| {
            let is_large = error.downcast_ref::<LengthLimitError>().is_some();
            if is_large { ClientError::TooLarge } else { ClientError::Closed }
        })?;
        Ok(HttpReply { status, body: body.to_bytes() })
    };
    timeout(limit, exchange).await.map_err(|_| ClientError::Slow(limit))?
}

/// Sends a request, and returns the body of its successful reply, which arrives over time.
pub(super) async fn stream(server: &AdminAddress, method: Method, path: &str) -> Result<ReplyBody, ClientError> {
    let opening = open(server, method, path, String::new());
    let (status, mut body) = timeout(REPLY_TIMEOUT, opening).await.map_err(|_| ClientError::Slow(REPLY_TIMEOUT))??;
    if status.is_success() {
        return Ok(body);
    }
    let mut text = Vec::new();
    while let Some(part) = body.next().await? {
        text.extend_from_slice(&part);
    }
    let (text, has_token) = (String::from_utf8_lossy(&text).into_owned(), server.token.is_some());
    Err(ClientError::Rejected { status, text, has_token })
}

/// The body of a reply.
pub(super) struct ReplyBody {
    body: Incoming,
    _connection: Abort,
}

impl ReplyBody {
    /// The next part. `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        let frame = self.body.frame().await.transpose().map_err(|_| ClientError::Closed)?;
        Ok(frame.map(|frame| frame.into_data().unwrap_or_default()))
    }
}

/// Ends the task of a connection.
struct Abort(AbortHandle);

impl Drop for Abort {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn connected(server: &AdminAddress) -> Result<AdminSocket, ClientError> {
    match &server.endpoint {
        Endpoint::Tcp(at) if at.port == 0 => Err(ClientError::Port),
        endpoint @ (Endpoint::Tcp(_) | Endpoint::Unix(_)) => connect(endpoint).await.map_err(ClientError::Connect),
        _ => Err(ClientError::Other("the address is neither TCP nor a Unix socket".to_owned())),
    }
}

async fn open(
    server: &AdminAddress,
    method: Method,
    path: &str,
    body: String,
) -> Result<(StatusCode, ReplyBody), ClientError> {
    let io = connected(server).await?;
    let (mut client, connection) = handshake(TokioIo::new(io)).await.map_err(|error| of_hyper(&error))?;
    let abort = Abort(tokio::spawn(connection).abort_handle());
    let mut request = Request::builder().method(method).uri(path).header(HOST, "localhost");
    if let Some(token) = &server.token {
        request = request.header(AUTHORIZATION, format!("Bearer {}", token.0));
    }
    let request = request.body(Full::new(Bytes::from(body)));
    let request = request.map_err(|error| ClientError::Other(error.to_string()))?;
    let (head, body) = client.send_request(request).await.map_err(|error| of_hyper(&error))?.into_parts();
    if server_name(&head.headers) != SERVER_NAME {
        return Err(ClientError::Foreign(server_name(&head.headers)));
    }
    Ok((head.status, ReplyBody { body, _connection: abort }))
}

fn server_name(headers: &HeaderMap) -> String {
    headers.get(SERVER).map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned()).unwrap_or_default()
}

fn of_hyper(error: &hyper::Error) -> ClientError {
    // A canceled request contains the error of the connection.
    let error = error.source().and_then(|cause| cause.downcast_ref::<hyper::Error>()).unwrap_or(error);
    let is_closed = error.is_incomplete_message() || error.is_canceled() || error.is_closed();
    if is_closed || find_cause::<io::Error>(error).is_some() { ClientError::Closed } else { ClientError::NotHttp }
}

impl ClientError {
    /// The text with the address, and where it is set.
    pub(super) fn describe(&self, server: &AdminAddress) -> String {
        let AdminAddress { endpoint, origin, note, .. } = server;
        let is_unreachable = matches!(self, Self::Connect(_)) && origin != FLAG;
        let hint = if is_unreachable { CHANGED_ADDRESS } else { "" };
        escape_unsafe(&format!("admin endpoint {endpoint} ({origin}): {self}{hint}{note}"), |c| c == '\n')
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => {
                let hint = match error.kind() {
                    io::ErrorKind::ConnectionRefused => "no process listens there; is the server running?",
                    io::ErrorKind::NotFound => "there is no socket; is the server running, and is this its path?",
                    io::ErrorKind::PermissionDenied => "run the command as root or as the user of the server",
                    _ => "check the address, and that the server is running",
                };
                write!(f, "cannot connect: {}; {hint}", reason(error))
            }
            Self::Port => f.write_str(
                "the system chooses port 0 when the server starts; name the port that the log shows (event listening): \
                 --admin ADDRESS",
            ),
            Self::Closed => f.write_str("the connection was closed without a complete reply; try again"),
            Self::Slow(limit) => {
                let seconds = limit.as_secs();
                write!(
                    f,
                    "no reply within {seconds} s; the process may be stopped or overloaded, or is not a switchboard"
                )
            }
            Self::TooLarge => write!(f, "the reply is larger than {} MiB", MAX_REPLY >> 20),
            Self::NotHttp => f.write_str("the process that listens there does not speak HTTP; check the address"),
            Self::Foreign(name) if name.is_empty() => {
                f.write_str("an HTTP server, but no admin endpoint of a switchboard; check the address")
            }
            Self::Foreign(name) => {
                let name = escape_unsafe(name, |_| false);
                write!(f, "the HTTP server {name:?}, which is no admin endpoint of a switchboard; check the address")
            }
            Self::Rejected { status: StatusCode::UNAUTHORIZED, has_token: false, .. } => f.write_str(
                "the server requires a token; name its file with --token-file, or set SWITCHBOARD_ADMIN__TOKEN",
            ),
            Self::Rejected { status: StatusCode::UNAUTHORIZED, .. } => f.write_str(
                "the server rejected the token; a token must be that of admin.token or admin.token_file of the server",
            ),
            Self::Rejected { status, text, .. } => match text.trim_end() {
                "" => write!(f, "the server replied {status}"),
                text => f.write_str(&escape_unsafe(text, |c| c == '\n')),
            },
            Self::Invalid(error) => write!(f, "the reply is not the expected JSON ({error}); is its version the same?"),
            Self::Other(error) => f.write_str(error),
        }
    }
}
