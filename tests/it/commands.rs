//! Commands for a running server: status, connections, reload, drain and log-level, over TCP and Unix sockets.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use harness::{Output, Program, Running, TEST_TIMEOUT};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::failed_upgrades::wait_until;

/// A server with the configuration file `switchboard.toml` in its own directory.
pub(crate) struct Configured {
    pub(crate) directory: TempDir,
    pub(crate) server: Running,
    /// The port that the system chose, with the token.
    admin: String,
}

const TOKEN: &str = "hunter2";

impl Configured {
    pub(crate) fn start(admin: &str, more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("token"), TOKEN).unwrap();
        let text = format!(
            "[admin]\nlisten = '{admin}'\ntoken_file = 'token'\n{more}\n\
             [listeners.main]\nlisten = 'tcp://127.0.0.1:0'\nframing = 'lines'\n"
        );
        fs::write(directory.path().join("switchboard.toml"), text).unwrap();
        let server = Program::switchboard().arg("serve").current_dir(&directory).spawn();
        server.wait_for_event(|event| event["message"] == "listening" && event["listener"] == "admin");
        let admin = server.address("admin");
        Self { directory, server, admin }
    }

    fn edit(&self, from: &str, to: &str) {
        let file = self.directory.path().join("switchboard.toml");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(file, text.replace(from, to)).unwrap();
    }

    /// Runs a command beside the server: a Unix socket comes from the configuration, a TCP port from a flag.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        let program = self.command(args);
        program.run()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Program {
        let program = Program::switchboard().current_dir(&self.directory).args(args);
        match self.admin.starts_with("tcp") {
            true => program.args(["--admin", &self.admin, "--token-file", "token"]),
            false => program,
        }
    }

    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let ended = self.run(args);
        assert_eq!((ended.code(), &*ended.stderr), (Some(0), ""), "{args:?}: {}", ended.stdout);
        ended.stdout
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let text = self.ok(&[args, &["--json"]].concat());
        assert_eq!(text.lines().count(), 1, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) fn fails(&self, args: &[&str], status: i32) -> String {
        let ended = self.run(args);
        assert_eq!((ended.code(), &*ended.stdout), (Some(status), ""), "{args:?}: {}", ended.stderr);
        ended.stderr
    }

    /// A client that has received the welcome.
    pub(crate) fn client(&self) -> BufReader<TcpStream> {
        let io = TcpStream::connect(self.server.socket("main")).unwrap();
        io.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        let mut client = BufReader::new(io);
        let mut line = String::new();
        client.read_line(&mut line).unwrap();
        assert_eq!(line, "welcome!\n");
        client
    }
}

/// Runs a check over TCP with a token, and over a Unix socket.
fn on_both(more: &str, check: impl Fn(Configured)) {
    for admin in ["tcp://127.0.0.1:0", "unix:admin.sock"] {
        check(Configured::start(admin, more));
    }
}

#[test]
fn status_shows_the_server_and_its_listeners() {
    on_both("", |this| {
        let _client = this.client();
        let text = this.ok(&["status"]);
        let lines: Vec<&str> = text.lines().collect();
        let process = format!("process {}, running, up ", this.server.id());
        assert!(lines[0].starts_with("switchboard ") && lines[0].contains(&process), "{text}");
        let row = format!("main      listening  {}", this.server.address("main"));
        assert_eq!((lines[2], lines[3]), ("LISTENER  STATE      ADDRESS", &*row), "{text}");
        let counts: Vec<&str> = lines[6].split_whitespace().collect();
        assert_eq!(counts[..7], ["main", "1/10000", "1", "0", "0", "0", "0"], "{text}");
        assert!(lines.iter().all(|line| line.len() <= 80) && !text.contains('\x1b'), "{text}");
        let status = this.json(&["status"]);
        assert_eq!((&status["phase"], &status["listeners"][0]["open"]), (&json!("running"), &json!(1)));
    });
}

