//! The admin endpoint stays reachable and safe whatever clients, files and operators do.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Program, Signal, TEST_TIMEOUT, uninterrupted};
use nix::libc::O_NONBLOCK;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::admin::{AdminServer, ask};

const CONFIG: &str =
    "[admin]\nlisten = 'tcp://127.0.0.1:0'\n[listeners.main]\nlisten = 'tcp://127.0.0.1:0'\nframing = 'lines'\n";

/// A server in a temporary directory with its configuration file.
struct Fixture {
    directory: tempfile::TempDir,
    server: AdminServer,
}

impl Fixture {
    fn start(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("switchboard.toml"), config).unwrap();
        // Named, because a file that is only found must be a regular file.
        let args = ["serve", "--config", "switchboard.toml"];
        let running = Program::switchboard().args(args).current_dir(directory.path()).spawn();
        running.wait_for_event(|event| event["message"] == "listening" && event["listener"] == "admin");
        Self { directory, server: AdminServer(running) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn connect(&self, listener: &str) -> Box<dyn Read> {
        let address = self.server.0.socket(listener);
        if self.server.0.address(listener).starts_with("unix:") {
            return Box::new(UnixStream::connect(self.path(&address)).unwrap());
        }
        let io = TcpStream::connect(address).unwrap();
        io.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        Box::new(io)
    }

    fn configure(&self, config: &str) {
        fs::write(self.path("switchboard.toml"), config).unwrap();
    }
}

/// Waits until the server opens a FIFO for reading. The server then waits for data until the result is dropped.
fn wait_for_reader(fifo: &Path) -> File {
    let deadline = Instant::now() + TEST_TIMEOUT;
    loop {
        // open(2): fails with ENXIO while there is no reader.
        match OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(fifo) {
            Ok(writer) => return writer,
            Err(error) => assert!(Instant::now() < deadline, "{}: {error}", fifo.display()),
        }
        thread::yield_now();
    }
}

#[test]
fn a_drain_begins_at_once_while_a_reload_waits_for_a_file() {
    let secure = "[listeners.secure]\nlisten = 'tls://127.0.0.1:0'\n[listeners.secure.tls]\n";
    let cases = [
        ("the configuration", None),
        ("the token", Some(CONFIG.replacen("[listeners", "token_file = 'fifo'\n[listeners", 1))),
        ("the certificate", Some(format!("{CONFIG}{secure}certificate = 'fifo'\nkey = 'key.pem'\n"))),
        ("the client authority", Some(format!("{CONFIG}{secure}certificate = 'c'\nkey = 'k'\nclient_ca = 'fifo'\n"))),
    ];
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    for (file, config) in cases {
        for by_signal in [false, true] {
            let fixture = Fixture::start(CONFIG);
            fs::write(fixture.path("c"), pair.cert.pem()).unwrap();
            fs::write(fixture.path("k"), pair.signing_key.serialize_pem()).unwrap();
            let fifo = fixture.path("fifo");
            mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
            match &config {
                Some(config) => fixture.configure(config),
                None => fs::rename(&fifo, fixture.path("switchboard.toml")).unwrap(),
            }
            let fifo = if config.is_some() { fifo } else { fixture.path("switchboard.toml") };
            fixture.server.0.signal(Signal::SIGHUP);
            let writer = wait_for_reader(&fifo);
            if by_signal {
                fixture.server.0.signal(Signal::SIGTERM);
            } else {
                assert_eq!(fixture.server.send("POST", "/drain", "").status, 202, "{file}");
            }
            // The reload deadline is longer than the timeout of this wait.
            let ended = fixture.server.0.wait();
            assert_eq!(ended.code(), Some(0), "{file}: {}", ended.stderr);
            assert!(ended.stderr.contains("\"drained\""), "{file}: {}", ended.stderr);
            drop(writer);
        }
    }
}

#[test]
fn a_drain_cancels_an_upgrade_that_waits_for_the_new_program() {
    for by_signal in [false, true] {
        drop(Program::switchboard()); // builds the binary
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("server");
        std::os::unix::fs::symlink(harness::target().join("switchboard"), &program).unwrap();
        fs::write(directory.path().join("switchboard.toml"), CONFIG).unwrap();
        let running = Program::at(&program).current_dir(directory.path()).spawn();
        running.wait_for_event(|event| event["message"] == "listening" && event["listener"] == "admin");
        let server = AdminServer(running);
        let (pid, next) = (directory.path().join("pid"), directory.path().join("next"));
        // Never becomes ready.
        fs::write(&next, format!("#!/bin/sh\necho $$ > {0}.new && mv {0}.new {0}\nexec sleep 1000\n", pid.display()))
            .unwrap();
        fs::set_permissions(&next, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(&next, &program).unwrap();
        server.0.signal(Signal::SIGUSR2);
        server.wait_until("the new program runs", || pid.exists());
        // A reload does not wait for the upgrade.
        let rejected = server.send("POST", "/reload", "");
        assert_eq!(rejected.status, 422, "{}", rejected.body);
        assert!(rejected.body.contains("an upgrade is in progress"), "{}", rejected.body);
        if by_signal {
            server.0.signal(Signal::SIGTERM);
        } else {
            assert_eq!(server.send("POST", "/drain", "").status, 202);
        }
        let ended = server.0.wait();
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
        let new = fs::read_to_string(&pid).unwrap();
        let stat = fs::read_to_string(format!("/proc/{}/stat", new.trim()));
        assert!(stat.is_err() || stat.unwrap().contains(") Z "), "the new program is left");
    }
}

#[test]
fn a_signal_interrupts_a_start_that_waits_for_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let tls = "tls = { certificate = 'fifo', key = 'key.pem' }";
    fs::write(
        directory.path().join("switchboard.toml"),
        format!("[listeners.main]\nlisten = 'tls://127.0.0.1:0'\n{tls}\n"),
    )
    .unwrap();
    let running = Program::switchboard().arg("serve").current_dir(directory.path()).spawn();
    let writer = wait_for_reader(&fifo);
    running.signal(Signal::SIGTERM);
    assert_eq!(running.wait().code(), Some(0));
    drop(writer);
}

#[test]
fn a_reload_that_would_close_every_current_listener_needs_force() {
    let listener = |name: &str, port: u16| format!("[listeners.{name}]\nlisten = 'tcp://127.0.0.1:{port}'\n");
    let (one, two) = (harness::free_port(), harness::free_port());
    let admin = "[admin]\nlisten = 'tcp://127.0.0.1:0'\n";
    let fixture = Fixture::start(&format!("{admin}{}", listener("main", one)));
    // The last one leaves only the default listener, which is no current one.
    for config in [listener("main", two), listener("other", two), "[log]\nlevel = 'info'\n".to_owned()] {
        fixture.configure(&format!("{admin}{config}"));
        let refused = fixture.server.send("POST", "/reload", "");
        assert_eq!(refused.status, 422, "{config}");
        let error = refused.json()["errors"][0].as_str().unwrap().to_owned();
        for part in ["keeps none of the current listeners", &format!("main at tcp://127.0.0.1:{one}"), "force=true"] {
            assert!(error.contains(part), "{config}: {error}");
        }
    }
    fixture.server.0.signal(Signal::SIGHUP);
    fixture.server.0.wait_for_event(|event| event["message"] == "reload rejected");
    drop(fixture.server.client_at(one));
    // Another name for the same address keeps it, and so does one listener of several.
    for config in [listener("renamed", one), listener("renamed", one) + &listener("more", two), listener("more", two)] {
        fixture.configure(&format!("{admin}{config}"));
        assert_eq!(fixture.server.send("POST", "/reload", "").status, 200, "{config}");
    }
    fixture.configure(&format!("{admin}{}", listener("main", one)));
    assert_eq!(fixture.server.send("POST", "/reload?force=false", "").status, 422);
    let forced = fixture.server.send("POST", "/reload?force=true", "");
    assert_eq!((forced.status, &forced.json()["stopped"][0]), (200, &"more".into()));
    drop(fixture.server.client_at(one));
}

#[test]
fn unknown_query_parameters_of_every_route_are_rejected() {
    let server = AdminServer::start(&[]);
    for (method, path) in [
        ("GET", "/?x=1"),
        ("GET", "/livez?verbose"),
        ("GET", "/readyz?verbose=1"),
        ("GET", "/metrics?name=x"),
        ("GET", "/status?listener=main"),
        ("GET", "/connections?lmit=1"),
        ("GET", "/log-level?x"),
        ("GET", "/config?format=toml"),
        ("PUT", "/log-level?level=debug"),
        ("DELETE", "/connections/1?force=true"),
        ("POST", "/drain?deadline=1s"),
        ("POST", "/reload?force=yes"),
        ("POST", "/reload?forced=true"),
        ("POST", "/reload?force=true&force=true"),
    ] {
        let refused = server.send(method, path, "");
        assert_eq!(refused.status, 422, "{method} {path}: {}", refused.body);
        assert!(refused.body.contains("invalid query"), "{method} {path}: {}", refused.body);
        assert!(refused.body.contains("this path takes"), "{method} {path}: {}", refused.body);
    }
    let long = format!("/connections?listener=main&x={}", "y".repeat(5000));
    for path in [
        "/connections?limit=0",
        "/connections?limit=10001",
        "/connections?limit=-1",
        "/connections?limit=",
        "/connections?limit=1&limit=2",
        "/connections?limit=99999999999999999999",
        "/connections?after=x",
        "/connections?after=",
        &long,
    ] {
        let refused = server.get(path);
        assert_eq!(refused.status, 422, "{path}: {}", refused.body);
        assert!(refused.body.contains("this path takes limit (1 to 10000), after"), "{path}: {}", refused.body);
        assert!(refused.body.len() < 400, "{path}: {}", refused.body);
        for internal in ["deserialize", "usize", "digit", "field"] {
            assert!(!refused.body.contains(internal), "{path}: {}", refused.body);
        }
    }
    assert_eq!(server.get("/livez?").status, 200);
    for path in ["/connections?limit=-1", "/connections?limit=%1b", "/connections?after=x", "/connections?%1b=1"] {
        let refused = server.get(path);
        assert_eq!(refused.status, 422, "{path}");
        let internal = ["Failed", "deserialize", "digit", "\u{1b}"].iter().find(|text| refused.body.contains(**text));
        assert_eq!(internal, None, "{path}: {}", refused.body);
    }
    let unknown = server.send("DELETE", "/connections/%1b%5b31m%e2%80%ae", "");
    assert_eq!((unknown.status, &*unknown.body), (404, "connection \\u001B[31m\\u202E not found\n"));
    assert!(server.get("/nowhere").body.contains("POST /reload - reload the configuration (force, dry_run)"));
}

/// Starts the server with a limit of open files, in a temporary directory.
fn start_in(files: u32, config: &str, prepare: impl Fn(&Path)) -> Fixture {
    drop(Program::switchboard()); // builds the binary
    let directory = tempfile::tempdir().unwrap();
    prepare(directory.path());
    fs::write(directory.path().join("switchboard.toml"), config).unwrap();
    let command = format!("ulimit -n {files} && exec {} serve", harness::target().join("switchboard").display());
    let running = Program::at(Path::new("/bin/sh")).args(["-c", &command]).current_dir(directory.path()).spawn();
    running.wait_for_event(|event| event["message"] == "listening" && event["listener"] == "admin");
    Fixture { directory, server: AdminServer(running) }
}

#[test]
fn clients_that_use_all_open_files_leave_the_admin_endpoint_and_reloads_working() {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let unix = "[listeners.local]\nlisten = 'unix:local'\n";
    let tls = "[listeners.secure]\nlisten = 'tls://127.0.0.1:0'\ntls = { certificate = 'c', key = 'k' }\n";
    let config = format!("{CONFIG}{unix}{tls}");
    for workers in [1, 2] {
        for listener in ["main", "local", "secure"] {
            let directory_of_files = |directory: &Path| {
                fs::write(directory.join("c"), pair.cert.pem()).unwrap();
                fs::write(directory.join("k"), pair.signing_key.serialize_pem()).unwrap();
            };
            let fixture = start_in(100, &format!("[runtime]\nworkers = {workers}\n{config}"), directory_of_files);
            let limited = fixture.server.0.wait_for_event(|event| event["reserved"] == 25);
            assert_eq!((&limited["available"], &limited["level"]), (&75.into(), &"WARN".into()));
            let clients: Vec<_> = (0..150).map(|_| fixture.connect(listener)).collect();
            let rejected = fixture.server.0.wait_for_event(|event| event["message"] == "connection rejected");
            assert_eq!((&rejected["reason"], &rejected["rule"]), (&"limit".into(), &"open files".into()));
            let silent: Vec<_> = (0..150).map(|_| fixture.server.tcp()).collect();
            assert_eq!(fixture.server.get("/readyz").status, 200, "{listener}");
            let name = format!("switchboard_connections_rejected_total{{listener=\"{listener}\",reason=\"limit\"}}");
            fixture.server.wait_until("rejected clients are counted", || fixture.server.metric(&name).unwrap() >= 75.0);
            assert!(
                fixture.server.metric(&format!("switchboard_connections_open{{listener=\"{listener}\"}}")) > Some(30.0)
            );
            // The reload reads the files again, and starts a listener.
            fixture.configure(&format!("{config}[listeners.more]\nlisten = 'tcp://127.0.0.1:0'\n"));
            let reloaded = fixture.server.send("POST", "/reload", "");
            assert_eq!(reloaded.status, 200, "{listener}: {}", reloaded.body);
            drop((clients, silent));
            // Descriptors that become free serve clients again.
            fixture.server.wait_until("a client is served", || {
                let mut client = fixture.connect("main");
                uninterrupted(|| client.read(&mut [0])).is_ok_and(|bytes| bytes == 1)
            });
        }
    }
}

#[test]
fn silent_admin_clients_lose_their_place_to_new_ones() {
    for (count, sent) in [(64, ""), (100, ""), (250, ""), (250, "G"), (250, "GET / HTTP/1.1\r\nhost: x\r\n")] {
        let server = AdminServer::start(&[]);
        let silent: Vec<_> = (0..count)
            .map(|_| {
                let mut io = server.tcp();
                io.write_all(sent.as_bytes()).unwrap();
                io
            })
            .collect();
        for path in ["/livez", "/readyz", "/metrics", "/status"] {
            assert_eq!(server.get(path).status, 200, "{count} {sent:?} {path}");
        }
        drop(silent);
    }
}

#[test]
fn health_checks_without_a_host_header_are_answered() {
    let fixture = Fixture::start(CONFIG);
    for path in ["/livez", "/readyz", "/metrics"] {
        for request in [
            format!("GET {path} HTTP/1.0\r\n\r\n"),
            format!("GET {path} HTTP/1.0\r\nhost:\r\n\r\n"),
            format!("GET {path} HTTP/1.1\r\nconnection: close\r\n\r\n"),
            format!("HEAD {path} HTTP/1.0\r\n\r\n"),
            format!("GET {path} HTTP/1.0\r\nhost: 10.0.0.1:9900\r\n\r\n"),
        ] {
            let reply = fixture.server.raw(&request);
            assert!(reply.starts_with("HTTP/1.") && reply.contains(" 200 OK\r\n"), "{request:?}: {reply}");
            assert!(reply.to_ascii_lowercase().contains("cache-control: no-store"), "{reply}");
        }
        let foreign = fixture.server.raw(&format!("GET {path} HTTP/1.0\r\nhost: evil.example\r\n\r\n"));
        assert!(foreign.contains(" 403 "), "{foreign}");
    }
    for path in ["/status", "/connections", "/log-level", "/", "/nowhere"] {
        let reply = fixture.server.raw(&format!("GET {path} HTTP/1.0\r\n\r\n"));
        assert!(reply.contains(" 403 "), "{path}: {reply}");
    }
}

#[test]
fn every_reply_forbids_caching() {
    let server = AdminServer::start(&[]);
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/livez"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
        ("GET", "/status"),
        ("GET", "/connections"),
        ("GET", "/config"),
        ("GET", "/log-level"),
        ("GET", "/nowhere"),
        ("GET", "/livez?x"),
        ("PUT", "/log-level"),
        ("POST", "/reload"),
        ("POST", "/metrics"),
        ("DELETE", "/connections/0"),
    ] {
        let reply = server.send(method, path, "");
        let headers = reply.head.matches("cache-control: no-store").count();
        assert_eq!(headers, 1, "{method} {path}: {}", reply.head);
    }
}

