//! Tests of `bench/load.rs`.

use clap::Parser;

use super::*;

#[derive(Parser)]
struct CommandLine {
    #[command(flatten)]
    options: BenchOptions,
}

/// The load of a command line.
pub(in crate::bench) fn load(args: &[&str]) -> Result<Load, Failure> {
    let line = CommandLine::try_parse_from([&["bench"], args].concat()).unwrap_or_else(|error| panic!("{error}"));
    Load::new(line.options, &crate::registry())
}

#[test]
fn the_depth_depends_on_the_framing_and_the_rate() {
    for (args, depth) in [
        (&["tcp://a:1"][..], 1),
        (&["tcp://a:1", "--framing", "lines"], 1),
        (&["tcp://a:1", "--framing", "lines", "--depth", "7"], 7),
        (&["tcp://a:1", "--framing", "lines", "--rate", "5/s"], 1000),
        (&["tcp://a:1", "--framing", "lines", "--rate", "5/s", "-c", "10000"], 100),
        (&["tcp://a:1", "--reply-size", "8B", "--depth", "7"], 7),
        (&["tcp://a:1", "--rate", "5/s"], 1),
        (&["udp://a:1", "--rate", "5/s"], 1),
    ] {
        assert_eq!(load(args).unwrap().depth, depth, "{args:?}");
    }
}

#[test]
fn a_message_is_generated_for_the_framing() {
    let message = |framing: &str| load(&["tcp://a:1", "--size", "5B", "--framing", framing]).unwrap().message;
    assert_eq!((&message("lines")[..], &message("json-lines")[..]), (&b"xxxxx"[..], &b"\"xxx\""[..]));
}

#[test]
fn wrong_values_are_named() {
    let place = tempfile::tempdir().unwrap();
    let two_lines = place.path().join("two");
    std::fs::write(&two_lines, "a\nb").unwrap();
    for (args, part) in [
        (&["-c", "0"][..], "--connections 0: use 1 to 100000"),
        (&["--depth", "0", "--framing", "lines"], "--depth 0: use at least 1"),
        (&["--depth", "2"], "--depth 2: with the framing raw, replies have no boundaries"),
        (&["--depth", "101", "--framing", "lines", "-c", "10000"], "at most 1000000 messages can wait"),
        (&["--rate", "0/s"], "--rate 0/s sends nothing"),
        (&["--duration", "0s"], "must be longer than 0s"),
        (&["--framing", "line"], "did you mean"),
        (&["--framing", "{ type = \"lines\", max = \"1KiB\" }", "--size", "2KiB"], "--size 2KiB: the message has 2048"),
        (&["--framing", "{ type = \"length\", width = 1 }", "--size", "2KiB"], "does not fit the framing length"),
        (&["--size", "16MiB", "-c", "100"], "can send messages of at most 10737418 bytes"),
        (&["--file", "/nowhere/message"], "--file /nowhere/message: cannot be read: No such file"),
        (&["--framing", "json-lines", "--file", two_lines.to_str().unwrap()], "does not fit the framing json-lines"),
        (&["--insecure"], "--insecure needs a tls:// address"),
    ] {
        let failure = format!("{:?}", load(&[&["tcp://a:1"], args].concat()).unwrap_err());
        assert!(failure.contains(part), "{args:?}: {failure}");
    }
    assert!(format!("{:?}", load(&["udp://a:1", "--greeting"]).unwrap_err()).contains("--greeting needs connections"));
    assert!(format!("{:?}", load(&["udp://a:1", "--depth", "2"]).unwrap_err()).contains("a lost datagram"));
}
