//! Recordings of connections that end inside a message, that have long messages or settings of their own, and what a
//! replay compares.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};

use harness::{Output, Program, Running, TEST_TIMEOUT};
use serde_json::Value;
use tempfile::TempDir;

use crate::recorder::logged;

/// A server with a recorder, its configuration and its directory of records.
struct Recorded {
    server: Running,
    place: TempDir,
}

impl Recorded {
    /// `listener` are the keys of the listener, and sections behind it.
    fn start(recorder: &str, listener: &str) -> Self {
        Self::start_program(Program::switchboard(), recorder, listener)
    }

    fn start_program(program: Program, recorder: &str, listener: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let records = place.path().join("records");
        let config = format!(
            "[recorder]\ndirectory = {records:?}\n{recorder}\n\
             [listeners.main]\nlisten = \"tcp://127.0.0.1:0\"\n{listener}\n"
        );
        fs::write(place.path().join("config.toml"), config).unwrap();
        let server = program.logs().args(["--config", "config.toml"]).current_dir(place.path()).start();
        Self { server, place }
    }

    /// Sends bytes, then perhaps the end of the input, reads until the server closes, and returns the written file.
    fn fail(&self, bytes: &[u8], ends: bool) -> (PathBuf, String) {
        let address = self.server.address("main");
        let mut client = TcpStream::connect(address.trim_start_matches("tcp://")).unwrap();
        client.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        client.write_all(bytes).unwrap();
        if ends {
            client.shutdown(Shutdown::Write).unwrap();
        }
        client.read_to_end(&mut Vec::new()).unwrap();
        let file = PathBuf::from(logged(&self.server, "record written")["file"].as_str().unwrap());
        let text = fs::read_to_string(&file).unwrap();
        (file, text)
    }

    fn replay(&self, file: &Path, args: &[&str]) -> Output {
        self.replay_with("config.toml", file, args)
    }

    fn replay_with(&self, config: &str, file: &Path, args: &[&str]) -> Output {
        let program = Program::switchboard().args(["replay", "--config", config]).arg(file.to_str().unwrap());
        program.args(args).current_dir(self.place.path()).run()
    }
}

/// The text without the pauses, which depend on the speed of the machine.
fn without_waits(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with("wait ")).map(|line| format!("{line}\n")).collect()
}

#[track_caller]
fn passes(replayed: &Output) {
    assert_eq!(replayed.code(), Some(0), "{}{}", replayed.stdout, replayed.stderr);
}

#[track_caller]
fn fails(replayed: &Output, what: &str) {
    assert_eq!(replayed.code(), Some(1), "{}{}", replayed.stdout, replayed.stderr);
    assert!(replayed.stdout.contains(what), "{}", replayed.stdout);
}

#[test]
fn a_message_that_the_end_of_the_input_cuts_is_recorded_with_that_end() {
    for (framing, sent, step) in [
        ("{ type = \"length\", width = 4 }", &b"\0\0\0\x09ab"[..], "> 000000 \"\\tab\"\n"),
        ("{ type = \"length\", width = 1 }", b"\x03one\x09abc", "> \"\\tabc\"\n"),
        ("\"json-lines\"", b"1\n{\"b\":", "> \"{\\\"b\\\":\"\n"),
    ] {
        let recorded = Recorded::start("", &format!("handler = \"echo\"\nframing = {framing}"));
        let (file, text) = recorded.fail(sent, true);
        assert!(text.ends_with(&format!("{step}> end\n< closed bad_frame\n")), "{framing}: {text}");
        passes(&recorded.replay(&file, &[]));
        let to = recorded.server.address("main");
        passes(&recorded.replay(&file, &["--to", &to]));
    }
}

#[test]
fn the_beginning_of_a_message_is_recorded_whatever_closes_the_connection() {
    for (framing, sent, step) in [
        ("\"lines\"", &b"one\nhalf"[..], "> \"one\\n\"\n< \"one\\n\"\n> \"half\"\n"),
        ("{ type = \"length\", width = 2 }", b"\0\x05ab", "> 00056162\n"),
        ("\"json-lines\"", b"{\"b\":", "> \"{\\\"b\\\":\"\n"),
    ] {
        let listener = format!("handler = \"echo\"\nframing = {framing}\n[listeners.main.timeouts]\nframe = \"100ms\"");
        let recorded = Recorded::start("on = [\"frame_timeout\"]", &listener);
        let (file, text) = recorded.fail(sent, false);
        assert!(without_waits(&text).ends_with(&format!("{step}< closed frame_timeout\n")), "{framing}: {text}");
        passes(&recorded.replay(&file, &[]));
        let other =
            recorded.replay(&file, &["--set", "timeouts.idle=1s", "--set", "listeners.main.timeouts.frame=30s"]);
        fails(&other, "closed with reason idle, and frame_timeout was recorded");
    }
}

