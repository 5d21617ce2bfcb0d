//! Start and stop of handlers in a program: no acknowledged value is lost, and a failure has its documented exit
//! status, log event and metrics.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Instant;

use harness::{Program, Running, Signal, TEST_TIMEOUT, target};
use serde_json::Value;
use switchboard::prelude::{Bytes, Context, Handler, NoOptions, Reply, Result, StartContext};
use tempfile::TempDir;

use crate::upgrade::Installed;

const DRAIN: &str = "[drain]\ndeadline = '3s'\n";

fn phases() -> Program {
    Program::extension("extended").logs()
}

/// A directory with this configuration, in which a program runs.
fn place(config: &str) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("switchboard.toml"), config).unwrap();
    place
}

fn text(place: &Path, file: &str) -> String {
    fs::read_to_string(place.join(file)).unwrap_or_default()
}

/// A configuration with a listener for each handler `(name, start, stop)` of the test program.
fn config(handlers: &[(&str, &str, &str)]) -> String {
    let mut config = DRAIN.to_owned();
    for (name, start, stop) in handlers {
        config += &format!(
            "[listeners.{name}]\nlisten = 'tcp://127.0.0.1:0'\nhandler = '{name}'\n\
             [handlers.{name}]\ntype = 'phases'\nstart = '{start}'\nstop = '{stop}'\nrecord = 'calls'\n"
        );
    }
    config
}

/// Sends commands to a store and returns the connection after their replies.
fn command(at: &str, commands: &[(&str, &str)]) -> BufReader<TcpStream> {
    let io = TcpStream::connect(at).unwrap();
    io.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    let mut client = BufReader::new(io);
    for (command, expected) in commands {
        ask(&mut client, command, expected);
    }
    client
}

fn ask(client: &mut BufReader<TcpStream>, command: &str, expected: &str) {
    writeln!(client.get_mut(), "{command}").unwrap();
    let mut reply = String::new();
    client.read_line(&mut reply).unwrap();
    assert_eq!(reply.trim_end(), expected, "{command}");
}

fn store_config(options: &str) -> String {
    format!(
        "{DRAIN}[listeners.main]\nlisten = 'tcp://127.0.0.1:0'\nhandler = 'values'\n\
         [handlers.values]\ntype = 'store'\n{options}\n"
    )
}

fn keys(place: &Path, file: &str) -> BTreeSet<String> {
    text(place, file).lines().map(|line| line.split_once(' ').unwrap().0.to_owned()).collect()
}

fn set_of(keys: &[&str]) -> BTreeSet<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

#[test]
fn acknowledged_values_survive_every_way_to_stop() {
    for signals in [&[Signal::SIGTERM][..], &[Signal::SIGINT], &[Signal::SIGTERM, Signal::SIGTERM]] {
        let place = place(&store_config("path = 'data'"));
        let server = Program::example("store").logs().current_dir(place.path()).start();
        let at = server.socket("main");
        let client = command(&at, &[("SET a 1", "ok"), ("SET b 2", "ok"), ("GET a", "1"), ("COUNT", "2")]);
        assert_eq!(text(place.path(), "data"), "", "the values are only in memory");
        signals.iter().for_each(|signal| server.signal(*signal));
        let ended = server.wait();
        drop(client);
        // The second signal may close the connection before the drain does.
        assert!(ended.code() == Some(0) || signals.len() == 2, "{}", ended.stderr);
        assert_eq!(text(place.path(), "data"), "a 1\nb 2\n");
        // The next process has them.
        let server = Program::example("store").logs().current_dir(place.path()).start();
        drop(command(&server.socket("main"), &[("GET b", "2"), ("COUNT", "2")]));
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait().code(), Some(0));
    }
}