#[test]
fn a_request_has_one_deadline_and_a_refused_one_is_answered_before_its_body() {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    fs::write(&token, "a-long-secret").unwrap();
    let server = AdminServer::start(&["--set", &format!("admin.token_file={}", token.display())]);
    let unfinished = |headers: &str| {
        let mut io = server.tcp();
        let head = format!("PUT /log-level HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n{headers}\r\nd");
        io.write_all(head.as_bytes()).unwrap();
        io
    };
    let authorized = "authorization: Bearer a-long-secret\r\n";
    let (began, slow) = (Instant::now(), unfinished(authorized));
    // Refused at once: the rest of the body never comes.
    for (headers, status) in [
        ("", "401"),
        ("authorization: Bearer wrong\r\n", "401"),
        ("authorization: Bearer a-long-secret\r\norigin: http://evil.example\r\n", "403"),
        ("expect: 100-continue\r\n", "401"),
    ] {
        let mut reply = String::new();
        unfinished(headers).read_to_string(&mut reply).unwrap();
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")), "{headers}: {reply}");
    }
    // A byte now and then does not extend the deadline.
    let mut trickle = slow.try_clone().unwrap();
    let sender = thread::spawn(move || {
        while trickle.write_all(b"e").is_ok() {
            thread::park_timeout(Duration::from_millis(500));
        }
    });
    let mut reply = [0; 1024];
    let bytes = uninterrupted(|| (&slow).read(&mut reply)).unwrap();
    let reply = String::from_utf8_lossy(&reply[..bytes]);
    assert!(reply.starts_with("HTTP/1.1 408 ") && reply.contains("complete within 10 s"), "{reply}");
    assert!(began.elapsed().as_secs() >= 9, "{:?}", began.elapsed());
    drop(slow);
    server.0.signal(Signal::SIGTERM);
    drop(server);
    sender.join().unwrap();
}

