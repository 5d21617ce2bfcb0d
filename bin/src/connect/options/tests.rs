//! Tests of `connect/options.rs`.

use std::time::Duration;

use clap::Parser;
use switchboard::Framing;

use super::*;

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    options: ConnectOptions,
}

fn target(args: &[&str], is_terminal: bool) -> Result<Target, Failure> {
    let line = CommandLine::try_parse_from([&["connect"], args].concat()).unwrap();
    line.options.target(&crate::registry(), is_terminal)
}

#[test]
fn the_client_has_defaults() {
    let piped = target(&["tcp://localhost:9999"], false).unwrap();
    assert_eq!((piped.framing.name(), piped.wait, piped.prints_parts), ("raw", Duration::from_secs(1), false));
    let shown = target(&["tcp://localhost:9999"], true).unwrap();
    assert_eq!((shown.framing.name(), shown.prints_parts), ("lines", true));
    let named = target(&["unix:/a", "--framing", "{ type = \"delimited\", delimiter = \"|\" }"], true).unwrap();
    assert_eq!((named.framing.name(), named.framing.limit(7), named.prints_parts), ("delimited", 7, false));
}

#[test]
fn wrong_values_are_named() {
    for (args, part) in [
        (&["tcp://a:1", "--framing", "line"][..], "did you mean \"lines\""),
        (&["tcp://a:1", "--insecure"], "--insecure needs a tls:// address"),
        (&["udp://a:1", "--alpn", "x"], "--alpn needs a tls:// address, and the address is udp://a:1"),
        (&["tls://a:1", "--ca", "/nowhere/ca.pem"], "--ca: /nowhere/ca.pem cannot be read: No such file"),
        (&["tls://a:1", "--insecure", "--server-name", "a b"], "--server-name \"a b\" is not a name"),
        (&["mem:x"], "works only inside one process"),
        (&["systemd:x"], "use the address of the socket"),
    ] {
        let failure = format!("{:?}", target(args, false).unwrap_err());
        assert!(failure.contains(&part.replace('"', "\\\"")), "{failure}");
    }
}
