//! Checks requests: who may use a route, the token, and protection against DNS rebinding and cross-site requests.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{Extension, Request, State};
use axum::http::header::{AUTHORIZATION, CONNECTION, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;
use switchboard::deadline_timer::timeout_at;
use switchboard::{Address, Endpoint};

use crate::admin::client_table::Client;
use crate::admin::state::AdminState;
use crate::config;

/// Maximum size of a request body.
const MAX_BODY: usize = 4 * 1024;
/// How long a client has for a complete request, from the accept or from the previous reply.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Everyone. Health checks may omit the `Host` header.
    Health,
    /// Everyone, unless other machines can reach the endpoint and there is no token.
    Read,
    /// Clients with the token. It modifies the server or returns sensitive data.
    Protected,
}

/// Checks a request and then reads its body, so that a refused client sends no body for nothing. The driver lingers, so
/// that the reply arrives although the body is unread.
pub(super) async fn authorize(
    State((state, access)): State<(Arc<AdminState>, Access)>,
    Extension(client): Extension<Arc<Client>>,
    request: Request,
    next: Next,
) -> Response {
    // A connection can outlive the endpoint for a moment.
    let Some(admin) = state.settings.lock().clone() else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    if let Err(rejected) = check(&admin, access, client.local(), request.headers()) {
        return rejected.into_response();
    }
    let (head, body) = request.into_parts();
    let deadline = client.waiting_since() + REQUEST_TIMEOUT;
    let body = match timeout_at(deadline, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            let error = format!("the body is limited to {MAX_BODY} bytes\n");
            return (StatusCode::PAYLOAD_TOO_LARGE, error).into_response();
        }
        Err(_) => {
            let error = format!("a request must be complete within {} s\n", REQUEST_TIMEOUT.as_secs());
            return (StatusCode::REQUEST_TIMEOUT, [(CONNECTION, "close")], error).into_response();
        }
    };
    client.set_answering();
    let response = next.run(Request::from_parts(head, Body::from(body))).await;
    client.set_waiting();
    response
}

#[derive(Debug, PartialEq, Eq)]
enum Rejected {
    Host,
    Origin,
    NeedsToken,
    MissingToken,
    WrongToken,
}

/// `local` is the address that the client connected to.
fn check(admin: &config::Admin, access: Access, local: &Address, headers: &HeaderMap) -> Result<(), Rejected> {
    if access == Access::Protected {
        check_origin(headers)?;
    }
    let token = check_token(admin, headers);
    match token {
        Some(Err(rejected)) if access == Access::Protected => return Err(rejected),
        None if access != Access::Health && !is_local(admin, local) => return Err(Rejected::NeedsToken),
        // A page of another site cannot know the token.
        Some(Ok(())) => return Ok(()),
        _ => {}
    }
    check_host(admin, access, headers)
}

/// Whether only clients on this machine can connect. The wildcard address is reachable from other machines, whichever
/// of its addresses this client uses.
fn is_local(admin: &config::Admin, local: &Address) -> bool {
    let is_wildcard = |host: &str| host.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_unspecified());
    match (&admin.endpoint, local) {
        (Endpoint::Tcp(at), Address::Inet(local)) => !is_wildcard(&at.host) && local.ip().to_canonical().is_loopback(),
        (Endpoint::Unix(_), _) => true,
        _ => false,
    }
}

/// Rejects names that an attacker could point at this machine (DNS rebinding). A browser always sends the header.
fn check_host(admin: &config::Admin, access: Access, headers: &HeaderMap) -> Result<(), Rejected> {
    let host = host(headers);
    let (configured, may_be_missing) = match &admin.endpoint {
        Endpoint::Tcp(at) => (&*at.host, access == Access::Health),
        // A browser reaches a Unix socket through a forwarded port (ssh -L).
        _ => ("localhost", true),
    };
    if is_allowed(host, configured) || (host.is_empty() && may_be_missing) { Ok(()) } else { Err(Rejected::Host) }
}

/// Rejects requests that a browser sends for a page of another site.
fn check_origin(headers: &HeaderMap) -> Result<(), Rejected> {
    match header(headers, ORIGIN) {
        Some(origin) if origin.split_once("://").map(|(_, host)| host) != Some(host(headers)) => Err(Rejected::Origin),
        _ => Ok(()),
    }
}

/// `None` if no token is configured.
fn check_token(admin: &config::Admin, headers: &HeaderMap) -> Option<Result<(), Rejected>> {
    let token = admin.token.as_ref()?;
    let credentials = header(headers, AUTHORIZATION).and_then(|value| value.split_once(' '));
    let bearer = credentials.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let Some((_, given)) = bearer else { return Some(Err(Rejected::MissingToken)) };
    let is_equal = bool::from(token.0.as_bytes().ct_eq(given.trim().as_bytes()));
    Some(if is_equal { Ok(()) } else { Err(Rejected::WrongToken) })
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("invalid"))
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
            Self::Host => {
                forbidden("Host header not allowed; use http://localhost/ or the IP address, or send the token\n")
            }
            Self::Origin => forbidden("cross-origin request rejected\n"),
            Self::NeedsToken => forbidden(
                "other machines can reach this endpoint and it has no token, so it serves only /livez, /readyz and \
                 /metrics; set admin.token_file, or listen on 127.0.0.1 or a Unix socket\n",
            ),
            Self::MissingToken => unauthorized("authentication required: Authorization: Bearer TOKEN\n"),
            Self::WrongToken => unauthorized("wrong token\n"),
        }
    }
}

#[cfg(test)]
mod tests;
