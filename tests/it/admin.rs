//! The admin endpoint: it shows the state and runs commands, for authorized clients only.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use harness::{Program, Running, Signal, TEST_TIMEOUT, free_port, tool};
use serde_json::Value;

/// An HTTP response.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

pub(crate) fn ask(mut io: impl Read + Write, method: &str, path: &str, headers: &str, body: &str) -> Response {
    let length = body.len();
    write!(io, "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
        .unwrap();
    let mut text = String::new();
    io.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{head}"));
    Response { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// A server with an admin endpoint.
pub(crate) struct AdminServer(pub(crate) Running);

impl AdminServer {
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::at("tcp://127.0.0.1:0", "tcp://127.0.0.1:0", args)
    }

    pub(crate) fn at(listen: &str, admin: &str, args: &[&str]) -> Self {
        let program = Program::switchboard().args(["serve", "--listen", listen, "--framing", "lines"]);
        let running = program.args(["--set", &format!("admin.listen={admin}")]).args(args).spawn();
        running.wait_for_event(|event| event["message"] == "listening" && event["listener"] == "admin");
        Self(running)
    }

    pub(crate) fn tcp(&self) -> TcpStream {
        let io = TcpStream::connect(self.0.socket("admin")).unwrap();
        io.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        io
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        ask(self.tcp(), "GET", path, "", "")
    }

    /// Sends these bytes and returns everything that the server sends until it closes.
    pub(crate) fn raw(&self, request: &str) -> String {
        let mut io = self.tcp();
        io.write_all(request.as_bytes()).unwrap();
        let mut reply = String::new();
        io.read_to_string(&mut reply).unwrap();
        reply
    }

    pub(crate) fn send(&self, method: &str, path: &str, body: &str) -> Response {
        ask(self.tcp(), method, path, "", body)
    }

    /// A client that has received the welcome of a listener on this port.
    pub(crate) fn client_at(&self, port: u16) -> TcpStream {
        let mut io = TcpStream::connect(("127.0.0.1", port)).unwrap();
        io.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        io.read_exact(&mut [0; 8]).unwrap();
        io
    }

    /// A client that has exchanged one message.
    pub(crate) fn client(&self) -> BufReader<TcpStream> {
        let mut client = BufReader::new(TcpStream::connect(self.0.socket("main")).unwrap());
        client.get_ref().set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        client.get_mut().write_all(b"Ada\n").unwrap();
        let mut line = String::new();
        for wanted in ["welcome!\n", "hello, Ada!\n"] {
            line.clear();
            client.read_line(&mut line).unwrap();
            assert_eq!(line, wanted);
        }
        client
    }

    pub(crate) fn metric(&self, line: &str) -> Option<f64> {
        let page = self.get("/metrics").body;
        let found = page.lines().find_map(|found| found.strip_prefix(line))?;
        Some(found.trim().parse().unwrap())
    }

    /// Polls until a condition holds.
    pub(crate) fn wait_until(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + TEST_TIMEOUT;
        while !holds() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::yield_now();
        }
    }
}

#[test]
fn status_and_connections_show_the_running_server() {
    let server = AdminServer::start(&[]);
    assert_eq!((server.get("/livez").status, server.get("/readyz").status), (200, 200));
    let client = server.client();
    // A message is counted after its reply is written.
    server.wait_until("the message is counted", || server.get("/status").json()["listeners"][0]["messages"]["ok"] == 1);
    let status = server.get("/status");
    assert!(status.head.contains("content-type: application/json"), "{}", status.head);
    let status = status.json();
    assert_eq!((&status["phase"], &status["version"]), (&"running".into(), &env!("CARGO_PKG_VERSION").into()));
    assert!(status["uptime_seconds"].as_f64().unwrap() > 0.0);
    let main = &status["listeners"][0];
    assert_eq!((&main["name"], &main["state"]), (&"main".into(), &"listening".into()));
    assert_eq!(main["address"], format!("tcp://{}", server.0.socket("main")));
    assert_eq!((&main["open"], &main["accepted"], &main["messages"]["ok"]), (&1.into(), &1.into(), &1.into()));
    let connections = server.get("/connections").json();
    let one = &connections["connections"][0];
    assert_eq!(one["peer"], client.get_ref().local_addr().unwrap().to_string());
    let counts = ["messages", "bytes_in", "bytes_out"].map(|count| one[count].as_u64().unwrap());
    assert_eq!((counts, &one["listener"], &one["state"]), ([1, 4, 21], &"main".into(), &"open".into()));
    assert!(one["age_seconds"].as_f64().unwrap() >= 0.0 && one["id"].is_u64());
    for (path, method, status) in
        [("/nowhere", "GET", 404), ("/drain", "GET", 409), ("/drain", "PUT", 405), ("/metrics", "POST", 405)]
    {
        assert_eq!(server.send(method, path, "").status, status, "{method} {path}");
    }
    let routes = server.get("/nowhere").body;
    assert!(routes.contains("GET /status - ") && routes.contains("DELETE /connections/{id} - "), "{routes}");
}

#[test]
fn deleting_a_connection_closes_only_that_connection() {
    let server = AdminServer::start(&[]);
    let (mut one, mut two) = (server.client(), server.client());
    let peer = one.get_ref().local_addr().unwrap().to_string();
    let connections = server.get("/connections").json();
    let of = |connection: &&Value| connection["peer"] == peer;
    let id = connections["connections"].as_array().unwrap().iter().find(of).unwrap()["id"].as_u64().unwrap();
    assert_eq!(server.send("DELETE", &format!("/connections/{id}"), "").status, 200);
    let mut rest = String::new();
    let _ = one.read_line(&mut rest); // a reset also counts as the end
    assert_eq!(rest, "");
    let closed = server.0.wait_for_event(|event| event["message"] == "connection closed" && event["peer"] == peer);
    assert_eq!(closed["reason"], "killed");
    two.get_mut().write_all(b"Bob\n").unwrap();
    two.read_line(&mut rest).unwrap();
    assert_eq!(rest, "hello, Bob!\n");
    // The log line precedes the end of the connection.
    let killed = "switchboard_connections_closed_total{listener=\"main\",reason=\"killed\"}";
    server.wait_until("it is counted as closed", || server.metric(killed) == Some(1.0));
    for wrong in [&id.to_string(), "0", "x", "99999999999999999999"] {
        assert_eq!(server.send("DELETE", &format!("/connections/{wrong}"), "").status, 404, "{wrong}");
    }
}

#[test]
fn the_log_level_can_be_changed_at_runtime() {
    let server = AdminServer::start(&["--log-level", "warn,switchboard::listener=info"]);
    assert_eq!(server.get("/log-level").body, "warn,switchboard::listener=info\n");
    let refused = server.send("PUT", "/log-level", "loud");
    assert_eq!(refused.status, 422);
    assert!(refused.body.contains("\"loud\" is not a level"), "{}", refused.body);
    drop(server.client());
    let set = server.send("PUT", "/log-level", "info\n");
    assert_eq!((set.status, &*set.body), (200, "info\n"));
    drop(server.client());
    server.0.wait_for_event(|event| event["message"] == "connection opened" && event["listener"] == "main");
    let opened = server.0.log().iter().filter(|event| event["message"] == "connection opened").count();
    assert!(opened < 3, "the first client is below the log level");
}

#[test]
fn a_reload_request_returns_the_errors() {
    let place = tempfile::tempdir().unwrap();
    let write = |text: &str| std::fs::write(place.path().join("switchboard.toml"), text).unwrap();
    let good =
        "[admin]\nlisten = 'tcp://127.0.0.1:0'\n[listeners.main]\nlisten = 'tcp://127.0.0.1:0'\nframing = 'lines'\n";
    write(good);
    let server = AdminServer(Program::switchboard().arg("serve").current_dir(place.path()).start());
    let mut open = server.client();
    write(&good.replace("lines", "lnies").replace("[admin]", "[drain]\ndeadline = 'soon'\n[admin]"));
    let refused = server.send("POST", "/reload", "");
    assert_eq!(refused.status, 422);
    let errors = refused.json()["errors"].as_array().unwrap().clone();
    let reports = |part: &str| errors.iter().any(|error| error.as_str().unwrap().contains(part));
    assert!(errors.len() == 2 && reports("\"lnies\"") && reports("drain.deadline: \"soon\""), "{errors:?}");
    write(&(good.to_owned() + "[listeners.more]\nlisten = 'unix:more'\nhandler = 'echo'\n"));
    let reloaded = server.send("POST", "/reload", "");
    let (status, mut changes) = (reloaded.status, reloaded.json());
    let keys = changes.as_object_mut().unwrap().remove("keys").unwrap();
    let keys: Vec<_> = keys.as_array().unwrap().iter().map(|change| change["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["handlers.echo", "listeners.more"]);
    let expected = serde_json::json!({ "reloaded": true, "started": ["more"], "changed": [], "stopped": [] });
    assert_eq!((status, changes), (200, expected));
    let mut more = UnixStream::connect(place.path().join("more")).unwrap();
    more.write_all(b"hi").unwrap();
    more.read_exact(&mut [0; 2]).unwrap();
    let reloaded = server.0.wait_for_event(|event| event["message"] == "reloaded");
    assert_eq!((&reloaded["started"], &reloaded["changed"]), (&"more".into(), &"".into()));
    open.get_mut().write_all(b"Bob\n").unwrap();
    let mut line = String::new();
    open.read_line(&mut line).unwrap();
    assert_eq!(line, "hello, Bob!\n");
    // The admin endpoint moves to another port; the number of threads changes only at the next start.
    let port = free_port();
    write(&(good.replacen(":0'", &format!(":{port}'"), 1) + "[runtime]\nworkers = 3\n"));
    assert_eq!(server.send("POST", "/reload", "").status, 200);
    let reloaded = server.0.wait_for_event(|event| event["message"] == "reloaded" && event["stopped"] == "more");
    assert_eq!(reloaded["at_start"], "runtime.workers");
    let io = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(ask(io, "GET", "/readyz", "", "").status, 200);
    // A rejected reload leaves the endpoint at its address.
    let moved = good.to_owned() + "[listeners.far]\nlisten = 'tcp://203.0.113.1:1'\n";
    write(&moved);
    server.0.signal(Signal::SIGHUP);
    server.0.wait_for_event(|event| {
        event["message"] == "reload rejected" && event["error"].as_str().unwrap().contains("listener far")
    });
    let io = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(ask(io, "GET", "/readyz", "", "").status, 200);
}

#[test]
fn a_drain_request_is_announced_and_pending_replies_are_sent() {
    let server = AdminServer::start(&["--set", "drain.announce=1h"]);
    let mut client = server.client();
    assert_eq!(server.send("POST", "/drain", "").status, 202);
    server.wait_until("/readyz reports draining", || server.get("/readyz").status == 503);
    assert_eq!(server.get("/readyz").body, "draining\n");
    assert_eq!((server.get("/livez").status, server.metric("switchboard_drain_phase")), (200, Some(1.0)));
    assert_eq!(server.get("/status").json()["phase"], "draining");
    // A second drain request does not abort connections.
    assert_eq!(server.send("POST", "/drain", "").body, "already draining\n");
    let mut is_served = || {
        client.get_mut().write_all(b"Bob\n").unwrap();
        let mut line = String::new();
        client.read_line(&mut line).unwrap();
        assert_eq!(line, "hello, Bob!\n");
    };
    is_served();
    assert_eq!(server.send("POST", "/reload", "").status, 422);
    // A service manager stops a server that was asked to drain: the first signal aborts no connection.
    server.0.signal(Signal::SIGTERM);
    (0..20).for_each(|_| assert_eq!(server.get("/livez").status, 200));
    is_served();
    // The second one ends the process immediately. Idle connections are closed or aborted.
    server.0.signal(Signal::SIGTERM);
    assert!([Some(0), Some(3)].contains(&server.0.wait().code()));
}

#[test]
fn modifying_requests_require_the_token() {
    let place = tempfile::tempdir().unwrap();
    let secret = place.path().join("token");
    std::fs::write(&secret, "hunter2-and-more\n").unwrap();
    let file = format!("admin.token_file={}", secret.display());
    let server = AdminServer::start(&["--set", &file]);
    let with = |header: &str| ask(server.tcp(), "PUT", "/log-level", header, "info");
    let refused = with("");
    assert_eq!(refused.status, 401);
    assert!(refused.head.contains("www-authenticate: bearer"), "{}", refused.head);
    assert_eq!(with("authorization: Bearer hunter2\r\n").status, 401);
    assert_eq!(with("authorization: Bearer hunter2-and-more\r\n").status, 200);
    assert_eq!(server.get("/metrics").status, 200);
    let origin = "origin: http://evil.example\r\nauthorization: Bearer hunter2-and-more\r\n";
    assert_eq!(with(origin).status, 403);
    let shown = Program::switchboard()
        .args(["config", "--set", "admin.listen=tcp://0.0.0.0:1", "--set", "admin.token=hunter2"])
        .run();
    assert!(
        shown.stdout.contains("token is set and not shown") && !shown.stdout.contains("hunter2"),
        "{}",
        shown.stdout
    );
}

#[test]
fn invalid_admin_sections_are_rejected() {
    let checked =
        |args: &[&str]| Program::switchboard().arg("check").args(args.iter().flat_map(|arg| ["--set", arg])).run();
    for (args, part) in [
        (&["admin.listen=udp://127.0.0.1:9900"][..], "cannot be used for [admin]"),
        (&["admin.listen=systemd:admin"], "cannot be used for [admin]"),
        (&["admin.token=x"], "admin.listen: is missing"),
        (&["admin.listen=unix:/a", "admin.token=a b"], "admin.token: the value (not shown) is not a token"),
        (&["admin.listen=unix:/a", "admin.token_file=/no/such/file"], "cannot read a token from /no/such/file"),
        (&["admin.listen=unix:/a", "admin.token=x", "admin.token_file=/y"], "cannot be set together with admin.token"),
        (&["admin.listen=tcp://127.0.0.1:9999"], "is already used by listeners.main"),
    ] {
        let refused = checked(args);
        assert_eq!(refused.code(), Some(78), "{args:?}");
        assert!(refused.stderr.contains(part) && refused.stderr.contains("1 error"), "{args:?}: {}", refused.stderr);
    }
    for args in [&["admin.listen=tcp://0.0.0.0:9900", "admin.token=x"][..], &["admin.listen=tcp://[::1]:9900"]] {
        assert_eq!(checked(args).code(), Some(0), "{args:?}");
    }
}

#[test]
fn the_endpoint_works_on_a_unix_socket_and_bind_errors_are_reported() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("admin");
    let listen = format!("unix:{}", path.display());
    let server = AdminServer::at("tcp://127.0.0.1:0", &listen, &[]);
    let io = UnixStream::connect(&path).unwrap();
    assert_eq!(ask(io, "GET", "/readyz", "", "").status, 200);
    let second = Program::switchboard()
        .args(["serve", "--listen", "tcp://127.0.0.1:0", "--set", &format!("admin.listen={listen}")])
        .run();
    assert_eq!(second.code(), Some(1));
    assert!(second.stderr.contains("listener admin cannot listen on unix:"), "{}", second.stderr);
    server.0.signal(Signal::SIGTERM);
    assert_eq!(server.0.wait().code(), Some(0));
    assert!(!path.exists());
}

#[test]
fn metrics_are_valid_for_prometheus_and_labels_are_bounded() {
    let server = AdminServer::at("tcp://0.0.0.0:0", "tcp://127.0.0.1:0", &[]);
    let port = server.0.socket("main").rsplit_once(':').unwrap().1.to_owned();
    let clients = 200;
    for peer in 1..=clients {
        // Each client has a different address.
        let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        let from: std::net::SocketAddr = format!("127.0.1.{peer}:0").parse().unwrap();
        client.bind(&from.into()).unwrap();
        client.connect(&format!("127.0.0.1:{port}").parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
        if peer == 1 {
            let page = server.get("/metrics").body;
            assert!(page.contains("switchboard_connections_open{listener=\"main\"} "), "{page}");
        }
    }
    let accepted = "switchboard_connections_accepted_total{listener=\"main\"}";
    server.wait_until("all clients are counted", || server.metric(accepted) == Some(f64::from(clients)));
    let answer = server.get("/metrics");
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    let samples = answer.body.lines().filter(|line| !line.starts_with('#')).count();
    assert!(samples < 80 && !answer.body.contains("127.0.1."), "{samples}");
    let Some(promtool) = tool("promtool") else { return };
    let mut lint = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    lint.stdin.take().unwrap().write_all(answer.body.as_bytes()).unwrap();
    let linted = lint.wait_with_output().unwrap();
    let output = [linted.stdout, linted.stderr].concat();
    assert!(linted.status.success() && output.is_empty(), "{}", String::from_utf8_lossy(&output));
}

#[test]
fn prometheus_scrapes_the_metrics() {
    let Some(prometheus) = tool("prometheus") else { return };
    let server = AdminServer::start(&[]);
    drop(server.client());
    let (place, port) = (tempfile::tempdir().unwrap(), free_port());
    let config = format!(
        "scrape_configs:\n- job_name: switchboard\n  scrape_interval: 1s\n  static_configs: [{{ targets: ['{}'] }}]\n",
        server.0.socket("admin")
    );
    std::fs::write(place.path().join("prometheus.yml"), config).unwrap();
    let mut scraper = Prometheus(
        Command::new(prometheus)
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--log.level=error"])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .current_dir(place.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let query = "/api/v1/query?query=switchboard_messages_total%7Boutcome%3D%22ok%22%7D";
    let deadline = Instant::now() + TEST_TIMEOUT;
    loop {
        assert!(Instant::now() < deadline && scraper.0.try_wait().unwrap().is_none(), "Prometheus has no sample");
        if let Ok(io) = TcpStream::connect(("127.0.0.1", port)) {
            let answer = ask(io, "GET", query, "", "");
            if answer.body.contains("\"listener\":\"main\"") {
                assert!(answer.body.contains("\"1\"]"), "{}", answer.body);
                break;
            }
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// A Prometheus process, killed on drop.
struct Prometheus(std::process::Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_admin_settings_are_read_from_the_default_file_and_the_token_is_hidden() {
    let place = tempfile::tempdir().unwrap();
    let file = |name: &str| Path::new(place.path()).join(name);
    std::fs::write(file("switchboard.toml"), "[admin]\nlisten = 'tcp://127.0.0.1:0'\ntoken = 'hunter2'\n").unwrap();
    let run = |args: &[&str]| Program::switchboard().args(args).current_dir(place.path()).run();
    let shown = run(&["config", "--origin"]).stdout;
    assert!(shown.contains("listen = \"tcp://127.0.0.1:0\"  # switchboard.toml, line 2"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}