#[test]
fn a_long_message_among_bytes_keeps_its_header_and_terminator() {
    for (framing, sent, steps) in [
        (
            "{ type = \"length\", width = 2 }",
            &b"\0\x0c0123456789ab\0\x05ab"[..],
            "> 000c \"012345678\" *3\n< 0014 \"hello, 01\" *11\n> 00056162\n",
        ),
        ("\"lines\"", b"0123456789ab\nhalf", "> \"012345678\" *3 \"\\n\"\n< \"hello, 01\" *11 \"\\n\"\n> \"half\"\n"),
        (
            "\"json-lines\"",
            b"\"3456789abc\"\n{",
            "> \"\\\"3456789a\" *3 \"\\n\"\n< \"\\\"3456789a\" *3 \"\\n\"\n> \"{\"\n",
        ),
    ] {
        let handler = if framing.contains("json") { "echo" } else { "hello" };
        let listener =
            format!("handler = \"{handler}\"\nframing = {framing}\n[listeners.main.timeouts]\nframe = \"100ms\"");
        let recorded = Recorded::start("message = \"9B\"\non = [\"frame_timeout\"]", &listener);
        let (file, text) = recorded.fail(sent, false);
        let text = without_waits(&text);
        assert!(text.contains(steps), "{framing}: {text}\nexpected {steps}");
        // With the whole message, the replies are compared around the bytes that are not stored.
        let text = text.replace("> 000c \"012345678\" *3", "> 000c \"0123456789ab\"");
        let text = text.replace("> \"012345678\" *3 \"\\n\"", "> \"0123456789ab\\n\"");
        let text = text.replace("> \"\\\"3456789a\" *3 \"\\n\"", "> \"\\\"3456789abc\\\"\\n\"");
        fs::write(&file, text).unwrap();
        passes(&recorded.replay(&file, &[]));
    }
}

#[test]
fn a_test_has_the_settings_of_the_listener_and_a_name_of_its_own() {
    let listener = "handler = \"slow\"\nframing = \"lines\"\n[listeners.main.timeouts]\nmessage = \"500ms\"\n\
                    [listeners.main.limits]\nframe = \"2KiB\"\nconnections_per_source = 7\n\
                    [handlers.slow]\ntype = \"hello\"\ndelay = \"2s\"";
    let recorded = Recorded::start("", listener);
    let (file, _) = recorded.fail(b"Ada\n", false);
    let copy = recorded.place.path().join("copy.script");
    fs::copy(&file, &copy).unwrap();
    let tests = recorded.replay(&file, &[copy.to_str().unwrap(), "--minimise", "--as-test"]);
    assert_eq!(tests.code(), Some(1), "{}", tests.stderr);
    assert_eq!(tests.stdout.matches("fn registry()").count(), 1, "{}", tests.stdout);
    let names: Vec<_> = tests.stdout.lines().filter(|line| line.starts_with("fn recorded_")).collect();
    assert!(names.len() == 2 && names[0] != names[1], "{names:?}");
    let config = tests.stdout.split_once("let config = r#\"").unwrap().1.split_once("\"#;").unwrap().0;
    assert!(config.contains("message = \"500ms\"") && config.contains("frame = \"2KiB\""), "{config}");
    fs::write(recorded.place.path().join("test.toml"), config).unwrap();
    fails(&recorded.replay_with("test.toml", &file, &[]), "the connection closed with reason message_timeout");
}