#[test]
fn connections_are_paged_and_filtered() {
    let server = AdminServer::start(&["--set", "listeners.more.listen=tcp://127.0.0.1:0"]);
    let more = server.0.socket("more");
    let main: Vec<_> = (0..7).map(|_| server.client()).collect();
    let other: Vec<_> = (0..3).map(|_| TcpStream::connect(&more).unwrap()).collect();
    server.wait_until("all are open", || {
        server.get("/connections").json()["connections"].as_array().unwrap().len() == 10
    });
    let list = |query: &str| {
        let page = server.get(&format!("/connections{query}")).json();
        let ids: Vec<_> =
            page["connections"].as_array().unwrap().iter().map(|one| one["id"].as_u64().unwrap()).collect();
        (ids, page["next"].as_u64())
    };
    let (all, next) = list("");
    assert!(all.is_sorted() && all.len() == 10 && next.is_none(), "{all:?} {next:?}");
    assert_eq!(list("?limit=10"), (all.clone(), None));
    let (mut paged, mut query) = (Vec::new(), "?limit=3".to_owned());
    loop {
        let (page, next) = list(&query);
        paged.extend(page);
        let Some(next) = next else { break };
        query = format!("?limit=3&after={next}");
    }
    assert_eq!(paged, all);
    let peer = main[2].get_ref().local_addr().unwrap();
    for (query, found) in [
        ("?listener=main".to_owned(), 7),
        ("?listener=more".to_owned(), 3),
        (format!("?peer={peer}"), 1),
        ("?peer=127.0.0.1".to_owned(), 10),
        ("?peer=127.0.0.2".to_owned(), 0),
        ("?peer=127.0.0.0/8".to_owned(), 10),
        ("?peer=127.0.0.2/31".to_owned(), 0),
        ("?peer=2001:db8::/32".to_owned(), 0),
        ("?listener=more&peer=127.0.0.1&limit=2".to_owned(), 2),
        (format!("?after={}", all[9]), 0),
        (format!("?after={}", u64::MAX), 0),
        ("?limit=10000".to_owned(), 10),
    ] {
        assert_eq!(list(&query).0.len(), found, "{query}");
    }
    for wrong in [
        "limit=0",
        "limit=10001",
        "limit=-1",
        "limit=x",
        "after=x",
        "after=-1",
        "limit=1&limit=2",
        "lmit=1",
        "peer=127.0.0",
        "peer=127.0.0.1/8",
        "peer=10.0.0.0/33",
    ] {
        let refused = server.get(&format!("/connections?{wrong}"));
        assert_eq!(refused.status, 422, "{wrong}: {}", refused.body);
    }
    assert_eq!(server.get("/connections?listener=nothing").status, 404);
    drop((main, other));
}