#[test]
fn failed_connections_are_errors_in_the_status_and_the_live_view() {
    let this = Configured::start("unix:admin.sock", "[limits]\nframe = '1KiB'");
    let mut client = this.client();
    client.get_mut().write_all(&[b'x'; 2000]).unwrap();
    let closed = this.server.wait_for_event(|event| event["message"] == "connection closed");
    assert_eq!(
        (&closed["reason"], &closed["error"]),
        (&json!("frame_too_large"), &json!("a message is larger than 1024 bytes (limits.frame)"))
    );
    // The log line precedes the end of the connection.
    wait_until("it is counted as closed", || this.json(&["status"])["listeners"][0]["open"] == 0);
    let text = this.ok(&["status"]);
    let counts: Vec<&str> = text.lines().nth(6).unwrap().split_whitespace().collect();
    assert_eq!(counts[..7], ["main", "0/10000", "1", "0", "0", "0", "1"], "{text}");
    let status = this.json(&["status"]);
    let main = &status["listeners"][0];
    assert_eq!((&main["errors"], &main["max_open"]), (&json!(1), &json!(10_000)), "{status}");
    let sample = this.json(&["top", "--count", "1", "--interval", "100ms"]);
    assert_eq!(sample["listeners"][0]["errors_per_second"], 0.0, "{sample}");
}

#[test]
fn connections_are_listed_in_pages_filtered_and_closed() {
    on_both("", |this| {
        assert_eq!(this.ok(&["connections"]), "no connections\n");
        let mut clients: Vec<_> = (0..3).map(|_| this.client()).collect();
        let list = this.json(&["connections"]);
        let ids: Vec<u64> =
            list["connections"].as_array().unwrap().iter().map(|one| one["id"].as_u64().unwrap()).collect();
        assert!(ids.len() == 3 && ids.is_sorted() && list["next"].is_null(), "{list}");
        let text = this.ok(&["connections"]);
        assert_eq!(text.lines().count(), 4, "{text}");
        for (line, client) in text.lines().skip(1).zip(&clients) {
            let peer = client.get_ref().local_addr().unwrap().to_string();
            assert!(line.contains(&peer) && line.ends_with("open"), "{text}");
        }
        let some = this.run(&["connections", "--limit", "2"]);
        assert_eq!((some.code(), some.stdout.lines().count()), (Some(0), 3), "{}", some.stdout);
        assert_eq!(some.stderr, "note: only the oldest 2 are listed; raise --limit to list more\n");
        assert_eq!(this.json(&["connections", "--limit", "2"])["next"], ids[1]);
        let count =
            |args: &[&str]| this.json(&[&["connections"], args].concat())["connections"].as_array().unwrap().len();
        assert_eq!((count(&["--peer", "127.0.0.0/8"]), count(&["--peer", "10.0.0.0/8"])), (3, 0));
        assert_eq!(count(&["--listener", "main"]), 3);
        let id = ids[1].to_string();
        assert_eq!(this.ok(&["connections", "--kill", &id]), format!("connection {id} is being closed\n"));
        assert_eq!(clients[1].read_to_end(&mut Vec::new()).unwrap(), 0);
        let missing = this.fails(&["connections", "--kill", "999"], 1);
        assert!(missing.ends_with("): connection 999 not found\n"), "{missing}");
        let unknown = this.fails(&["connections", "--listener", "nope"], 1);
        assert!(unknown.ends_with("): listener nope not found; the listeners are main\n"), "{unknown}");
        let invalid = this.fails(&["connections", "--peer", "bogus"], 1);
        assert!(invalid.contains("\"bogus\" is neither a network or IP address, such as 10.0.0.0/8"), "{invalid}");
        // One of several ids is not open.
        let some = this.run(&["connections", "--json", "--kill", "999", &ids[0].to_string()]);
        let closing: Value = serde_json::from_str(&some.stdout).unwrap();
        assert_eq!((some.code(), closing), (Some(1), json!({ "closing": [ids[0]] })));
        assert!(some.stderr.ends_with("): connection 999 not found\n"), "{}", some.stderr);
        assert_eq!(clients[0].read_to_end(&mut Vec::new()).unwrap(), 0);
        let _more = this.client();
        let none = this.ok(&["connections", "--kill-all", "--peer", "10.0.0.0/8"]);
        assert_eq!(none, "no connections\n");
        let all = this.ok(&["connections", "--kill-all", "--listener", "main", "--peer", "127.0.0.0/8"]);
        assert_eq!(all, "2 connections are being closed\n");
        assert_eq!(clients[2].read_to_end(&mut Vec::new()).unwrap(), 0);
        assert_eq!(this.run(&["connections", "--kill-all"]).code(), Some(2));
    });
}

