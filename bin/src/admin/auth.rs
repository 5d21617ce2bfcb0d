//! Checks requests: the token of protected routes, and protection against DNS rebinding and cross-site requests.

use std::net::IpAddr;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;
use switchboard::Endpoint;

use crate::admin::state::SharedState;
use crate::config;

/// Maximum size of a request body.
const MAX_BODY: usize = 4 * 1024;

/// Reads the body and checks the `Host` header of every request.
pub(super) async fn check_request(State(state): SharedState, request: Request, next: Next) -> Response {
    // Closing a connection with unread data resets it, and the client may lose the reply.
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, format!("the body is limited to {MAX_BODY} bytes\n")).into_response();
    };
    // A connection can outlive the endpoint for a moment.
    let Some(admin) = state.settings.lock().clone() else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    match check_host(&admin, &head.headers) {
        Ok(()) => next.run(Request::from_parts(head, Body::from(body))).await,
        Err(rejected) => rejected.into_response(),
    }
}

pub(super) async fn authenticate(State(state): SharedState, request: Request, next: Next) -> Response {
    let Some(admin) = state.settings.lock().clone() else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    match check_origin(request.headers()).and_then(|()| check_token(&admin, request.headers())) {
        Ok(()) => next.run(request).await,
        Err(rejected) => rejected.into_response(),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Rejected {
    Host,
    Origin,
    MissingToken,
    WrongToken,
}

/// Rejects names that an attacker could point at this machine (DNS rebinding), unless a token protects the endpoint.
fn check_host(admin: &config::Admin, headers: &HeaderMap) -> Result<(), Rejected> {
    match &admin.endpoint {
        Endpoint::Tcp(at) if admin.token.is_none() && !is_allowed(host(headers), &at.host) => Err(Rejected::Host),
        _ => Ok(()),
    }
}

/// Rejects requests that a browser sends for a page of another site.
fn check_origin(headers: &HeaderMap) -> Result<(), Rejected> {
    match header(headers, ORIGIN) {
        Some(origin) if origin.split_once("://").map(|(_, host)| host) != Some(host(headers)) => Err(Rejected::Origin),
        _ => Ok(()),
    }
}

fn check_token(admin: &config::Admin, headers: &HeaderMap) -> Result<(), Rejected> {
    let Some(token) = &admin.token else { return Ok(()) };
    let credentials = header(headers, AUTHORIZATION).and_then(|value| value.split_once(' '));
    let bearer = credentials.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let (_, given) = bearer.ok_or(Rejected::MissingToken)?;
    let is_equal = bool::from(token.0.as_bytes().ct_eq(given.trim().as_bytes()));
    if is_equal { Ok(()) } else { Err(Rejected::WrongToken) }
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn host(headers: &HeaderMap) -> &str {
    header(headers, HOST).unwrap_or_default()
}

/// Whether a host is an IP address, `localhost` or the configured host.
fn is_allowed(host: &str, configured: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost") || name.eq_ignore_ascii_case(configured)
}

impl IntoResponse for Rejected {
    fn into_response(self) -> Response {
        let unauthorized = |text| (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")], text).into_response();
        let forbidden = |text| (StatusCode::FORBIDDEN, text).into_response();
        match self {
            Self::Host => forbidden("Host header not allowed; use the IP address or localhost\n"),
            Self::Origin => forbidden("cross-origin request rejected\n"),
            Self::MissingToken => unauthorized("authentication required: Authorization: Bearer TOKEN\n"),
            Self::WrongToken => unauthorized("wrong token\n"),
        }
    }
}

#[cfg(test)]
mod tests;
