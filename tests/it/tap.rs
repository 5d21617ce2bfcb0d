//! The live tap of a connection: the admin endpoint, the command and the dashboard.

use std::io::{BufRead, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Instant;

use harness::{Program, Running, TEST_TIMEOUT};

use crate::browser::Browser;
use crate::page::{client, operated};
use crate::recorder::{Client, extended, logged};

/// A server with a recorder and an admin endpoint with a token, and the address of the latter.
fn tapped(place: &std::path::Path) -> (Running, String) {
    let config = format!(
        "[admin]\nlisten = \"tcp://127.0.0.1:0\"\ntoken = \"secret\"\n[recorder]\ndirectory = {place:?}\n[listeners.main]\n\
         listen = \"tcp://127.0.0.1:0\"\nframing = \"lines\"\nhandler = \"vault\"\n"
    );
    std::fs::write(place.join("config.toml"), config).unwrap();
    let server = extended().logs().args(["--config", "config.toml"]).current_dir(place).start();
    let admin = server.address("admin");
    (server, admin)
}

/// The status and the body of a reply.
fn ask(admin: &str, request: &str, token: &str) -> (u16, String) {
    let mut io = TcpStream::connect(admin.trim_start_matches("tcp://")).unwrap();
    io.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
    let head = format!("{request} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{token}\r\n");
    io.write_all(head.as_bytes()).unwrap();
    let mut reply = String::new();
    io.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

const TOKEN: &str = "authorization: Bearer secret\r\n";

fn tap(admin: &str, id: &str) -> Running {
    extended().args(["tap", id, "--admin", admin]).env("SWITCHBOARD_ADMIN__TOKEN", "secret").spawn()
}

#[test]
fn a_tap_prints_both_directions_without_secrets_until_the_connection_ends() {
    let place = tempfile::tempdir().unwrap();
    let (server, admin) = tapped(place.path());
    let mut client = Client::connect(&server.address("main"));
    client.ask("login secret");
    let id = logged(&server, "connection opened")["id"].to_string();
    let tap = tap(&admin, &id);
    let deadline = Instant::now() + TEST_TIMEOUT;
    while !tap.stdout().contains("< \"welcome\"\n") {
        assert!(Instant::now() < deadline, "{}{}", tap.stdout(), tap.stderr());
        thread::yield_now();
    }
    assert_eq!(logged(&server, "tap started")["connection"].to_string(), id);
    client.ask("arm");
    client.send("open");
    client.expect_closed();
    let ended = tap.wait();
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    let steps = "> \"login xxxxxx\"\n< \"welcome\"\n> \"arm\"\n< \"armed\"\n> \"open\"\n< closed panic\n";
    assert!(ended.stdout.starts_with("switchboard script 1\nframing lines\n"), "{}", ended.stdout);
    assert!(ended.stdout.ends_with(steps), "{}", ended.stdout);
    assert_eq!(logged(&server, "tap ended")["messages"], 5);
}

#[test]
fn a_tap_needs_the_token_an_open_connection_and_a_recorder() {
    let place = tempfile::tempdir().unwrap();
    let (server, admin) = tapped(place.path());
    assert_eq!(ask(&admin, "GET /connections/1/tap", "").0, 401);
    assert_eq!(ask(&admin, "POST /connections/1/record", "").0, 401);
    for request in ["GET /connections/77/tap", "GET /connections/x/tap", "POST /connections/77/record"] {
        let (status, body) = ask(&admin, request, TOKEN);
        assert_eq!(status, 404, "{request}: {body}");
    }
    assert_eq!(ask(&admin, "GET /connections/77/tap?duration=9h", TOKEN).0, 422);
    assert_eq!(ask(&admin, "GET /connections/77/tap?rate=1", TOKEN).0, 422);
    let ended = tap(&admin, "77").wait();
    assert_eq!(ended.code(), Some(1));
    assert!(ended.stderr.ends_with("connection 77 not found\n"), "{}", ended.stderr);
    let mut client = Client::connect(&server.address("main"));
    client.ask("one");
    let id = logged(&server, "connection opened")["id"].to_string();
    let (status, events) = ask(&admin, &format!("GET /connections/{id}/tap?duration=1s"), TOKEN);
    assert_eq!(status, 200);
    assert!(events.contains("event: start\n") && events.contains("\"step\":\"> \\\"one\\\"\""), "{events}");
    assert!(events.contains("event: end\ndata: {\"why\":\"duration\"}"), "{events}");
    let (status, reply) = ask(&admin, &format!("POST /connections/{id}/record"), TOKEN);
    assert_eq!(status, 200, "{reply}");
    assert!(reply.contains("-demand.script\"}"), "{reply}");
    let (status, reply) = ask(&admin, &format!("POST /connections/{id}/record"), TOKEN);
    assert!(status == 503 && reply.contains("at most one record per second is written"), "{status} {reply}");

    let plain = Program::switchboard().logs().args(["--listen", "tcp://127.0.0.1:0", "--framing", "lines"]);
    let plain = plain.args(["--handler", "echo", "--set", "admin.listen=tcp://127.0.0.1:0"]).start();
    let mut client = Client::connect(&plain.address("main"));
    client.ask("one");
    let id = logged(&plain, "connection opened")["id"].to_string();
    let (status, reply) = ask(&plain.address("admin"), &format!("GET /connections/{id}/tap"), "");
    assert!(status == 409 && reply.contains("add a section [recorder]"), "{status} {reply}");
}

#[test]
fn the_dashboard_shows_the_messages_of_a_connection() {
    let place = tempfile::tempdir().unwrap();
    let (server, url) = operated(place.path(), &format!("[recorder]\ndirectory = {:?}", place.path()));
    let Some(browser) = Browser::open(&url) else { return };
    let mut client = client(&server);
    let button = "#connections tbody button[aria-label^=\"Show the messages\"]";
    browser.until("the connection is listed", &format!("document.querySelector('{button}')"));
    browser.click(button);
    let shows = |text: &str| format!("document.getElementById('tap-messages').innerText.includes('{text}')");
    browser.until("the welcome", &shows("< \"welcome!\""));
    browser.click("#tap-pause");
    client.get_mut().write_all(b"Ada\n").unwrap();
    browser.until("the tap pauses", "document.getElementById('tap-pause').textContent === 'Continue'");
    browser.click("#tap-pause");
    browser.until("the reply", &shows("< \"hello, Ada!\""));
    assert_eq!(browser.run_script("return document.getElementById('tap-save').disabled"), false);
    browser.click("#tap-save");
    client.read_line(&mut String::new()).unwrap(); // an unread reply would reset the connection
    drop(client);
    browser.until("the end", "document.getElementById('tap-state').textContent.includes('has closed: peer_closed')");
    assert_eq!(browser.console_errors(), Vec::<serde_json::Value>::new());
}

#[test]
fn metrics_and_the_status_show_the_recorder() {
    let place = tempfile::tempdir().unwrap();
    let server = extended()
        .logs()
        .args(["--listen", "tcp://127.0.0.1:0", "--framing", "lines", "--handler", "vault"])
        .args(["--set", "recorder.directory=records", "--set", "admin.listen=tcp://127.0.0.1:0"])
        .current_dir(place.path())
        .start();
    let mut client = Client::connect(&server.address("main"));
    client.ask("one");
    let admin = server.address("admin");
    let metric = |name: &str| {
        let text = ask(&admin, "GET /metrics", "").1;
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("switchboard_recorder_{name} ")));
        line.unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(metric("connections"), 1);
    assert_eq!(metric("memory_limit_bytes"), 16 << 20);
    assert!(metric("memory_bytes") >= 2048);
    assert_eq!((metric("files_written_total"), metric("files_skipped_total{reason=\"rate\"}")), (0, 0));
    client.ask("arm");
    client.send("open");
    client.expect_closed();
    logged(&server, "record written");
    assert_eq!(metric("files_written_total"), 1);
    let status: serde_json::Value = serde_json::from_str(&ask(&admin, "GET /status", "").1).unwrap();
    assert_eq!((&status["recorder"]["written"], &status["recorder"]["skipped"]["error"]), (&1.into(), &0.into()));
}