#[test]
fn the_log_has_the_ids_of_connections() {
    let this = Configured::start("unix:admin.sock", "");
    let client = this.client();
    let id = this.json(&["connections"])["connections"][0]["id"].clone();
    drop(client);
    for message in ["connection opened", "connection closed"] {
        assert_eq!(this.server.wait_for_event(|event| event["message"] == message)["id"], id);
    }
}

#[test]
fn the_counters_of_a_listener_continue_at_another_address() {
    let this = Configured::start("unix:admin.sock", "");
    let mut client = this.client();
    client.get_mut().write_all(b"Ada\n").unwrap();
    client.read_line(&mut String::new()).unwrap();
    let counters = || {
        let main = this.json(&["status"])["listeners"][0].clone();
        (main["accepted"].clone(), main["messages"]["ok"].clone(), main["open"].clone())
    };
    this.edit("tcp://127.0.0.1:0", "unix:main.sock");
    assert_eq!(counters(), (json!(1), json!(1), json!(1)));
    this.ok(&["reload", "--force"]);
    drop(client);
    this.server.wait_for_event(|event| event["message"] == "connection closed");
    assert_eq!((counters().0, counters().1), (json!(1), json!(1)));
}

#[test]
fn more_connections_than_one_page_are_listed() {
    let this = Configured::start("unix:admin.sock", "");
    let clients: Vec<_> = (0..1003).map(|_| this.client()).collect();
    assert_eq!(this.json(&["connections", "--limit", "1002"])["connections"].as_array().unwrap().len(), 1002);
    assert_eq!(this.ok(&["connections", "--limit", "5000"]).lines().count(), 1004);
    drop(clients);
}

#[test]
fn the_log_level_is_printed_and_set() {
    on_both("", |this| {
        assert_eq!(this.ok(&["log-level"]), "info\n");
        assert_eq!(this.ok(&["log-level", "info,switchboard=debug"]), "info,switchboard=debug\n");
        // Also where the new level or the old one hides it.
        for level in ["error", "info,switchboard=debug"] {
            this.ok(&["log-level", level]);
            this.server.wait_for_event(|event| event["message"] == "log level changed" && event["after"] == level);
        }
        assert_eq!(this.json(&["log-level"]), json!({ "level": "info,switchboard=debug" }));
        let invalid = this.fails(&["log-level", "loud"], 1);
        assert!(invalid.contains("\"loud\" is not a level"), "{invalid}");
    });
}

#[test]
fn a_reload_prints_its_changes_or_every_error() {
    on_both("", |this| {
        assert_eq!(this.ok(&["reload"]), "reloaded\nno changes\n");
        this.edit("framing = 'lines'", "framing = 'raw'\n[runtime]\nworkers = 5");
        let text = this.ok(&["reload"]);
        let [reloaded, changed, framing, workers] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
        assert_eq!((reloaded, changed), ("reloaded", "listeners changed: main"));
        // The origin of each value is that of the running server.
        assert!(framing.starts_with("listeners.main.framing: \"lines\" -> \"raw\" (switchboard.toml, line "), "{text}");
        assert!(workers.contains(" -> 5, after a restart (switchboard.toml, line "), "{text}");
        this.edit("framing = 'raw'", "framing = 'row'\nlayers = 7");
        // The configuration file has errors, but it still names the endpoint.
        let errors = this.fails(&["reload"], 1);
        let lines: Vec<&str> = errors.lines().collect();
        assert_eq!(lines.len(), 3, "{errors}");
        assert!(lines.iter().any(|line| line.starts_with("error: listeners.main.framing: ")), "{errors}");
        assert!(lines.iter().any(|line| line.starts_with("error: listeners.main.layers: ")), "{errors}");
        assert_eq!(lines[2], "the reload was rejected; nothing has changed");
        let rejected = this.run(&["reload", "--json"]);
        let json: Value = serde_json::from_str(&rejected.stdout).unwrap();
        assert_eq!((rejected.code(), json["errors"].as_array().unwrap().len()), (Some(1), 2));
        this.edit("framing = 'row'\nlayers = 7", "framing = 'raw'");
        this.edit("[listeners.main]\nlisten = 'tcp://127.0.0.1:0'", "[listeners.other]\nlisten = 'unix:other.sock'");
        let errors = this.fails(&["reload"], 1);
        assert!(
            errors.contains("keeps none of the current listeners") && errors.contains("reload --force"),
            "{errors}"
        );
        let forced = this.json(&["reload", "--force"]);
        assert_eq!((&forced["started"], &forced["stopped"]), (&json!(["other"]), &json!(["main"])));
    });
}