#[test]
fn acknowledged_values_survive_reloads_that_replace_the_handler() {
    let place = place(&store_config("path = 'data'"));
    let server = Program::example("store").logs().current_dir(place.path()).start();
    let at = server.socket("main");
    let mut clients = vec![command(&at, &[("SET a0 0", "ok")])];
    for (round, options) in
        ["path = 'data'\nbatch = 500", "path = 'other'", "path = 'other'\nbatch = 3"].iter().enumerate()
    {
        fs::write(place.path().join("switchboard.toml"), store_config(options)).unwrap();
        server.signal(Signal::SIGHUP);
        let reloads = |server: &Running| server.stderr().matches("\"reloaded\"").count();
        while reloads(&server) <= round {
            server.wait_for_event(|event| event["message"] == "reloaded");
            thread::yield_now();
        }
        // The open connection keeps the old handler, which still accepts values.
        ask(clients.last_mut().unwrap(), &format!("SET old{round} 1"), "ok");
        clients.push(command(&at, &[(&format!("SET a{} 1", round + 1), "ok")]));
    }
    drop(clients);
    server.signal(Signal::SIGTERM);
    let ended = server.wait();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert_eq!(keys(place.path(), "data"), set_of(&["a0", "old0", "a1", "old1"]));
    assert_eq!(keys(place.path(), "other"), set_of(&["a2", "old2", "a3"]));
}

#[test]
fn acknowledged_values_survive_an_upgrade() {
    drop(Program::example("store")); // builds it
    let program = target().join("examples/store");
    let mut server = Installed::start_program(&program, &store_config("path = 'data'"));
    let at = server.log().socket("main");
    let mut busy = command(&at, &[("SET before 1", "ok")]);
    drop(command(&at, &[("SET closed 1", "ok")]));
    server.signal(Signal::SIGUSR2);
    ask(&mut busy, "SET during 1", "ok");
    let upgraded = server.next("upgraded");
    let old = server.current;
    server.current = u32::try_from(upgraded["pid"].as_u64().unwrap()).unwrap();
    assert_ne!(old, server.current);
    drop(busy);
    // The old process stops its handler after its last connection.
    wait_for_keys(server.place.path(), &["before", "closed", "during"]);
    drop(command(&at, &[("GET during", "1"), ("SET after 1", "ok"), ("COUNT", "4")]));
    let log = server.stop();
    wait_for_keys(server.place.path(), &["before", "closed", "during", "after"]);
    assert!(!log.contains("handler stop failed"), "{log}");
}

fn wait_for_keys(place: &Path, expected: &[&str]) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while keys(place, "data") != set_of(expected) {
        assert!(Instant::now() < deadline, "{:?}", keys(place, "data"));
        thread::yield_now();
    }
}

#[test]
fn a_failed_start_ends_the_program_with_status_1_and_names_the_handler() {
    for (start, expected) in [("error", "the database is closed"), ("panic", "panicked: the database is gone")] {
        let place = place(&config(&[("one", "ok", "ok"), ("two", start, "ok")]));
        let ended = phases().current_dir(place.path()).run();
        assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains(&format!("handler two cannot start: {expected}")), "{}", ended.stderr);
        assert!(!ended.stderr.contains("\"listening\""), "{}", ended.stderr);
        assert_eq!(text(place.path(), "calls"), "start one\nstart two\nstop one\n");
    }
    let place = place(&store_config("path = 'missing/data'"));
    let ended = Program::example("store").current_dir(place.path()).run();
    assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("handler values cannot start: path: cannot open missing/data:"), "{}", ended.stderr);
}

/// Waits until the handlers of the test program have made these calls.
fn wait_for_calls(server: &mut Running, place: &Path, calls: &str) {
    server.wait_until(calls, || text(place, "calls").contains(calls));
}

#[test]
fn a_stop_signal_during_start_stops_the_handlers_that_have_started() {
    for (stop, status) in [("ok", 0), ("error", 3), ("hang", 3)] {
        let place = place(&config(&[("one", "ok", stop), ("two", "hang", "ok")]));
        let mut server = phases().current_dir(place.path()).spawn();
        wait_for_calls(&mut server, place.path(), "start two");
        server.signal(Signal::SIGTERM);
        let ended = server.wait();
        assert_eq!(ended.code(), Some(status), "{stop}: {}", ended.stderr);
        assert_eq!(text(place.path(), "calls"), "start one\nstart two\nstop one\n");
        assert!(!ended.stderr.contains("\"listening\""), "{}", ended.stderr);
    }
}

