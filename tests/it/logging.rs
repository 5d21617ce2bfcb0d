//! The log of programs on the library: one call prints the events that the `switchboard` program prints.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;

use harness::{Event, Program, Running, Signal, TEST_TIMEOUT, free_port, uninterrupted};

use crate::log_faults::wait_until;

/// The example on a free port, and its address.
fn example() -> (Program, String) {
    let at = format!("127.0.0.1:{}", free_port());
    (Program::example("logging").arg(format!("tcp://{at}")).logs(), at)
}

/// Sends bytes and returns the reply up to the close.
fn converse(at: &str, bytes: &[u8]) -> String {
    let mut client = TcpStream::connect(at).unwrap();
    client.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    client.write_all(bytes).unwrap();
    let mut reply = Vec::new();
    uninterrupted(|| client.read_to_end(&mut reply)).unwrap();
    String::from_utf8(reply).unwrap()
}

fn closed(server: &Running, reason: &str) -> Event {
    server.wait_for_event(|event| event["message"] == "connection closed" && event["reason"] == reason)
}

#[test]
fn one_call_prints_accepts_closes_and_errors_as_flat_json() {
    let (program, at) = example();
    let server = program.start();
    assert_eq!(converse(&at, b"21\nten\n"), "42\n");
    let event = closed(&server, "handler_error");
    assert_eq!((&event["listener"], &event["messages"]), (&"main".into(), &2.into()));
    assert!(event["error"].as_str().unwrap().contains("invalid digit"), "{event}");
    assert!(event["timestamp"].is_string() && event["level"].is_string(), "{event}");
    let opened = server.wait_for_event(|event| event["message"] == "connection opened");
    assert_eq!(opened["peer"], event["peer"]);
    let silent = TcpStream::connect(&at).unwrap();
    server.wait_for_event(|event| event["peer"] == silent.local_addr().unwrap().to_string());
    server.signal(Signal::SIGTERM);
    let ended = server.wait();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    // The lines of the end are written before the process exits.
    let last: Event = serde_json::from_str(ended.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(last["message"], "drained", "{}", ended.stderr);
    assert!(ended.stderr.lines().any(|line| line.contains(r#""reason":"drain""#)), "{}", ended.stderr);
}

#[test]
fn the_variable_rust_log_sets_the_level_and_an_invalid_one_is_one_sentence() {
    let (program, at) = example();
    let server = program.env("RUST_LOG", "switchboard=debug").start();
    assert_eq!(converse(&at, b"x\n"), "");
    server.wait_for_event(|event| event["level"] == "DEBUG");
    drop(server);

    let (program, _) = example();
    let ended = program.env("RUST_LOG", "error=loud").run();
    assert_eq!(ended.code(), Some(1));
    let wanted = "Error: environment variable RUST_LOG: \"error=loud\" is not a level";
    assert!(ended.stderr.starts_with(wanted) && ended.stderr.lines().count() == 1, "{}", ended.stderr);
}

#[test]
fn suppressed_lines_are_counted_without_a_further_event() {
    const TIMES: u64 = 400;
    let (program, at) = example();
    let server = program.start();
    for _ in 0..TIMES {
        converse(&at, b"x\n");
    }
    let count = |log: &[Event], message: &str| {
        let written = log.iter().filter(|event| event["message"] == message).count() as u64;
        let suppressed = log.iter().filter(|event| event["event"] == message);
        written + suppressed.map(|event| event["count"].as_u64().unwrap()).sum::<u64>()
    };
    wait_until(&server, "every line is written or counted", |log| {
        count(log, "connection opened") == TIMES && count(log, "connection closed") == TIMES
    });
}

#[test]
fn a_start_error_is_a_line_of_the_log() {
    let (program, at) = example();
    let _used = TcpListener::bind(&at).unwrap();
    let ended = program.run();
    assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains(&at), "{}", ended.stderr);
}

#[test]
fn the_program_runs_with_the_subscriber_that_it_finds() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    let admin = format!("admin.listen=unix:{}", socket.display());
    let args = ["--listen", "tcp://127.0.0.1:0", "--handler", "echo", "--log-level", "error", "--set", &admin];
    let server = Program::extension("own_log").args(args).logs().start();
    server.wait_for_event(|event| event["level"] == "WARN" && event.to_string().contains("own tracing subscriber"));
    wait_until(&server, "the admin endpoint", |_| UnixStream::connect(&socket).is_ok());
    for request in ["GET /log-level", "PUT /log-level"] {
        let mut client = UnixStream::connect(&socket).unwrap();
        client.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        let rest = "HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 5\r\n\r\ndebug";
        client.write_all(format!("{request} {rest}").as_bytes()).unwrap();
        let mut reply = String::new();
        uninterrupted(|| client.read_to_string(&mut reply)).unwrap();
        assert!(reply.starts_with("HTTP/1.1 404 ") && reply.contains("own tracing subscriber"), "{reply}");
    }
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
}
