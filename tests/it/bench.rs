//! The load generator `switchboard bench`: results, errors by kind, and a run that is interrupted.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;

use harness::{Output, Program, Running, Signal, free_port, tool};
use serde_json::Value;

use crate::connect::tls_server;
use crate::terminal::run_in_terminal;
use crate::tls::Authority;

/// A short run.
const SHORT: [&str; 4] = ["--duration", "200ms", "--warmup", "50ms"];

fn bench(address: &str, args: &[&str]) -> Output {
    Program::switchboard().args(["bench", address]).args(SHORT).args(args).run()
}

/// The JSON of a run, with its exit status.
fn results(address: &str, args: &[&str]) -> (Option<i32>, Value) {
    let ended = bench(address, &[args, &["--json"]].concat());
    let json = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {}", ended.stderr));
    (ended.code(), json)
}

fn echo(listen: &str) -> Running {
    // A datagram is a message without a framing.
    let framing = if listen.starts_with("udp") || listen.starts_with("unixgram") { "raw" } else { "lines" };
    let program = Program::switchboard().args(["--handler", "echo", "--framing", framing]);
    program.args(["--set", &format!("listen={listen}")]).start()
}

#[track_caller]
fn expect_success((status, results): &(Option<i32>, Value)) {
    assert_eq!((*status, &results["failed"]), (Some(0), &0.into()), "{results:#}");
    let latency = |name: &str| results["latency_seconds"][name].as_f64().unwrap();
    assert!(results["messages"].as_u64().unwrap() > 0, "{results:#}");
    assert!(latency("p50") > 0.0 && latency("p50") <= latency("p99") && latency("p99.9") <= latency("max"));
}

#[test]
fn every_transport_has_results() {
    let (tcp, udp) = (echo("tcp://127.0.0.1:0"), echo("udp://127.0.0.1:0"));
    let place = tempfile::tempdir().unwrap();
    let unix = format!("unix:{}", place.path().join("stream").display());
    let unixgram = format!("unixgram:{}", place.path().join("datagram").display());
    let (_stream, _datagram) = (echo(&unix), echo(&unixgram));
    let lines = ["--framing", "lines"];
    for (address, args) in [
        (&tcp.address("main"), &lines[..]),
        (&tcp.address("main"), &["--framing", "lines", "--depth", "16", "--size", "1KiB"]),
        (&tcp.address("main"), &["--framing", "lines", "--rate", "1000/s"]),
        (&tcp.address("main"), &["--framing", "lines", "--connect-each", "-c", "2"]),
        (&tcp.address("main"), &["--framing", "lines", "--connect-each", "-c", "2", "--rate", "100/s"]),
        (&udp.address("main"), &["--reply-size", "64B"]),
        (&udp.address("main"), &["--rate", "1000/s"]),
        (&unix, &lines),
        (&unixgram, &[]),
    ] {
        expect_success(&results(address, args));
    }
    let hello = Program::switchboard().args(["--listen", "tcp://127.0.0.1:0"]).start();
    let greeted = results(&hello.address("main"), &["--greeting", "--reply-size", "72B"]);
    expect_success(&greeted);
    let (messages, received) = (&greeted.1["messages"], &greeted.1["received_bytes"]);
    assert_eq!(received.as_u64().unwrap(), 72 * messages.as_u64().unwrap());
    let authority = Authority::new();
    let (_tls, address) = tls_server(&authority, &[]);
    let ca = authority.path("ca.pem").display().to_string();
    expect_success(&results(&address, &["--framing", "lines", "--ca", &ca, "--depth", "4"]));
}

#[test]
fn the_table_shows_the_same_values_for_people() {
    let server = echo("tcp://127.0.0.1:0");
    let ended = bench(&server.address("main"), &["--framing", "lines", "-c", "2"]);
    assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""));
    let lines: Vec<_> = ended.stdout.lines().collect();
    assert!(
        lines[0].contains(", framing lines: 2 connections, depth 1 (closed loop), 64 bytes per message"),
        "{lines:?}"
    );
    for (line, start) in lines[1..].iter().zip([
        "messages ",
        "sent ",
        "received ",
        "failed             0",
        "latency",
        "  p50 ",
        "  p90 ",
        "  p99 ",
        "  p99.9 ",
        "  max ",
    ]) {
        assert!(line.starts_with(start), "{line}");
    }
    assert_eq!(lines.len(), 11);
}

