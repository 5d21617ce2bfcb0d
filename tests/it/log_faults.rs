//! Clients cannot fill the log, every suppressed or dropped line is counted, and lines are never mixed.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use harness::{Event, Program, Running, Signal, TEST_TIMEOUT, free_port, tool, uninterrupted};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::kill;
use nix::unistd::{Pid, geteuid};

const PROXY: [&str; 2] = ["--set", "listeners.main.proxy.trusted=127.0.0.0/8"];

/// The sum of a field of all events with this message.
fn sum(events: &[Event], message: &str, field: &str, is_wanted: impl Fn(&Event) -> bool) -> u64 {
    let wanted = events.iter().filter(|event| event["message"] == message && is_wanted(event));
    wanted.map(|event| event[field].as_u64().unwrap()).sum()
}

fn count(events: &[Event], message: &str) -> u64 {
    events.iter().filter(|event| event["message"] == message).count() as u64
}

fn suppressed(events: &[Event], of: &str) -> u64 {
    sum(events, "log lines suppressed", "count", |event| event["event"] == of && event["listener"] == "main")
}

/// Connects and sends `bytes` this many times.
fn flood(address: &str, times: usize, bytes: &[u8]) {
    for _ in 0..times {
        let mut client = TcpStream::connect(address).unwrap();
        let _ = client.write_all(bytes); // the server may have closed the connection
    }
}

#[test]
fn connections_are_logged_up_to_a_rate_and_the_rest_is_counted_without_a_further_event() {
    const TIMES: usize = 700;
    let inputs: [(&str, &[&str], &[u8]); 4] = [
        ("connect and close", &[], b""),
        ("a message", &[], b"hello\n"),
        ("bad frames", &["--framing", "json-lines"], b"no json\n"),
        ("no PROXY header", &PROXY, b"GET / HTTP/1.1\r\n\r\n"),
    ];
    for (what, args, bytes) in inputs {
        let limit = ["--set", "log.lines=200/m"];
        let listen = ["--listen", "tcp://127.0.0.1:0", "--handler", "echo"];
        let server = Program::switchboard().args(listen).args(limit).args(args).start();
        let address = server.socket("main");
        flood(&address, TIMES, bytes);
        for message in ["connection opened", "connection closed"] {
            wait_until(&server, what, |log| count(log, message) + suppressed(log, message) == TIMES as u64);
            assert!(count(&server.log(), message) <= 2 * 200, "{what}: {message}");
        }
    }
}

/// Waits until the events so far fulfil a condition.
#[track_caller]
pub(crate) fn wait_until(server: &Running, what: &str, holds: impl Fn(&[Event]) -> bool) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while !holds(&server.log()) {
        assert!(Instant::now() < deadline, "{what}:\n{}", server.stderr());
        thread::yield_now();
    }
}

#[test]
fn what_is_suppressed_is_counted_at_exit() {
    let args = ["--listen", "tcp://127.0.0.1:0", "--handler", "echo", "--set", "log.lines=3/h"];
    for workers in ["1", "3"] {
        let server = Program::switchboard().args(args).args(["--set", &format!("runtime.workers={workers}")]).start();
        let address = server.socket("main");
        let clients: Vec<_> = (0..50).map(|_| TcpStream::connect(&address).unwrap()).collect();
        for mut client in &clients {
            client.write_all(b"x").unwrap();
            client.read_exact(&mut [0]).unwrap();
        }
        server.signal(Signal::SIGTERM); // closes the 50 connections
        let output = server.wait();
        let log: Vec<Event> = output.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for message in ["connection opened", "connection closed"] {
            assert_eq!((count(&log, message), suppressed(&log, message)), (3, 47), "{workers}: {log:#?}");
        }
    }
}