#[test]
fn a_failed_stop_is_logged_and_the_exit_status_is_3() {
    for (stop, expected) in [("error", "the database is closed"), ("panic", "panicked"), ("hang", "drain.deadline")] {
        let place = place(&config(&[("one", "ok", stop), ("two", "ok", "ok")]));
        let server = phases().current_dir(place.path()).start();
        server.signal(Signal::SIGTERM);
        let failed = server.wait_for_event(|event| event["message"] == "handler stop failed");
        let drained = server.wait_for_event(|event| event["message"] == "drained");
        let ended = server.wait();
        assert_eq!(ended.code(), Some(3), "{}", ended.stderr);
        assert_eq!((&failed["handler"], &failed["level"]), (&Value::from("one"), &Value::from("ERROR")));
        assert!(failed["error"].as_str().unwrap().contains(expected), "{failed}");
        assert_eq!((&drained["cut"], &drained["stop_failures"]), (&Value::from(0), &Value::from(1)));
        assert!(text(place.path(), "calls").contains("stop two"));
    }
}

#[test]
fn a_full_disk_at_stop_is_a_failed_stop() {
    let place = place(&store_config("path = 'data'"));
    drop(Program::example("store")); // builds it
    let mut shell = Program::at(Path::new("/bin/sh")).logs().current_dir(place.path());
    let program = target().join("examples/store");
    shell = shell.args(["-c", "ulimit -f 0; exec \"$0\""]).arg(program.to_str().unwrap());
    let server = shell.start();
    drop(command(&server.socket("main"), &[("SET a 1", "ok")]));
    server.signal(Signal::SIGTERM);
    let ended = server.wait();
    assert_eq!(ended.code(), Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("handler stop failed"), "{}", ended.stderr);
}

#[test]
fn a_check_starts_no_handler() {
    let place = place(&config(&[("one", "error", "ok"), ("two", "hang", "ok")]));
    for args in [&["check"][..], &["check", "--bind"], &["config"], &["list"], &["schema"]] {
        let ended = phases().current_dir(place.path()).args(args).run();
        assert_eq!(ended.code(), Some(0), "{args:?}: {}", ended.stderr);
    }
    assert_eq!(text(place.path(), "calls"), "");
}

struct NeverStarted;

impl Handler for NeverStarted {
    type State = ();

    async fn start(&self, _: &StartContext) -> Result<()> {
        panic!("a check has started the handler");
    }

    async fn message(&self, _: &mut Context, _: Bytes) -> Result<Reply> {
        Ok(Reply::none())
    }
}

#[test]
fn a_check_in_a_test_starts_no_handler() {
    let mut registry = switchboard_server::registry();
    registry.handler("never", |_: NoOptions| Ok(NeverStarted));
    switchboard_server::ConfigCheck::new(&registry).set("handler", "never").check().unwrap();
}

#[test]
fn a_failed_start_of_the_new_program_rejects_an_upgrade() {
    let good = config(&[("one", "ok", "ok")]);
    let mut server = Installed::start_program(&harness::binary("extended"), &good);
    let place = server.place.path().to_owned();
    fs::write(place.join("switchboard.toml"), config(&[("one", "error", "ok")])).unwrap();
    let error = server.upgrade_is_rejected();
    assert!(error.contains("exit status 1"), "{error}");
    assert_eq!(text(&place, "calls"), "start one\nstart one\n", "the old handler is not stopped");
    server.stop();
    assert_eq!(text(&place, "calls"), "start one\nstart one\nstop one\n");
}

#[test]
fn an_address_that_cannot_be_bound_stops_the_handlers() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    for (stop, admin) in [("ok", false), ("error", false), ("ok", true)] {
        let mut config = config(&[("one", "ok", stop)]);
        let address = taken.local_addr().unwrap();
        if admin {
            config += &format!("[admin]\nlisten = 'tcp://{address}'\n");
        } else {
            config = config.replace("127.0.0.1:0", &address.to_string());
        }
        let place = place(&config);
        let ended = phases().current_dir(place.path()).run();
        assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains("in use"), "{}", ended.stderr);
        assert_eq!(text(place.path(), "calls"), "start one\nstop one\n");
    }
}