#[test]
fn a_drain_waits_for_the_last_connection() {
    on_both("[handlers.hello]\ndelay = '2s'", |this| {
        let mut client = this.client();
        client.get_mut().write_all(b"Ada\n").unwrap();
        // The message has arrived when its bytes are counted.
        while this.json(&["status"])["listeners"][0]["bytes_in"] != 4 {
            thread::yield_now();
        }
        let ended = this.command(&["drain"]).spawn().wait();
        assert_eq!((ended.code(), &*ended.stderr), (Some(0), ""), "{}", ended.stdout);
        let lines: Vec<&str> = ended.stdout.lines().collect();
        assert_eq!(
            (lines[0], *lines.last().unwrap()),
            ("draining", "stopped; connections: 1 open at the start of the drain, 0 aborted"),
            "{lines:?}"
        );
        let mut rest = String::new();
        client.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "hello, Ada!\n");
        assert_eq!(this.server.wait().code(), Some(0));
    });
}

#[test]
fn a_drain_can_return_at_once_and_print_json() {
    let this = Configured::start("unix:admin.sock", "");
    assert_eq!(this.ok(&["drain", "--no-wait"]), "draining\n");
    assert_eq!(this.server.wait().code(), Some(0));
    let this = Configured::start("tcp://127.0.0.1:0", "");
    let id = this.server.id();
    assert_eq!(this.json(&["drain"]), json!({ "stopped": true, "pid": id, "open": 0, "cut": 0, "stop_failures": 0 }));
    assert_eq!(this.server.wait().code(), Some(0));
}

#[test]
fn a_drain_that_aborts_connections_says_so() {
    on_both("[handlers.hello]\ndelay = '60s'\n[drain]\ndeadline = '10ms'", |this| {
        let mut client = this.client();
        client.get_mut().write_all(b"Ada\n").unwrap();
        while this.json(&["status"])["listeners"][0]["bytes_in"] != 4 {
            thread::yield_now();
        }
        let ended = this.command(&["drain"]).run();
        assert_eq!((ended.code(), &*ended.stderr), (Some(3), ""), "{}", ended.stdout);
        assert!(
            ended.stdout.ends_with("stopped; connections: 1 open at the start of the drain, 1 aborted\n"),
            "{}",
            ended.stdout
        );
        assert_eq!(this.server.wait().code(), Some(3));
    });
}

