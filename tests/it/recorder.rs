//! The flight recorder: files of connections that failed, and their replay.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;

use harness::{Program, Running, TEST_TIMEOUT};
use serde_json::Value;
use tempfile::TempDir;

#[path = "../extension/vault.rs"]
mod vault;

pub(crate) fn extended() -> Program {
    Program::extension("extended")
}

pub(crate) fn logged(server: &Running, message: &str) -> Value {
    server.wait_for_event(|event| event["message"] == message)
}

/// A server with the handler `vault`, its configuration and its directory of records.
struct Recorded {
    server: Running,
    place: TempDir,
}

impl Recorded {
    fn start(recorder: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        let records = place.path().join("records");
        let config = format!(
            "[recorder]\ndirectory = {records:?}\n{recorder}\n[listeners.main]\nlisten = \"tcp://127.0.0.1:0\"\n\
             framing = \"lines\"\nhandler = \"vault\"\n[listeners.json]\nlisten = \"tcp://127.0.0.1:0\"\n\
             framing = \"json-lines\"\nhandler = \"echo\"\n"
        );
        fs::write(place.path().join("config.toml"), config).unwrap();
        let server = extended().logs().args(["--config", "config.toml"]).current_dir(place.path()).start();
        Self { server, place }
    }

    fn connect(&self, listener: &str) -> Client {
        Client::connect(&self.server.address(listener))
    }

    /// The next file that the log names.
    fn next_file(&self) -> PathBuf {
        let event = logged(&self.server, "record written");
        PathBuf::from(event["file"].as_str().unwrap())
    }

    fn files(&self) -> Vec<PathBuf> {
        let found = fs::read_dir(self.place.path().join("records")).unwrap();
        let mut found: Vec<_> = found.map(|entry| entry.unwrap().path()).collect();
        found.sort();
        found
    }

    fn replay(&self, file: &Path, args: &[&str]) -> harness::Output {
        let program = extended().args(["replay", "--config", "config.toml"]).arg(file.to_str().unwrap());
        program.args(args).current_dir(self.place.path()).run()
    }
}

pub(crate) struct Client(BufReader<TcpStream>);

impl Client {
    pub(crate) fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address.trim_start_matches("tcp://")).unwrap();
        stream.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        Self(BufReader::new(stream))
    }

    pub(crate) fn send(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.send(line);
        let mut reply = String::new();
        self.0.read_line(&mut reply).unwrap();
        reply.trim_end().to_owned()
    }

    pub(crate) fn expect_closed(&mut self) {
        let mut rest = Vec::new();
        let _ = self.0.read_to_end(&mut rest); // a reset is a close, too
        assert!(rest.is_empty(), "{rest:?}");
    }
}

/// The conversation with the defect: the handler panics at the seventh message.
fn fail(client: &mut Client) {
    for (message, reply) in
        [("one", "ONE"), ("login secret", "welcome"), ("two", "TWO"), ("arm", "armed"), ("three", "THREE")]
    {
        assert_eq!(client.ask(message), reply);
    }
    assert!(client.ask("time").starts_with("time "));
    client.send("open");
    client.expect_closed();
}