#[test]
fn a_replay_compares_the_end_of_a_connection_and_what_comes_before() {
    let recorded = Recorded::start("", "handler = \"hello\"\nframing = \"lines\"");
    let head = "switchboard script 1\nframing lines\ninfo listener \"main\"\n< \"welcome!\"\n";
    let file = recorded.place.path().join("a.script");
    for (steps, what) in [
        ("> \"Ada\"\n> \"exit\"\n< end\n", "the server sent 12 bytes that no step expects"),
        ("> \"Ada\"\n> \"exit\"\n< closed\n", "the server sent 12 bytes that no step expects"),
        ("> \"exit\"\n< nothing 1s\n", "the server closed the connection"),
        ("> \"Ada\"\n< nothing 1s\n", "the server sent 12 bytes that no step expects"),
        ("< nothing 1s\n< closed handler_closed\n", "the connection is still open"),
        ("> \"exit\"\n< closed idle\n", "closed with reason handler_closed, and idle was recorded"),
    ] {
        fs::write(&file, format!("{head}{steps}")).unwrap();
        fails(&recorded.replay(&file, &[]), what);
    }
    for steps in ["> \"exit\"\n< end\n", "< nothing 4m\n< closed idle\n", "> \"Ada\"\n< \"hello, Ada!\"\n"] {
        fs::write(&file, format!("{head}{steps}")).unwrap();
        passes(&recorded.replay(&file, &[]));
    }
    // Against a server too.
    let to = recorded.server.address("main");
    fs::write(&file, format!("{head}> \"Ada\"\n< \"hello, Ada!\"\ntimeout 200ms\n< closed handler_closed\n")).unwrap();
    let open = recorded.replay(&file, &["--to", &to, "--timeout", "1m"]);
    fails(&open, "expected the end of the connection; the connection is still open after 200ms");
}

#[test]
fn a_replay_waits_for_every_timeout() {
    let listener = "handler = \"slow\"\nframing = \"lines\"\n[listeners.main.timeouts]\nmessage = \"10s\"\nidle = \"0s\"\n\
                    [handlers.slow]\ntype = \"hello\"\ndelay = \"60s\"";
    let recorded = Recorded::start("", listener);
    let file = recorded.place.path().join("a.script");
    let late = "the connection closed with reason message_timeout after message 1";
    for (steps, what) in [
        ("> \"Ada\"\n< closed message_timeout\n", late),
        ("> \"Ada\"\n< nothing 40s\n", late),
        ("> \"Ada\"\ntimeout 1m\n< end\n", late),
        ("< closed idle\n", "the connection is still open, and it closed with reason idle when it was recorded"),
    ] {
        fs::write(&file, format!("switchboard script 1\nframing lines\n< \"welcome!\"\n{steps}")).unwrap();
        fails(&recorded.replay(&file, &[]), what);
    }
}

#[test]
fn the_beginning_of_a_message_is_redacted_without_the_header_of_its_framing() {
    let listener = "handler = \"vault\"\nframing = { type = \"length\", width = 2 }\n\
                    [listeners.main.timeouts]\nframe = \"100ms\"";
    let recorded = Recorded::start_program(crate::recorder::extended(), "on = [\"frame_timeout\"]", listener);
    let (_, text) = recorded.fail(b"\0\x04time\0\x20login secret", false);
    assert!(text.contains("> 00 \" login xxxxxx\"\n") && !text.contains("secret"), "{text}");
}

#[test]
fn the_memory_and_the_reasons_of_a_recorder_are_checked() {
    let check = |args: &[&str]| Program::switchboard().arg("check").args(args).run();
    let size = |args: &[&str]| {
        let document: Value = serde_json::from_str(&check(&[args, &["--format", "json"]].concat()).stdout).unwrap();
        (document["memory"]["total_bytes"].as_u64().unwrap(), document["memory"]["recorder"].clone())
    };
    let ((without, none), (with, recorder)) = (size(&[]), size(&["--set", "recorder.memory=1GiB"]));
    assert_eq!((with - without, recorder, none), (1 << 30, Value::from(1 << 30), Value::Null));
    assert!(check(&["--set", "recorder.memory=1GiB"]).stdout.contains(", recorder 1.0 GiB)"));
    for reason in ["handshake", "denied", "limit"] {
        let ended = check(&["--set", &format!("recorder.on=[\"{reason}\"]")]);
        assert_eq!(ended.code(), Some(78), "{reason}");
        assert!(ended.stderr.contains(&format!("\"{reason}\"")), "{reason}: {}", ended.stderr);
    }
}
