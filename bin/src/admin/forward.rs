//! Answers requests on the open connections of the old process after an upgrade: they are sent to the new process.
//!
//! Only the new process knows all counters. A client that used both processes in turn would see counters decrease.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::Full;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use switchboard::Endpoint;
use switchboard::deadline_timer::timeout;
use switchboard::error::{BoxError, chain};

use crate::admin::state::AdminState;
use crate::admin_socket::connect;

/// How long the new process may take for the head of its reply. The result of a drain takes as long as the drain.
const REPLY_TIMEOUT: Duration = Duration::from_secs(60);

/// Sends a request to the new process, if there is one.
pub(super) async fn forward(State(state): State<Arc<AdminState>>, request: Request, next: Next) -> Response {
    if let Some(endpoint) = state.new_process.get() {
        return forwarded(endpoint, request).await;
    }
    let (head, body) = request.into_parts();
    let again = (head.method == Method::GET).then(|| head.clone());
    let response = next.run(Request::from_parts(head, body)).await;
    match (state.new_process.get(), again) {
        // The upgrade was completed meanwhile: this reply may have counts that the new process does not have yet.
        (Some(endpoint), Some(head)) => forwarded(endpoint, Request::from_parts(head, Body::empty())).await,
        _ => response,
    }
}

async fn forwarded(endpoint: &Endpoint, request: Request) -> Response {
    let result = timeout(REPLY_TIMEOUT, exchange(endpoint, request)).await;
    let mut response = match result.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into())) {
        Ok(response) => response,
        Err(error) => {
            let error = chain(&*error);
            let text = format!("an upgrade has replaced this process, and the new process does not answer: {error}\n");
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    };
    // The next request reaches the new process directly.
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn exchange(endpoint: &Endpoint, request: Request) -> Result<Response, BoxError> {
    let (Parts { method, uri, mut headers, .. }, body) = request.into_parts();
    // The body was read completely before, within its limit.
    let body: Bytes = to_bytes(body, usize::MAX).await?;
    let (mut client, connection) = handshake(TokioIo::new(connect(endpoint).await?)).await?;
    tokio::spawn(connection); // ends when the reply was read
    for header in [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING] {
        headers.remove(header);
    }
    let mut request = Request::builder().method(method).uri(uri).body(Full::new(body))?;
    *request.headers_mut() = headers;
    let mut response = client.send_request(request).await?.map(Body::new);
    response.headers_mut().remove(TRANSFER_ENCODING);
    Ok(response)
}
