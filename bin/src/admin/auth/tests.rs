//! Tests of `admin/auth.rs`.

use super::*;

fn checked(
    listen: &str,
    token: Option<&str>,
    is_protected: bool,
    headers: &[(&'static str, &str)],
) -> Result<(), Rejected> {
    let token = token.map(|token| token.parse().unwrap());
    let admin = config::Admin { endpoint: listen.parse().unwrap(), token };
    let headers = headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
    let headers: HeaderMap = headers.collect();
    check_host(&admin, &headers)?;
    if is_protected { check_origin(&headers).and_then(|()| check_token(&admin, &headers)) } else { Ok(()) }
}

#[test]
fn modifying_requests_need_the_configured_token() {
    let far = "tcp://0.0.0.0:1";
    let with = |value| checked(far, Some("secret"), true, &[("host", "any.example"), ("authorization", value)]);
    assert_eq!(with("Bearer secret"), Ok(()));
    assert_eq!(with("bearer secret"), Ok(()));
    for wrong in ["Bearer secre", "Bearer secrets", "Bearer Secret"] {
        assert_eq!(with(wrong), Err(Rejected::WrongToken), "{wrong}");
    }
    assert_eq!(with("Basic secret"), Err(Rejected::MissingToken));
    assert_eq!(checked(far, Some("secret"), true, &[("host", "x")]), Err(Rejected::MissingToken));
    assert_eq!(checked(far, Some("secret"), false, &[("host", "x")]), Ok(()));
    assert_eq!(checked("unix:/a", None, true, &[]), Ok(()));
}

#[test]
fn cross_origin_requests_are_rejected() {
    let near = "tcp://127.0.0.1:1";
    for host in ["127.0.0.1:1", "localhost:1", "[::1]:1", "LOCALHOST"] {
        assert_eq!(checked(near, None, true, &[("host", host)]), Ok(()), "{host}");
    }
    for host in ["evil.example:1", "evil.example", ""] {
        assert_eq!(checked(near, None, false, &[("host", host)]), Err(Rejected::Host), "{host}");
    }
    let from = |origin| checked(near, None, true, &[("host", "127.0.0.1:1"), ("origin", origin)]);
    assert_eq!(from("http://127.0.0.1:1"), Ok(()));
    for origin in ["http://evil.example", "null", "http://127.0.0.1:2"] {
        assert_eq!(from(origin), Err(Rejected::Origin), "{origin}");
    }
}
