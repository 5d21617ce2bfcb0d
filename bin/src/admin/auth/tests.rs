//! Tests of `admin/auth.rs`.

use super::*;

fn checked(
    listen: &str,
    token: Option<&str>,
    is_protected: bool,
    headers: &[(&'static str, &str)],
) -> Result<(), Rejected> {
    let local = Address::Inet("127.0.0.1:1".parse().unwrap());
    let access = if is_protected { Access::Protected } else { Access::Read };
    request(listen, &local, token, access, headers)
}

/// Checks a request to the endpoint `listen` that arrives at the address `local`.
fn request(
    listen: &str,
    local: &Address,
    token: Option<&str>,
    access: Access,
    headers: &[(&'static str, &str)],
) -> Result<(), Rejected> {
    let token = token.map(|token| token.parse().unwrap());
    let admin = config::Admin { endpoint: listen.parse().unwrap(), token };
    let headers = headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
    let headers: HeaderMap = headers.collect();
    check(&admin, access, local, &headers)
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
    assert_eq!(checked(far, Some("secret"), false, &[("host", "127.0.0.1")]), Ok(()));
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

/// A browser reaches it through a port that ssh forwards.
#[test]
fn a_unix_socket_has_the_same_protection_and_needs_no_host() {
    for is_protected in [false, true] {
        for host in ["", "localhost", "localhost:9900", "127.0.0.1:9900"] {
            assert_eq!(checked("unix:/a", None, is_protected, &[("host", host)]), Ok(()), "{host}");
        }
        for host in ["evil.example", "evil.example:9900", "a"] {
            assert_eq!(checked("unix:/a", None, is_protected, &[("host", host)]), Err(Rejected::Host), "{host}");
        }
    }
}

#[test]
fn a_token_does_not_disable_the_protection_of_reads_against_dns_rebinding() {
    for listen in ["tcp://127.0.0.1:1", "tcp://0.0.0.0:1", "tcp://[::]:1", "tcp://db.example:1"] {
        let read = |headers: &[_]| checked(listen, Some("secret"), false, headers);
        for host in ["evil.example", "evil.example:1", "127.0.0.1.evil.example", "localhost.evil.example", ""] {
            assert_eq!(read(&[("host", host)]), Err(Rejected::Host), "{listen} {host}");
            let wrong = [("host", host), ("authorization", "Bearer wrong")];
            assert_eq!(read(&wrong), Err(Rejected::Host), "{listen} {host}");
            // A page of another site cannot know the token.
            assert_eq!(read(&[("host", host), ("authorization", "Bearer secret")]), Ok(()), "{listen} {host}");
        }
        for host in ["127.0.0.1:1", "localhost", "[::1]:1", "192.0.2.1"] {
            assert_eq!(read(&[("host", host)]), Ok(()), "{listen} {host}");
        }
    }
}

#[test]
fn health_needs_no_host_header_but_rejects_a_foreign_one() {
    for listen in ["tcp://127.0.0.1:1", "tcp://0.0.0.0:1", "unix:/a"] {
        for token in [None, Some("secret")] {
            let local = Address::Inet("127.0.0.1:1".parse().unwrap());
            let health = |headers: &[_]| request(listen, &local, token, Access::Health, headers);
            assert_eq!(health(&[]), Ok(()), "{listen}");
            assert_eq!(health(&[("host", "")]), Ok(()), "{listen}");
            assert_eq!(health(&[("host", "evil.example")]), Err(Rejected::Host), "{listen}");
        }
    }
}

#[test]
fn without_a_token_only_health_is_served_to_other_machines() {
    for (listen, local, is_local) in [
        ("tcp://127.0.0.1:1", "127.0.0.1:1", true),
        ("tcp://127.0.0.2:1", "127.0.0.2:1", true),
        ("tcp://[::1]:1", "[::1]:1", true),
        ("tcp://[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:1", true),
        ("tcp://localhost:1", "127.0.0.1:1", true),
        // The name can have any address.
        ("tcp://localhost:1", "192.0.2.1:1", false),
        ("tcp://db.example:1", "192.0.2.1:1", false),
        ("tcp://192.0.2.1:1", "192.0.2.1:1", false),
        ("tcp://0.0.0.0:1", "192.0.2.1:1", false),
        ("tcp://0.0.0.0:1", "127.0.0.1:1", false),
        ("tcp://[::]:1", "[::ffff:127.0.0.1]:1", false),
        ("tcp://[::]:1", "[::1]:1", false),
        ("tcp://[::ffff:0.0.0.0]:1", "127.0.0.1:1", false),
    ] {
        let local = Address::Inet(local.parse().unwrap());
        let host = [("host", "127.0.0.1")];
        assert_eq!(request(listen, &local, None, Access::Health, &host), Ok(()), "{listen} {local}");
        let expected = || if is_local { Ok(()) } else { Err(Rejected::NeedsToken) };
        for access in [Access::Read, Access::Protected] {
            assert_eq!(request(listen, &local, None, access, &host), expected(), "{listen} {local} {access:?}");
        }
        let token = [("host", "127.0.0.1"), ("authorization", "Bearer secret")];
        for access in [Access::Read, Access::Protected] {
            assert_eq!(request(listen, &local, Some("secret"), access, &token), Ok(()), "{listen} {local} {access:?}");
        }
    }
}
