//! Who may ask for what: a token for what changes something, and no page of a stranger behind an operator's browser.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use switchboard::Endpoint;

use crate::admin::AdminState;
use crate::admin::routes::CONFIG;
use crate::config;

/// The largest body of a request.
const BODY: usize = 4 * 1024;

/// Lets a request through, or says why not. What it brings is read first: an answer given before would be lost with the
/// connection.
pub(super) async fn authorize(State(state): State<Arc<AdminState>>, request: Request<Body>, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, format!("a request may bring {BODY} bytes\n")).into_response();
    };
    let request = Request::from_parts(head, Body::from(body));
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD) || request.uri().path() == CONFIG;
    // Somebody whose connection outlives the endpoint.
    let Some(admin) = state.current() else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    match judge(&admin, request.headers(), changes) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Rejected {
    NoToken,
    WrongToken,
    Stranger(&'static str),
}

fn judge(admin: &config::Admin, headers: &HeaderMap, changes: bool) -> Result<(), Rejected> {
    let header = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let host = header(HOST).unwrap_or_default();
    // A name that somebody else has pointed at this machine is in a browser's address bar, not in an operator's hands.
    if let Endpoint::Tcp(at) = &admin.endpoint
        && admin.token.is_none()
        && !is_plain(host, &at.host)
    {
        return Err(Rejected::Stranger("ask by address, or by the name localhost\n"));
    }
    if !changes {
        return Ok(());
    }
    if let Some(origin) = header(ORIGIN)
        && origin.split_once("://").map(|(_, rest)| rest) != Some(host)
    {
        return Err(Rejected::Stranger("a page from elsewhere changes nothing here\n"));
    }
    let Some(token) = &admin.token else { return Ok(()) };
    match header(AUTHORIZATION).and_then(|value| value.split_once(' ')) {
        Some((scheme, given)) if scheme.eq_ignore_ascii_case("bearer") => {
            if is_same(token.0.as_bytes(), given.trim().as_bytes()) { Ok(()) } else { Err(Rejected::WrongToken) }
        }
        _ => Err(Rejected::NoToken),
    }
}

/// Whether a host is an address, `localhost`, or what the configuration calls it.
fn is_plain(host: &str, own: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost") || name.eq_ignore_ascii_case(own)
}

/// Looks at every byte, wherever they begin to differ.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
}

impl IntoResponse for Rejected {
    fn into_response(self) -> Response {
        let asks = [(WWW_AUTHENTICATE, "Bearer")];
        match self {
            Self::NoToken => {
                (StatusCode::UNAUTHORIZED, asks, "a token is needed: Authorization: Bearer …\n").into_response()
            }
            Self::WrongToken => (StatusCode::UNAUTHORIZED, asks, "this is not the token\n").into_response(),
            Self::Stranger(why) => (StatusCode::FORBIDDEN, why).into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(
        listen: &str,
        token: Option<&str>,
        changes: bool,
        headers: &[(&'static str, &str)],
    ) -> Result<(), Rejected> {
        let token = token.map(|token| token.parse().unwrap());
        let admin = config::Admin { endpoint: listen.parse().unwrap(), token };
        let headers = headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
        judge(&admin, &headers.collect(), changes)
    }

    #[test]
    fn what_changes_something_needs_the_token_where_there_is_one() {
        let far = "tcp://0.0.0.0:1";
        let with = |value| judged(far, Some("secret"), true, &[("host", "any.example"), ("authorization", value)]);
        assert_eq!(with("Bearer secret"), Ok(()));
        assert_eq!(with("bearer secret"), Ok(()));
        for wrong in ["Bearer secre", "Bearer secrets", "Bearer Secret"] {
            assert_eq!(with(wrong), Err(Rejected::WrongToken), "{wrong}");
        }
        assert_eq!(with("Basic secret"), Err(Rejected::NoToken));
        assert_eq!(judged(far, Some("secret"), true, &[("host", "x")]), Err(Rejected::NoToken));
        assert_eq!(judged(far, Some("secret"), false, &[("host", "x")]), Ok(()));
        assert_eq!(judged("unix:/a", None, true, &[]), Ok(()));
    }

    #[test]
    fn a_page_from_elsewhere_gets_nothing_through_a_browser() {
        let near = "tcp://127.0.0.1:1";
        for host in ["127.0.0.1:1", "localhost:1", "[::1]:1", "LOCALHOST"] {
            assert_eq!(judged(near, None, true, &[("host", host)]), Ok(()), "{host}");
        }
        for host in ["evil.example:1", "evil.example", ""] {
            assert!(matches!(judged(near, None, false, &[("host", host)]), Err(Rejected::Stranger(_))), "{host}");
        }
        let from = |origin| judged(near, None, true, &[("host", "127.0.0.1:1"), ("origin", origin)]);
        assert_eq!(from("http://127.0.0.1:1"), Ok(()));
        for origin in ["http://evil.example", "null", "http://127.0.0.1:2"] {
            assert!(matches!(from(origin), Err(Rejected::Stranger(_))), "{origin}");
        }
    }
}
