//! Tests of `address.rs`.

use std::path::Path;
use std::sync::Arc;

use super::*;

#[test]
fn peer_names_are_escaped() {
    let path = |path: &str| Address::Unix(Some(Arc::from(Path::new(path)))).to_string();
    assert_eq!(path("/tmp/a"), "unix:/tmp/a");
    assert_eq!(path("/tmp/a\nfake \x1b[31m"), "unix:/tmp/a\\nfake \\u{1b}[31m");
    assert_eq!(path("\0name"), "unix:@name");
    assert_eq!(Address::Named("a\nb".into()).to_string(), "a\\nb");
}

#[test]
fn every_form_is_parsed_and_printed_unchanged() {
    for text in [
        "tcp://127.0.0.1:9999",
        "tcp://localhost:0",
        "tls://0.0.0.0:443",
        "udp://[::1]:53",
        "unix:/run/app.sock",
        "unixgram:/run/app.sock",
        "unix:@app",
        "unixgram:@app/with:any name",
        "unix:./@file",
        "tcp://[fe80::1%eth0]:7000",
        "systemd:main",
        "mem:test",
        "stdio:",
        "quic://a:1",
    ] {
        assert_eq!(text.parse::<Endpoint>().expect(text).to_string(), text);
    }
}

#[test]
fn parse_errors_name_the_problem() {
    for (text, part) in [
        ("", "missing scheme; use an address such as"),
        ("9999", "missing scheme; use an address such as"),
        ("localhost:9999", "tcp://localhost:9999"),
        ("127.0.0.1:9999", "tcp://127.0.0.1:9999"),
        ("tcp:127.0.0.1:1", "two slashes"),
        ("tcp://127.0.0.1", "missing port"),
        ("tcp://127.0.0.1:70000", "0 to 65535"),
        ("tcp://127.0.0.1:+1", "0 to 65535"),
        ("tcp://:80", "0.0.0.0"),
        ("tcp://::1:80", "brackets"),
        ("tcp://[::1:80", "brackets"),
        ("tcp://127.0.0.256:80", "not an IPv4 address"),
        ("tcp://a b:80", "not a host"),
        ("tcp://[fe80::1%]:80", "brackets"),
        ("tcp://[fe80::1%a b]:80", "brackets"),
        ("tcp://fe80%eth0:80", "not a host"),
        ("tcp://[fe80::1]:80", "needs an interface, as in [fe80::1%eth0]:80"),
        ("udp://[febf::1]:80", "needs an interface"),
        ("unix:", "path"),
        ("unix:@", "name"),
        ("unixgram:/run/a\0b", "NUL"),
        ("mem:", "name"),
    ] {
        let error = text.parse::<Endpoint>().expect_err(text).to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn a_path_that_no_socket_can_have_is_an_error() {
    for scheme in ["unix", "unixgram"] {
        for start in ["/", "@", "relative/"] {
            let text = |length: usize| format!("{scheme}:{start:x<length$}");
            assert!(text(107).parse::<Endpoint>().is_ok(), "{}", text(107));
            let error = text(108).parse::<Endpoint>().expect_err(start).to_string();
            assert!(error.contains("it has 108 bytes; at most 107 are possible"), "{error}");
        }
    }
}

#[test]
fn an_error_shows_no_password() {
    for text in ["tcp://user:hunter2@host:1", "tls://hunter2@[::1]:1", "udp://a@hunter2@h:1", "TCP://:hunter2@h:1"] {
        let error = text.parse::<Endpoint>().expect_err(text).to_string();
        assert!(!error.contains("hunter2") && error.contains("//…@"), "{error}");
        assert!(text.starts_with('T') || error.contains("an address has no user and no password"), "{error}");
    }
}

#[test]
fn an_error_names_what_is_wrong() {
    for (text, reason) in [
        ("tcp://[::1]", "missing port"),
        ("tls://[::]", "missing port"),
        ("tcp://[::1]:x", "\"x\" is not a port"),
        ("TCP://[::1]:80", "a scheme has lower-case letters; use tcp://[::1]:80"),
        ("Unix:/run/x", "a scheme has lower-case letters; use unix:/run/x"),
    ] {
        let error = text.parse::<Endpoint>().expect_err(text).to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn every_suggested_address_can_be_parsed() {
    for (text, suggested) in [
        (":9999", "tcp://0.0.0.0:9999"),
        ("::1:9999", "tcp://[::1]:9999"),
        ("[::1]:9999", "tcp://[::1]:9999"),
        ("TCP://127.0.0.1:9999", "tcp://127.0.0.1:9999"),
        ("tcp://:9999", "tcp://0.0.0.0:9999"),
        ("udp:127.0.0.1:53", "udp://127.0.0.1:53"),
        ("tls::443", "tls://0.0.0.0:443"),
        ("tcp://::1:80", "tcp://[::1]:80"),
        ("tcp://2001:db8::1:2:80", "tcp://[2001:db8::1:2]:80"),
        ("1.2.3.4.5:80", "tcp://127.0.0.1:9999"),
        ("a b:80", "tcp://127.0.0.1:9999"),
    ] {
        let error = text.parse::<Endpoint>().expect_err(text).to_string();
        let (_, reason) = error.split_once(" is not an address: ").unwrap();
        let addresses: Vec<&str> = reason.split([' ', ';', ',']).filter(|word| word.contains("://")).collect();
        assert!(addresses.contains(&suggested), "{text}: {error}");
        for address in addresses {
            assert!(address.parse::<Endpoint>().is_ok(), "{text}: {error}");
        }
    }
}
