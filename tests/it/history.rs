//! The routes behind the dashboard: history, listeners, log, configuration, dry runs and the end of a drain.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::thread;

use harness::{Program, Signal, TEST_TIMEOUT};
use serde_json::Value;

use crate::admin::{AdminServer, ask};

fn sum(history: &Value, column: &str) -> u64 {
    history["columns"][column].as_array().unwrap().iter().filter_map(Value::as_u64).sum()
}

#[test]
fn the_history_has_what_happened_before_the_request() {
    let server = AdminServer::start(&["--set", "limits.frame=1KiB"]);
    let mut client = server.client();
    client.get_mut().write_all(&[b'x'; 3000]).unwrap();
    client.read_to_end(&mut Vec::new()).unwrap();
    for path in ["/history", "/history?seconds=3600&listener=main", "/history?seconds=60"] {
        server.wait_until("the second ends", || sum(&server.get(path).json(), "errors") == 1);
        let history = server.get(path).json();
        assert_eq!((sum(&history, "accepted"), sum(&history, "messages")), (1, 1), "{history}");
        assert!(sum(&history, "bytes_in") >= 1024, "{history}");
        assert_eq!(sum(&history, "failed"), 0);
        let lengths: Vec<_> =
            history["columns"].as_object().unwrap().values().map(|rows| rows.as_array().unwrap().len()).collect();
        assert!(lengths.iter().all(|length| *length == lengths[0]), "{lengths:?}");
    }
    let minutes = server.get("/history?minutes=1440").json();
    assert_eq!((&minutes["step_seconds"], &minutes["listener"]), (&60.into(), &Value::Null));
}

#[test]
fn the_history_rejects_what_it_does_not_keep() {
    let server = AdminServer::start(&[]);
    for query in
        ["seconds=0", "seconds=3601", "minutes=1441", "seconds=1&minutes=1", "hours=1", "seconds=-1", "seconds=x"]
    {
        let reply = server.get(&format!("/history?{query}"));
        assert_eq!(reply.status, 422, "{query}");
        assert!(reply.body.contains("seconds (1 to 3600) or minutes (1 to 1440)"), "{}", reply.body);
    }
    for (path, text) in [
        (
            "/history?listener=%1b[31m",
            "no history of a listener \\u001B[31m: no such listener, one that is not among the first 100, or one that \
             has just started",
        ),
        ("/listeners/x", "listener x not found"),
    ] {
        let reply = server.get(path);
        assert_eq!((reply.status, reply.body.trim_end()), (404, text));
    }
}

#[test]
fn a_listener_shows_its_limits_and_the_connections_that_closed_last() {
    let server = AdminServer::start(&["--set", "limits.frame=1KiB", "--set", "limits.connections=700"]);
    let mut client = server.client();
    let peer = client.get_ref().local_addr().unwrap().to_string();
    client.get_mut().write_all(&[b'x'; 3000]).unwrap();
    client.read_to_end(&mut Vec::new()).unwrap();
    let closed = || server.get("/listeners/main").json()["recently_closed"][0].clone();
    server.wait_until("the connection is remembered", || closed() != Value::Null);
    let entry = closed();
    assert_eq!((&entry["peer"], &entry["reason"]), (&peer.into(), &"frame_too_large".into()));
    assert_eq!(entry["error"], "a message is larger than 1024 bytes (limits.frame)");
    let listener = server.get("/listeners/main").json();
    assert_eq!(listener["config"]["limits"]["connections"], 700);
    assert_eq!((&listener["config"]["framing"], &listener["config"]["handler"]), (&"lines".into(), &"hello".into()));
    // Only the last hundred are kept.
    for _ in 0..120 {
        TcpStream::connect(server.0.socket("main")).unwrap().shutdown(Shutdown::Write).unwrap();
    }
    let count = || server.get("/listeners/main").json()["recently_closed"].as_array().unwrap().len();
    server.wait_until("hundred connections are remembered", || count() == 100);
    let reasons = server.get("/reasons").json();
    let of = |name: &str| reasons.as_array().unwrap().iter().find(|reason| reason["reason"] == name).cloned().unwrap();
    assert_eq!(of("frame_too_large")["is_failure"], true);
    assert_eq!(of("idle")["sentence"], "Nothing was read or written for timeouts.idle.");
    // The table is complete: every reason that the status counts has a sentence.
    for name in server.get("/status").json()["listeners"][0]["closed"].as_object().unwrap().keys() {
        assert!(of(name)["sentence"].as_str().unwrap().ends_with('.'), "{name}");
    }
}