#[test]
fn a_token_comes_from_a_file_a_variable_or_the_configuration() {
    let this = Configured::start("tcp://127.0.0.1:0", "");
    let reload = || Program::switchboard().current_dir(&this.directory).args(["reload", "--admin", &this.admin]);
    assert_eq!(reload().env("SWITCHBOARD_ADMIN__TOKEN", TOKEN).run().code(), Some(0));
    assert_eq!(reload().env("SWITCHBOARD_ADMIN__TOKEN_FILE", "token").run().code(), Some(0));
    let both = reload().env("SWITCHBOARD_ADMIN__TOKEN", "wrong").args(["--token-file", "token"]).run();
    assert_eq!(both.code(), Some(0), "{}", both.stderr);
    let check = |program: Program, status: i32, what: &str| {
        let ended = program.run();
        assert_eq!((ended.code(), &*ended.stdout), (Some(status), ""), "{}", ended.stderr);
        assert!(ended.stderr.contains(what) && !ended.stderr.contains("secret"), "{}", ended.stderr);
    };
    let at = format!("error: admin endpoint {} (flag --admin): ", this.admin);
    check(reload(), 1, &format!("{at}the server requires a token; name its file with --token-file"));
    check(reload().env("SWITCHBOARD_ADMIN__TOKEN", "secret"), 1, &format!("{at}the server rejected the token"));
    check(reload().args(["--token-file", "absent"]), 78, "error: --token-file absent: No such file or directory\n");
    fs::write(this.directory.path().join("bad"), "secret secret").unwrap();
    check(reload().args(["--token-file", "bad"]), 78, "error: --token-file bad: the value (not shown) is not a token");
    // Reading needs no token on a loopback address.
    let status = Program::switchboard().args(["status", "--admin", &this.admin]).run();
    assert_eq!(status.code(), Some(0), "{}", status.stderr);
}

/// Runs `status` against an address in an empty directory.
fn status_at(admin: &str) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    let ended = Program::switchboard().current_dir(&directory).args(["status", "--admin", admin]).run();
    assert_eq!(ended.stdout, "");
    (ended.code(), ended.stderr)
}

#[test]
fn a_missing_server_is_reported_with_its_address() {
    let unused = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", unused.local_addr().unwrap());
    drop(unused);
    let (status, text) = status_at(&address);
    let what = "cannot connect: Connection refused; no process listens there; is the server running?";
    assert_eq!((status, &*text), (Some(1), &*format!("error: admin endpoint {address} (flag --admin): {what}\n")));
    let (status, text) = status_at("unix:/nowhere/\u{1b}.sock");
    assert!(
        status == Some(1) && text.contains(r"unix:/nowhere/\u001B.sock (flag --admin): cannot connect: No such file"),
        "{text}"
    );
    assert!(text.contains("is this its path?"), "{text}");
    let (status, text) = status_at("tcp://127.0.0.1:0");
    assert!(status == Some(1) && text.contains("name the port that the log shows"), "{text}");
    let (status, text) = status_at("udp://127.0.0.1:1");
    assert!(status == Some(2) && text.contains("'--admin <ADDRESS>'"), "{text}");
}

#[test]
fn a_configuration_without_an_admin_endpoint_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let status = |args: &[&str]| {
        let ended = Program::switchboard().current_dir(&directory).arg("status").args(args).run();
        (ended.code(), ended.stderr)
    };
    let (code, text) = status(&[]);
    assert!(code == Some(78) && text.starts_with("error: no configuration file and no variable names"), "{text}");
    assert!(text.contains("--admin ADDRESS"), "{text}");
    fs::write(directory.path().join("a.toml"), "handler = 'echo'\n").unwrap();
    let (code, text) = status(&["-c", "a.toml"]);
    assert!(code == Some(78) && text.starts_with("error: a.toml has no [admin] section; set admin.listen"), "{text}");
    fs::write(directory.path().join("b.toml"), "handler = 'ecko'\n").unwrap();
    let (code, text) = status(&["-c", "b.toml"]);
    assert!(code == Some(78) && text.contains("\"ecko\"") && text.contains("--admin ADDRESS"), "{text}");
    let (code, text) = status(&["-c", "absent.toml"]);
    assert!(code == Some(78) && text.contains("absent.toml cannot be read"), "{text}");
    // An error elsewhere in the file is mentioned only if the endpoint cannot be used.
    fs::write(directory.path().join("c.toml"), "handler = 'ecko'\n[admin]\nlisten = 'unix:admin'\n").unwrap();
    let (code, text) = status(&["-c", "c.toml"]);
    assert!(code == Some(1) && text.contains("unix:admin (admin.listen, c.toml, line 3): cannot connect"), "{text}");
    assert!(text.ends_with("the configuration has errors, which `switchboard check` shows\n"), "{text}");
}