#[test]
fn rejections_and_dropped_datagrams_are_counted_without_a_further_event() {
    let stream = ["--listen", "tcp://127.0.0.1:0", "--handler", "echo"];
    let cases: [(&str, &[&str]); 3] = [
        ("denied", &["--set", "access.deny=127.0.0.0/8"]),
        ("rate", &["--set", "rate.connections_per_source=1/h"]),
        ("limit", &["--set", "limits.connections_per_source=1"]),
    ];
    for (reason, args) in cases {
        let server = Program::switchboard().args(stream).args(args).start();
        let address = server.socket("main");
        let _first = TcpStream::connect(&address).unwrap();
        flood(&address, 300, b"");
        let rejected = if reason == "denied" { 301 } else { 300 };
        let is_reason = |event: &Event| event["reason"] == reason;
        wait_until(&server, reason, |log| sum(log, "connection rejected", "count", is_reason) == rejected);
        assert!(count(&server.log(), "connection rejected") <= 30, "{reason}: {}", server.stderr());
    }
    let datagram = ["--listen", "udp://127.0.0.1:0", "--handler", "echo", "--set", "limits.frame=8B"];
    let server = Program::switchboard().args(datagram).start();
    let (address, client) = (server.socket("main"), UdpSocket::bind("127.0.0.1:0").unwrap());
    for _ in 0..100 {
        client.send_to(b"longer than eight bytes", &address).unwrap();
    }
    wait_until(&server, "datagrams", |log| sum(log, "datagram dropped", "count", |_| true) == 100);
}

#[test]
fn a_single_connection_is_logged_completely_and_admin_connections_only_at_debug() {
    for (level, is_logged) in [("info", false), ("debug", true)] {
        let args = ["--listen", "tcp://127.0.0.1:0", "--handler", "echo", "--log-level", level];
        let server = Program::switchboard().args(args).args(["--set", "admin.listen=tcp://127.0.0.1:0"]).start();
        let (address, admin) = (server.socket("main"), server.socket("admin"));
        for _ in 0..20 {
            let mut client = TcpStream::connect(&admin).unwrap();
            client.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
            let mut reply = String::new();
            client.read_to_string(&mut reply).unwrap();
            assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
        }
        flood(&address, 1, b"hi");
        let closed =
            server.wait_for_event(|event| event["message"] == "connection closed" && event["listener"] == "main");
        assert_eq!((&closed["reason"], &closed["level"]), (&"peer_closed".into(), &"INFO".into()));
        server.signal(Signal::SIGTERM);
        let output = server.wait();
        let log: Vec<Event> = output.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of_admin = |event: &&Event| event["listener"] == "admin" && event["message"] == "connection closed";
        let levels: Vec<_> = log.iter().filter(of_admin).map(|event| event["level"].clone()).collect();
        assert_eq!(levels.len(), if is_logged { 20 } else { 0 }, "{log:#?}");
        assert!(levels.iter().all(|level| level == "DEBUG"));
    }
}

/// A server with a chosen standard error, killed on drop.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(stderr: impl Into<Stdio>) -> Self {
        let program = Program::switchboard().command().get_program().to_owned();
        Self::run(Command::new(program).stderr(stderr))
    }

    /// Starts the server with a redirection of the shell.
    fn redirected(redirection: &str) -> Self {
        let program = Program::switchboard().command().get_program().to_owned();
        let script = format!("exec \"$0\" \"$@\" {redirection}");
        Self::run(Command::new("/bin/sh").arg("-c").arg(script).arg(program))
    }

    fn run(command: &mut Command) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let listen = format!("tcp://{address}");
        let args = ["--listen", &listen, "--handler", "echo", "--set", "log.lines=0/s", "--log-format", "json"];
        let mut child = command.args(args).stdin(Stdio::null()).spawn().unwrap();
        while TcpStream::connect(&address).is_err() {
            assert!(child.try_wait().unwrap().is_none(), "the server has exited");
            thread::yield_now();
        }
        Self { child, address }
    }

    fn stop(mut self) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        let deadline = Instant::now() + TEST_TIMEOUT;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "the server does not exit");
            thread::yield_now();
        }
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Checks that each line is one event, or the beginning of one, and that the lines of all connections are there or
/// counted as dropped.
#[track_caller]
fn check(text: &str, connections: u64) {
    let mut log = Vec::new();
    for line in text.lines() {
        match serde_json::from_str::<Event>(line) {
            Ok(event) => log.push(event),
            Err(_) => assert_eq!(line.matches("\"timestamp\"").count(), 1, "two events in one line: {line}"),
        }
    }
    let dropped = log.iter().filter_map(|event| event["total"].as_u64()).max().unwrap_or(0);
    let lines = count(&log, "connection opened") + count(&log, "connection closed");
    assert!(lines + dropped >= 2 * connections, "{lines} lines and {dropped} dropped of {connections} connections");
    assert!(dropped > 0 || lines == text.lines().count() as u64 - 4, "{lines}: {text}");
}

