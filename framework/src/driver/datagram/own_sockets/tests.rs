//! Tests of `driver/datagram/own_sockets.rs`.

use super::*;

fn inet(text: &str) -> Address {
    Address::Inet(text.parse().unwrap())
}

// The ports are not used by other tests of this crate: the registry is shared.

#[test]
fn a_specific_address_is_own_until_its_last_registration_ends() {
    let (first, second) = (OwnSocket::register(inet("192.0.2.1:33")), OwnSocket::register(inet("192.0.2.1:33")));
    for (peer, is_own) in [
        ("192.0.2.1:33", true),
        ("[::ffff:192.0.2.1]:33", true),
        ("192.0.2.1:34", false),
        ("192.0.2.2:33", false),
        ("127.0.0.1:33", false),
    ] {
        assert_eq!(is_own_socket(&inet(peer)), is_own, "{peer}");
    }
    drop(first);
    assert!(is_own_socket(&inet("192.0.2.1:33")));
    drop(second);
    assert!(!is_own_socket(&inet("192.0.2.1:33")));
}

#[test]
fn a_wildcard_socket_is_own_at_every_local_address() {
    for (port, wildcard) in [(41, "0.0.0.0"), (42, "[::]")] {
        let _socket = OwnSocket::register(inet(&format!("{wildcard}:{port}")));
        for (ip, is_own) in [
            ("127.0.0.1", true),
            ("127.9.8.7", true),
            ("[::1]", true),
            ("[::ffff:127.0.0.1]", true),
            ("192.0.2.1", false),
            ("[2001:db8::1]", false),
        ] {
            assert_eq!(is_own_socket(&inet(&format!("{ip}:{port}"))), is_own, "{ip}:{port}");
        }
    }
}

#[test]
fn unix_sockets_are_own_by_path_and_unnamed_ones_never() {
    let path = |path: &str| Address::Unix(Some(std::path::Path::new(path).into()));
    let _socket = OwnSocket::register(path("/run/own.sock"));
    assert!(is_own_socket(&path("/run/own.sock")));
    assert!(!is_own_socket(&path("/run/other.sock")));
    assert!(!is_own_socket(&Address::Unix(None)));
}