#[test]
fn a_panic_under_load_writes_one_file_that_replays_and_becomes_the_shortest_test() {
    let recorded = Recorded::start("");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = recorded.connect("main");
                (0..300).for_each(|_| assert_eq!(client.ask("load"), "LOAD"));
            });
        }
        fail(&mut recorded.connect("main"));
    });
    let file = recorded.next_file();
    assert_eq!(recorded.files(), std::slice::from_ref(&file));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("> \"login xxxxxx\"\n") && !text.contains("secret"), "{text}");
    assert!(text.ends_with("> \"open\"\n< closed panic\n"), "{text}");

    let failed = recorded.replay(&file, &[]);
    assert_eq!(failed.code(), Some(1), "{}", failed.stderr);
    let what = "the connection closed with reason panic after message 7: panicked: the vault opens twice\n";
    assert!(failed.stdout.contains(what), "{}", failed.stdout);
    let corrected = recorded.replay(&file, &["--set", "handlers.vault.corrected=true"]);
    assert_eq!(corrected.code(), Some(0), "{}", corrected.stdout);
    assert!(corrected.stdout.contains("(7 messages, 6 replies)"), "{}", corrected.stdout);

    let shortest = recorded.replay(&file, &["--minimise"]);
    let steps: Vec<_> = shortest.stdout.lines().filter(|line| line.starts_with(['<', '>'])).collect();
    assert_eq!(steps, ["> \"arm\"", "> \"open\"", "< closed panic"], "{}", shortest.stdout);
    let test = recorded.replay(&file, &["--minimise", "--as-test"]).stdout;
    let literals: Vec<_> = test.split("r#\"").skip(1).filter_map(|rest| rest.split("\"#").next()).collect();
    let [config, script] = literals[..] else { panic!("{test}") };
    let run = |config: &str| {
        let mut registry = switchboard_server::registry();
        registry.handler("vault", vault::build).set_summary(vault::SUMMARY);
        switchboard_server::replay_script(&registry, config, script)
    };
    assert_eq!(run(config).unwrap_err(), what.replace("message 7", "message 2").trim_end());
    run(&config.replace("corrected = false", "corrected = true")).unwrap();
}

#[test]
fn a_replay_against_a_server_reports_the_failure_too() {
    let recorded = Recorded::start("");
    fail(&mut recorded.connect("main"));
    let file = recorded.next_file();
    let address = recorded.server.address("main");
    let differs = recorded.replay(&file, &["--to", &address]);
    assert_eq!(differs.code(), Some(1), "{}", differs.stderr);
    assert!(differs.stdout.contains("| < \"time "), "{}", differs.stdout);
    let failed = recorded.replay(&file, &["--to", &address, "--listener", "main"]);
    assert_eq!(failed.code(), Some(1), "{}", failed.stderr);
    let what = "the server closed the connection, as when it was recorded (panic)";
    assert!(failed.stdout.contains(what), "{}", failed.stdout);
    let corrected = extended()
        .logs()
        .args(["--listen", "tcp://127.0.0.1:0", "--framing", "lines", "--handler", "vault"])
        .args(["--set", "handlers.vault.corrected=true"])
        .start();
    let passed = recorded.replay(&file, &["--to", &corrected.address("main"), "--listener", "main"]);
    assert_eq!(passed.code(), Some(0), "{}", passed.stdout);
    let text = fs::read_to_string(&file).unwrap().replace("\"THREE\"", "\"THRICE\"");
    fs::write(&file, text).unwrap();
    let other = recorded.replay(&file, &["--to", &corrected.address("main"), "--listener", "main"]);
    assert!(other.stdout.contains("expected \"I\", received \"E\""), "{}", other.stdout);
    let unknown = recorded.replay(&file, &["--to", &address, "--listener", "other"]);
    assert_eq!(unknown.code(), Some(2), "{}", unknown.stderr);
    let what = "--listener: \"other\" is not a listener; the listeners are json, main";
    assert!(unknown.stderr.contains(what), "{}", unknown.stderr);
}

#[test]
fn a_reply_that_differs_is_shown_with_its_line() {
    let recorded = Recorded::start("");
    fail(&mut recorded.connect("main"));
    let file = recorded.next_file();
    let text = fs::read_to_string(&file).unwrap().replace("\"THREE\"", "\"THRICE\"");
    fs::write(&file, text).unwrap();
    let failed = recorded.replay(&file, &["--set", "handlers.vault.corrected=true"]);
    let what = "error: reply 5 differs at byte 3: expected \"I\", received \"E\"\n";
    assert!(failed.stdout.contains(what) && failed.stdout.contains("| < \"THRICE\""), "{}", failed.stdout);
}