#[test]
fn a_slow_reader_of_a_non_blocking_pipe_gets_whole_lines() {
    for step in [100, 1000, 10_000] {
        let (mut reader, writer) = io::pipe().unwrap();
        let writer = OwnedFd::from(writer);
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let server = Server::start(writer);
        let address = server.address.clone();
        let (begin, begun) = mpsc::channel::<()>();
        let reading = thread::spawn(move || {
            let _ = begun.recv(); // the pipe is full by then
            let (mut text, mut buffer) = (Vec::new(), vec![0; step]);
            while let count @ 1.. = uninterrupted(|| reader.read(&mut buffer)).unwrap() {
                text.extend_from_slice(&buffer[..count]);
            }
            String::from_utf8(text).unwrap()
        });
        flood(&address, 600, b"");
        drop(begin);
        flood(&address, 600, b"");
        server.stop();
        check(&reading.join().unwrap(), 1201); // one of them is the readiness check
    }
}

#[test]
fn a_full_disk_that_gets_space_again_gets_whole_lines() {
    let (Some(mount), Some(umount)) = (tool("mount"), tool("umount")) else { return };
    let place = tempfile::tempdir().unwrap();
    let run = |program: &Path, args: &[&str]| {
        Command::new(program).args(args).arg(place.path()).stderr(Stdio::null()).status().unwrap().success()
    };
    if !geteuid().is_root() || !run(&mount, &["-t", "tmpfs", "-o", "size=64k", "tmpfs"]) {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "CI must not skip tests");
        eprintln!("skipped: a file system can only be mounted by root");
        return;
    }
    let log = place.path().join("log");
    let server = Server::start(File::create(&log).unwrap());
    flood(&server.address, 500, b"");
    let is_full = fs::metadata(&log).unwrap().len();
    assert!(run(&mount, &["-o", "remount,size=64m"]));
    flood(&server.address, 500, b"");
    server.stop();
    let text = fs::read_to_string(&log).unwrap();
    assert!(run(&umount, &["-l"]));
    assert!(is_full <= 64 * 1024);
    check(&text, 1001);
}

#[test]
fn an_output_with_an_error_neither_stalls_nor_ends_the_server() {
    for redirection in ["2>&-", "2>/dev/full", "2>&- 1>&- 0<&-", "2</dev/null"] {
        let server = Server::redirected(redirection);
        flood(&server.address, 300, b"hi");
        server.stop();
    }
    let (reader, writer) = io::pipe().unwrap();
    let server = Server::start(writer);
    drop(reader);
    flood(&server.address, 300, b"hi");
    server.stop();
    // A reader that stalls: the pipe stays full.
    let (reader, writer) = io::pipe().unwrap();
    let server = Server::start(writer);
    flood(&server.address, 1000, b"hi");
    server.stop();
    drop(reader);
}

#[test]
fn health_checks_of_a_proxy_write_no_lines_and_clients_that_it_does_not_know_do() {
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"PROXY UNKNOWN 1.1.1.1 2.2.2.2 3 4\r\n", local] {
        let args = ["--listen", "tcp://127.0.0.1:0", "--handler", "echo", "--framing", "lines"];
        let server = Program::switchboard().args(args).args(PROXY).start();
        let address = server.socket("main");
        for _ in 0..10 {
            let mut check = TcpStream::connect(&address).unwrap();
            check.write_all(header).unwrap();
            check.shutdown(Shutdown::Write).unwrap();
            assert_eq!(uninterrupted(|| check.read(&mut [0])).unwrap(), 0);
        }
        let mut client = TcpStream::connect(&address).unwrap();
        client.write_all(&[header, b"hi\n"].concat()).unwrap();
        client.read_exact(&mut [0; 3]).unwrap();
        drop(client);
        server.wait_for_event(|event| event["message"] == "connection closed" && event["messages"] == 1);
        let log = server.log();
        let messages = log.iter().map(|event| event["message"].as_str().unwrap());
        let of_connections: Vec<_> = messages.filter(|message| message.starts_with("connection ")).collect();
        assert_eq!(of_connections, ["connection opened", "connection closed"]);
    }
}