#[test]
fn concurrent_requests_for_connections_get_complete_and_current_replies() {
    let server = AdminServer::start(&[]);
    let clients: Vec<_> = (0..50).map(|_| server.client()).collect();
    thread::scope(|scope| {
        for request in 0..60 {
            let server = &server;
            scope.spawn(move || {
                let path = ["/connections", "/connections?limit=50", "/status", "/metrics"][request % 4];
                let reply = server.get(path);
                assert_eq!(reply.status, 200, "{path}");
                if path.starts_with("/connections") {
                    assert_eq!(reply.json()["connections"].as_array().unwrap().len(), 50);
                }
            });
        }
    });
    drop(clients);
}

#[test]
fn filters_use_no_regular_expressions_and_are_bounded() {
    let server = AdminServer::start(&[]);
    // As a regular expression, it needs 150 MiB per second.
    let expensive = format!("x[s{{f=.*a{}}}]=trace", ".".repeat(22));
    assert_eq!(server.send("PUT", "/log-level", &expensive).status, 200);
    let long = format!("info,{}=debug", "x".repeat(4096));
    let many = vec!["x=info"; 65].join(",");
    let nested = "x[s{f=(a+)+}]=trace".to_owned();
    for (filter, part) in
        [(&long, "limited to 4096 bytes; this one has 41"), (&many, "limited to 64 directives; this one has 65")]
    {
        if filter.len() < 4096 {
            let refused = server.send("PUT", "/log-level", filter);
            assert_eq!(refused.status, 422, "{}", refused.body);
            assert!(refused.body.contains(part) && refused.body.len() < 200, "{}", refused.body);
        }
        let checks = [
            Program::switchboard().args(["check", "--log-level", filter]),
            Program::switchboard().args(["check", "--set", &format!("log.level={filter}")]),
            Program::switchboard().arg("check").env("RUST_LOG", filter),
            Program::switchboard().arg("check").env("SWITCHBOARD_LOG__LEVEL", filter),
        ];
        for check in checks {
            let refused = check.run();
            assert_eq!(refused.code(), Some(78), "{}", refused.stderr);
            assert!(refused.stderr.contains(part), "{}", refused.stderr);
        }
    }
    // A quantifier of a regular expression is text, too.
    let accepted = Program::switchboard().arg("check").env("RUST_LOG", &nested).run();
    assert_eq!(accepted.code(), Some(0), "{}", accepted.stderr);
}