#[test]
fn a_failed_start_rejects_a_reload_and_the_server_continues() {
    for (start, expected) in [("error", "the database is closed"), ("panic", "panicked: the database is gone")] {
        let before = config(&[("one", "ok", "ok")]);
        let place = place(&before);
        let server = phases().current_dir(place.path()).start();
        let at = server.socket("one");
        let after = before.clone() + &config(&[("two", "ok", "ok"), ("bad", start, "ok")]).replace(DRAIN, "");
        fs::write(place.path().join("switchboard.toml"), after).unwrap();
        server.signal(Signal::SIGHUP);
        let rejected = server.wait_for_event(|event| event["message"] == "reload rejected");
        let error = rejected["error"].as_str().unwrap();
        let starts = text(place.path(), "calls");
        assert!(error.contains(&format!("handler bad cannot start: {expected}")), "{error} {starts}");
        let mut client = TcpStream::connect(at).unwrap();
        client.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        client.write_all(b"hi").unwrap();
        client.read_exact(&mut [0; 2]).unwrap();
        drop(client);
        server.signal(Signal::SIGTERM);
        let ended = server.wait();
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
        let calls = text(place.path(), "calls");
        let count = |call: &str| calls.lines().filter(|line| *line == call).count();
        assert_eq!((count("start one"), count("stop one"), count("start bad"), count("stop bad")), (1, 1, 1, 0));
        assert_eq!(count("start two"), count("stop two"), "{calls}");
    }
}

#[test]
fn metrics_of_handlers_are_escaped_and_labelled() {
    let place = place(&(config(&[("one", "ok", "ok"), ("two", "ok", "ok")]) + "[admin]\nlisten = 'unix:admin'\n"));
    let server = phases().current_dir(place.path()).start();
    server.wait_for_event(|event| event["message"] == "listening" && event["listener"] == "admin");
    let mut admin = UnixStream::connect(place.path().join("admin")).unwrap();
    admin.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut page = String::new();
    admin.read_to_string(&mut page).unwrap();
    let lines: Vec<&str> = page.lines().filter(|line| line.contains("switchboard_handler_")).collect();
    assert_eq!(
        lines,
        [
            "# HELP switchboard_handler_starts_total Starts, by result.",
            "# TYPE switchboard_handler_starts_total counter",
            "switchboard_handler_starts_total{handler=\"one\",result=\"ok\"} 1",
            "switchboard_handler_starts_total{handler=\"one\",result=\"\\\"\\\\\"} 0",
            "switchboard_handler_starts_total{handler=\"two\",result=\"ok\"} 1",
            "switchboard_handler_starts_total{handler=\"two\",result=\"\\\"\\\\\"} 0",
        ]
    );
}

/// A server that a program runs with the library alone, with these options of the handler, after the call of `start`.
fn library(start: &str, stop: &str) -> (TempDir, Running) {
    let place = place("");
    let options = format!(r#"{{"start": "{start}", "stop": "{stop}", "record": "calls"}}"#);
    let extended = Program::extension("extended");
    let mut server = extended.args(["library", &options]).current_dir(place.path()).start();
    wait_for_calls(&mut server, place.path(), "start main\n");
    (place, server)
}

#[test]
fn a_signal_never_ends_a_program_of_the_library_without_a_drain() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        // The signal arrives during the start, or shortly after it. Only a handler that has started is stopped.
        for _ in 0..20 {
            let (place, server) = library("ok", "ok");
            server.signal(signal);
            let ended = server.wait();
            assert_eq!((ended.code(), &*ended.stderr), (Some(0), ""));
            assert!(["start main\n", "start main\nstop main\n"].contains(&&*text(place.path(), "calls")));
        }
        let (place, server) = library("hang", "ok");
        server.signal(signal);
        let ended = server.wait();
        assert_eq!((ended.code(), &*ended.stderr), (Some(0), ""));
        assert_eq!(text(place.path(), "calls"), "start main\n");
    }
}