#[test]
fn an_invalid_message_is_in_its_file_as_bytes() {
    let recorded = Recorded::start("");
    let mut client = recorded.connect("json");
    assert_eq!(client.ask("{\"a\":1}"), "{\"a\":1}");
    client.send("{\"b\"");
    client.expect_closed();
    let file = recorded.next_file();
    let text = fs::read_to_string(&file).unwrap();
    let steps = "> \"{\\\"a\\\":1}\\n\"\n< \"{\\\"a\\\":1}\\n\"\n> \"{\\\"b\\\"\\n\"\n< closed bad_frame\n";
    assert!(text.ends_with(steps) && !text.contains("\nframing"), "{text}");
    let replayed = recorded.replay(&file, &[]);
    assert_eq!(replayed.code(), Some(0), "{}", replayed.stdout);
}

#[test]
fn a_message_that_was_recorded_in_part_cannot_be_replayed() {
    let recorded = Recorded::start("message = \"8B\"\non = [\"panic\"]");
    let mut client = recorded.connect("main");
    assert_eq!(client.ask("a long message"), "A LONG MESSAGE");
    client.ask("arm");
    client.send("open");
    client.expect_closed();
    let file = recorded.next_file();
    assert!(fs::read_to_string(&file).unwrap().contains("> \"a long m\" *6\n< \"A LONG M\" *6\n"));
    let replayed = recorded.replay(&file, &[]);
    assert_eq!(replayed.code(), Some(78));
    assert!(replayed.stderr.contains("record whole messages with a larger recorder.message"), "{}", replayed.stderr);
}

#[test]
fn a_damaged_or_newer_file_is_an_error() {
    let place = tempfile::tempdir().unwrap();
    for (text, error) in [
        (
            "switchboard script 2\n",
            "a:1:20: error: the script has version 2, and this program reads version 1; use a newer",
        ),
        ("switchboard script 1\n> \"hel", "a:2:3: error:"),
        ("", "a:1:1: error: this is not a conversation script"),
    ] {
        fs::write(place.path().join("a"), text).unwrap();
        let ended = extended().args(["replay", "a"]).current_dir(place.path()).run();
        assert_eq!(ended.code(), Some(78), "{text:?}");
        assert!(ended.stderr.contains(error), "{text:?}: {}", ended.stderr);
    }
}

#[test]
fn a_directory_that_cannot_be_written_does_not_affect_the_server() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("file"), "").unwrap();
    let server = extended()
        .logs()
        .args(["--listen", "tcp://127.0.0.1:0", "--framing", "lines", "--handler", "vault"])
        .args(["--set", "recorder.directory=file/records"])
        .current_dir(place.path())
        .start();
    let error = "recorder.directory: file/records: cannot write a record: Not a directory";
    assert_eq!(logged(&server, "records cannot be written")["error"], error);
    let mut client = Client::connect(&server.address("main"));
    client.ask("arm");
    client.send("open");
    client.expect_closed();
    assert_eq!(logged(&server, "record not written")["error"], error);
    assert_eq!(Client::connect(&server.address("main")).ask("still"), "STILL");
}

#[test]
fn the_sizes_are_checked() {
    let check = |set: &str| extended().args(["check", "--set", set]).run();
    for (set, error) in [
        ("recorder.memory=1KiB", "recorder.memory: \"1KiB\" is too little; write \"64KiB\" or more"),
        ("recorder.message=1MiB", "recorder.message: \"1MiB\" is too much; write \"64KiB\" or less"),
        ("recorder.files=0", "recorder.files: 0 is out of range; 1 to 100000 are possible"),
        ("recorder.on=[\"panik\"]", "panik"),
    ] {
        let ended = check(set);
        assert_eq!(ended.code(), Some(78), "{set}");
        assert!(ended.stderr.contains(error), "{set}: {}", ended.stderr);
    }
    let schema: Value = serde_json::from_str(&extended().args(["schema"]).run().stdout).unwrap();
    let default = |key: &str| schema["$defs"]["RecorderSettings"]["properties"][key]["default"].clone();
    assert_eq!((default("memory"), default("message")), ("16MiB".into(), "256B".into()));
    assert_eq!(default("on"), serde_json::json!(["panic", "handler_error", "bad_frame", "message_timeout"]));
    assert_eq!((default("directory"), default("files")), ("/var/lib/switchboard/records".into(), 100.into()));
}