#[test]
fn an_exposed_admin_endpoint_is_warned_about_and_serves_only_health_without_a_token() {
    let port = harness::free_port();
    let checked = |admin: &[&str]| {
        let set = admin.iter().flat_map(|arg| ["--set", arg]);
        let checked = Program::switchboard().arg("check").args(set).run();
        assert_eq!(checked.code(), Some(0), "{admin:?}: {}", checked.stderr);
        checked.stderr
    };
    for (listen, without, with) in [
        ("tcp://127.0.0.1:9900", "every local user can drain", ""),
        ("tcp://127.0.0.2:9900", "every local user can drain", ""),
        ("tcp://[::1]:9900", "every local user can drain", ""),
        ("tcp://[::ffff:127.0.0.1]:9900", "every local user can drain", ""),
        ("tcp://localhost:9900", "every local user can drain", ""),
        ("tcp://0.0.0.0:9900", "serves only /livez, /readyz and /metrics", "the network unencrypted"),
        ("tcp://[::]:9900", "serves only /livez, /readyz and /metrics", "the network unencrypted"),
        ("tcp://192.0.2.1:9900", "serves only /livez, /readyz and /metrics", "the network unencrypted"),
        ("tcp://db.example:9900", "serves only /livez, /readyz and /metrics", "the network unencrypted"),
        ("unix:/run/a.sock", "", ""),
    ] {
        let listen = format!("admin.listen={listen}");
        for (args, part) in [(&[&*listen][..], without), (&[&*listen, "admin.token=secret"], with)] {
            let warned = checked(args);
            assert_eq!(warned.matches("warning: admin.listen").count(), usize::from(!part.is_empty()), "{warned}");
            assert!(warned.contains(part), "{args:?}: {warned}");
        }
    }
    for host in ["0.0.0.0", "[::]"] {
        let server = AdminServer::at("tcp://127.0.0.1:0", &format!("tcp://{host}:{port}"), &[]);
        server.0.wait_for_event(|event| {
            event["level"] == "WARN" && event["message"].as_str().unwrap().contains("serves only /livez")
        });
        let request = |method: &str, path: &str| {
            let io = TcpStream::connect(("127.0.0.1", port)).unwrap();
            ask(io, method, path, "", "")
        };
        for path in ["/livez", "/readyz", "/metrics"] {
            assert_eq!(request("GET", path).status, 200, "{host} {path}");
        }
        for (method, path) in [
            ("GET", "/"),
            ("GET", "/status"),
            ("GET", "/connections"),
            ("GET", "/log-level"),
            ("GET", "/config"),
            ("GET", "/nowhere"),
            ("PUT", "/log-level"),
            ("DELETE", "/connections/1"),
            ("POST", "/reload"),
            ("POST", "/drain"),
        ] {
            let refused = request(method, path);
            assert_eq!(refused.status, 403, "{host} {method} {path}: {}", refused.body);
            assert!(refused.body.contains("set admin.token_file"), "{}", refused.body);
        }
    }
}
