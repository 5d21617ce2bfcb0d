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
        ("unix:", "path"),
        ("unix:@", "name"),
        ("unixgram:/run/a\0b", "NUL"),
        ("mem:", "name"),
    ] {
        let error = text.parse::<Endpoint>().expect_err(text).to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}