#[test]
fn a_peer_on_a_unix_socket_is_shown_with_user_and_process() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("main.sock");
    let server = AdminServer::at(&format!("unix:{}", path.display()), "tcp://127.0.0.1:0", &[]);
    let mut client = UnixStream::connect(&path).unwrap();
    client.read_exact(&mut [0; 9]).unwrap();
    let connection = server.get("/connections").json()["connections"][0].clone();
    assert_eq!(connection["pid"], std::process::id());
    assert_eq!(connection["uid"], nix::unistd::getuid().as_raw());
}

#[test]
fn the_log_and_the_configuration_need_the_token() {
    let server = AdminServer::start(&["--set", "admin.token=hunter2"]);
    for path in ["/log", "/config?origin=true"] {
        assert_eq!(server.get(path).status, 401, "{path}");
    }
    let get = |path: &str| ask(server.tcp(), "GET", path, "authorization: Bearer hunter2\r\n", "");
    let lines = |log: &Value| log["lines"].as_array().unwrap().clone();
    server.wait_until("the log has lines", || !lines(&get("/log").json()).is_empty());
    let log = get("/log").json();
    assert!(lines(&log).iter().any(|line| line.as_str().unwrap().contains("\"listening\"")), "{log}");
    assert_eq!(lines(&get(&format!("/log?after={}", log["next"])).json()), Vec::<Value>::new());
    let config = get("/config?origin=true").body;
    assert!(config.contains("framing = \"lines\"  # flag --framing"), "{config}");
    assert!(!config.contains("hunter2") && !log.to_string().contains("hunter2"));
}

#[test]
fn a_dry_run_shows_the_differences_and_changes_nothing() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("switchboard.toml");
    let base =
        "[admin]\nlisten = 'tcp://127.0.0.1:0'\n[listeners.main]\nlisten = 'tcp://127.0.0.1:0'\nhandler = 'echo'\n";
    fs::write(&file, base).unwrap();
    let server = AdminServer(Program::switchboard().current_dir(place.path()).spawn());
    server.0.wait_for_event(|event| event["message"] == "listening" && event["listener"] == "admin");
    let dry_run = || server.send("POST", "/reload?dry_run=true", "");
    assert_eq!(dry_run().json(), serde_json::json!({ "reloaded": false, "keys": [] }));
    fs::write(&file, format!("{base}limits.connections = 5\n[runtime]\nworkers = 3\n")).unwrap();
    let keys = dry_run().json()["keys"].clone();
    let find = |key: &str| keys.as_array().unwrap().iter().find(|found| found["key"] == key).cloned().unwrap();
    let limit = find("listeners.main.limits.connections");
    assert_eq!((&limit["after"], &limit["needs_restart"]), (&5.into(), &false.into()));
    assert_eq!(limit["origin"], "switchboard.toml, line 6");
    assert_eq!(find("runtime.workers")["needs_restart"], true);
    let current = || server.get("/listeners/main").json()["config"]["limits"]["connections"].clone();
    assert_ne!(current(), 5);
    let reloaded = server.send("POST", "/reload", "").json();
    assert_eq!((&reloaded["changed"], &reloaded["keys"]), (&serde_json::json!(["main"]), &keys));
    assert_eq!(current(), 5);
    fs::write(&file, format!("{base}handle = 'x'\n")).unwrap();
    assert_eq!(dry_run().status, 422);
    assert!(!server.0.log().iter().any(|event| event["message"] == "reload rejected"));
}

#[test]
fn a_client_that_waits_for_the_drain_gets_its_result() {
    let server = AdminServer::start(&[]);
    assert_eq!(server.get("/drain").status, 409);
    let mut client = server.client();
    client.get_mut().write_all(b"unfinis").unwrap();
    let bytes = || server.get("/connections").json()["connections"][0]["bytes_in"].clone();
    server.wait_until("the part has arrived", || bytes() == 11);
    let waiting = server.tcp();
    let result = thread::spawn(move || ask(waiting, "POST", "/drain?wait=true", "", ""));
    server.0.wait_for_event(|event| event["message"] == "draining");
    server.wait_until("the deadline is shown", || {
        server.get("/status").json()["drain"]["seconds_left"].as_f64().is_some_and(|left| left > 0.0 && left <= 30.0)
    });
    // The first signal after a request aborts nothing.
    server.0.signal(Signal::SIGTERM);
    (0..20).for_each(|_| assert_eq!(server.get("/livez").status, 200));
    server.0.signal(Signal::SIGTERM);
    let result = result.join().unwrap();
    assert_eq!(result.json(), serde_json::json!({ "open": 1, "cut": 1, "stop_failures": 0 }));
    client.get_ref().set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    assert_eq!(server.0.wait().code(), Some(3));
}