/// A server that answers each connection with these bytes after the request, and then sends `more` without end.
fn foreign(greeting: &'static str, reply: &'static str, more: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut io in listener.incoming().flatten() {
            let _ = io.write_all(greeting.as_bytes());
            let _ = io.read(&mut [0; 1024]);
            let _ = io.write_all(reply.as_bytes());
            while !more.is_empty() && io.write_all(more).is_ok() {}
            let _ = io.read(&mut [0; 1024]); // until the client closes
        }
    });
    address
}

#[test]
fn another_server_at_the_address_is_recognized() {
    let ours = "HTTP/1.1 200 OK\r\nserver: switchboard\r\n";
    for (greeting, reply, more, what) in [
        (
            "",
            "HTTP/1.1 200 OK\r\nserver: nginx\u{9b}\r\ncontent-length: 2\r\n\r\n{}",
            &b""[..],
            r#"the HTTP server "nginx"#,
        ),
        ("", "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", b"", "an HTTP server, but no admin endpoint"),
        ("", "-ERR unknown command\r\n", b"", "does not speak HTTP"),
        ("220 mail.example ESMTP\r\n", "500 what?\r\n", b"", "does not speak HTTP"),
        ("", &*format!("{ours}content-length: 4\r\n\r\nnull").leak(), b"", "the reply is not the expected JSON"),
        ("", &*format!("{ours}content-length: 99999999\r\n\r\n").leak(), &[b' '; 65536], "larger than 16 MiB"),
        ("", "", b"", "no reply within 5 s"),
    ] {
        let address = foreign(greeting, reply, more);
        let (status, text) = status_at(&address);
        assert!(text.starts_with(&format!("error: admin endpoint {address} (flag --admin): ")), "{text}");
        assert!(status == Some(1) && text.contains(what), "{what}: {text}");
        assert!(!text.contains('\u{9b}'), "{text:?}");
    }
}

#[test]
fn top_prints_samples_as_lines_of_json() {
    let this = Configured::start("unix:admin.sock", "");
    let text = this.fails(&["top"], 2);
    assert!(text.contains("top needs a terminal") && text.contains("--json"), "{text}");
    let mut client = this.client();
    let top = this.command(&["top", "--json", "--interval", "100ms", "--count", "4"]).spawn();
    let mut line = String::new();
    // The rates count what happens while top runs.
    while !top.stdout().contains('\n') {
        client.get_mut().write_all(b"Ada\n").unwrap();
        client.read_line(&mut line).unwrap();
    }
    let ended = top.wait();
    assert_eq!((ended.code(), ended.stdout.lines().count()), (Some(0), 4), "{}", ended.stderr);
    let samples: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let busiest =
        samples.iter().max_by_key(|sample| sample["listeners"][0]["messages_per_second"].as_f64().unwrap() as u64);
    let main = &busiest.unwrap()["listeners"][0];
    assert!(main["messages_per_second"].as_f64().unwrap() > 0.0 && main["p99_seconds"].is_f64(), "{main}");
    assert_eq!((&main["name"], &main["open"], &main["failed_per_second"]), (&json!("main"), &json!(1), &json!(0.0)));
}

#[test]
fn the_commands_refuse_options_of_the_server() {
    for args in
        [&["status", "--listen", "tcp://127.0.0.1:1"][..], &["reload", "--set", "a=b"], &["drain", "--handler", "x"]]
    {
        assert_eq!(Program::switchboard().args(args).run().code(), Some(2), "{args:?}");
    }
}

#[test]
fn a_slow_drain_of_a_stopped_process_is_not_waited_for_in_vain() {
    let this = Configured::start("unix:admin.sock", "");
    this.server.signal(harness::Signal::SIGSTOP);
    let begun = std::time::Instant::now();
    let text = this.fails(&["drain"], 1);
    this.server.signal(harness::Signal::SIGCONT);
    assert!(text.contains("no reply within 5 s") && begun.elapsed() >= Duration::from_secs(4), "{text}");
}