#[test]
fn errors_are_counted_by_kind() {
    let server = echo("tcp://127.0.0.1:0");
    let address = server.address("main");
    let (status, found) = results(&address, &["--framing", "lines", "--reply-size", "65B", "-c", "1"]);
    assert_eq!((status, &found["messages"]), (Some(1), &0.into()), "{found:#}");
    assert_eq!(found["errors"]["wrong_size"]["message"], "a reply has 64 bytes, and --reply-size is 65");
    let (_, found) = results(&address, &["--framing", "length", "--timeout", "50ms"]);
    let sentence = found["errors"]["timeout"]["message"].as_str().unwrap();
    assert!(sentence.starts_with("no reply within 50ms; check that the server has the framing length"), "{sentence}");
    let (status, found) = results(&address, &["--framing", "lines", "--size", "100KiB", "-c", "1"]);
    assert_eq!(status, Some(1));
    assert!(found["errors"]["closed"]["message"].as_str().unwrap().contains("limits.frame"), "{found:#}");
    let hello = Program::switchboard().args(["--listen", "tcp://127.0.0.1:0"]).start();
    let (status, found) = results(&hello.address("main"), &[]);
    assert_eq!(status, Some(1));
    assert!(found["errors"]["unexpected_reply"]["message"].as_str().unwrap().contains("use --greeting"), "{found:#}");
    let (_, found) = results(&format!("udp://127.0.0.1:{}", free_port()), &["-c", "1"]);
    assert!(found["errors"]["connect"]["message"].as_str().unwrap().starts_with("nothing is listening"), "{found:#}");
    let authority = Authority::new();
    let (_tls, address) = tls_server(&authority, &[]);
    let (_, found) = results(&address.replace("tls://localhost", "tcp://127.0.0.1"), &["--framing", "lines"]);
    let errors = &found["errors"];
    assert!(errors["handshake"]["messages"].is_u64() || errors["closed"]["messages"].is_u64(), "{found:#}");
}

#[test]
fn a_server_that_cannot_be_reached_is_an_error_without_results() {
    let address = format!("tcp://127.0.0.1:{}", free_port());
    let ended = bench(&address, &[]);
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(1), ""));
    let wanted = format!("error: cannot connect to {address}: Connection refused (no server is listening there)\n");
    assert_eq!(ended.stderr, wanted);
    let server = echo("tcp://127.0.0.1:0");
    let ended = bench(&server.address("main").replace("tcp:", "tls:"), &["--ca", "/nowhere/ca.pem"]);
    assert_eq!(ended.code(), Some(1));
    assert!(ended.stderr.starts_with("error: --ca: /nowhere/ca.pem cannot be read: "), "{}", ended.stderr);
    for (args, part) in [
        (&["--framing", "line"][..], "did you mean \"lines\""),
        (&["--depth", "2"], "--depth 2: with the framing raw"),
        (&["--framing", "{ type = \"lines\", max = \"10B\" }"], "--size 64B: the message has 64 bytes"),
    ] {
        let ended = bench(&server.address("main"), args);
        assert!(ended.code() == Some(2) && ended.stderr.contains(part), "{}", ended.stderr);
    }
    let Some(bash) = tool("bash") else { return };
    let script = "ulimit -n 50; exec \"$0\" bench \"$1\" -c 40";
    let few = Program::at(&bash).args(["-c", script]).arg(harness::target().join("switchboard"));
    let few = few.arg(server.address("main")).run();
    assert_eq!(few.code(), Some(1));
    assert!(
        few.stderr.contains("--connections 40 needs 72 open files, and this process can have 50"),
        "{}",
        few.stderr
    );
}

/// A server that echoes lines, and reports the tenth.
fn counted_echo() -> (String, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let (send, tenth) = mpsc::channel();
    thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let lines = BufReader::new(socket.try_clone().unwrap()).split(b'\n');
        for (number, line) in lines.map_while(Result::ok).enumerate() {
            if number == 10 {
                let _ = send.send(());
            }
            if socket.write_all(&[&line[..], b"\n"].concat()).is_err() {
                break;
            }
        }
    });
    (address, tenth)
}

#[test]
fn an_interrupted_run_prints_the_results_so_far() {
    let (address, tenth) = counted_echo();
    let args = ["bench", &address, "--framing", "lines", "-c", "1", "--warmup", "0s", "--duration", "1h", "--json"];
    let running = Program::switchboard().args(args).spawn();
    tenth.recv().unwrap();
    running.signal(Signal::SIGINT);
    let ended = running.wait();
    let results: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((ended.code(), &results["interrupted"]), (Some(0), &true.into()), "{}", ended.stderr);
    assert!(results["messages"].as_u64().unwrap() >= 10, "{results:#}");
}

#[test]
fn a_terminal_shows_the_progress() {
    let (address, _tenth) = counted_echo();
    let home = tempfile::tempdir().unwrap();
    let args = ["bench", &address, "--framing", "lines", "-c", "1", "--warmup", "0s", "--duration", "1h"];
    let Some(shown) = run_in_terminal(home.path(), &["messages, p99 ", "\\x03"], &args, false) else { return };
    assert!(shown.contains(", interrupted\r\n") && shown.contains("  p99.9 "), "{shown}");
    assert!(shown.trim_end().ends_with("|0"), "{shown}");
}
