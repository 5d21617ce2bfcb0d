//! The built binary, tested from outside against the operator's guide.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use harness::{Program, Running, Signal, free_port, tool};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ANY_TCP: &str = "tcp://127.0.0.1:0";
const TIMEOUT: Duration = harness::TEST_TIMEOUT;

fn serve(args: &[&str]) -> Running {
    Program::switchboard().args(args).start()
}

fn connect(server: &Running) -> TcpStream {
    let client = TcpStream::connect(server.socket("main")).unwrap();
    client.set_read_timeout(Some(TIMEOUT)).unwrap();
    client
}

#[track_caller]
fn expect(client: &mut TcpStream, wanted: &str) {
    let mut got = vec![0; wanted.len()];
    client.read_exact(&mut got).unwrap();
    assert_eq!(String::from_utf8_lossy(&got), wanted);
}

#[track_caller]
fn expect_end(client: &mut TcpStream) {
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert_eq!(String::from_utf8_lossy(&rest), "");
}

fn stop(server: Running) -> Option<i32> {
    server.signal(Signal::SIGTERM);
    server.wait().code()
}

#[test]
fn the_tcp_client_of_the_tutorial_gets_the_expected_bytes() {
    let server = serve(&["--listen", ANY_TCP]);
    let mut client = connect(&server);
    expect(&mut client, "welcome!");
    for name in ["Michael", "Tracy", "Sarah"] {
        client.write_all(name.as_bytes()).unwrap();
        expect(&mut client, &format!("hello, {name}!"));
    }
    client.write_all(b"exit").unwrap();
    expect_end(&mut client);
    let closed = server.wait_for_event(|event| event["message"] == "connection closed");
    assert_eq!(closed["reason"], "handler_closed");
    assert_eq!(closed["messages"], 4);
    assert_eq!(closed["bytes_in"], "MichaelTracySarahexit".len());
    assert_eq!(closed["bytes_out"], "welcome!hello, Michael!hello, Tracy!hello, Sarah!".len());
    assert_eq!(stop(server), Some(0));
}

#[test]
fn the_udp_client_of_the_tutorial_gets_the_expected_bytes() {
    let server = serve(&["--listen", "udp://127.0.0.1:0"]);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(TIMEOUT)).unwrap();
    client.connect(server.socket("main")).unwrap();
    for name in ["Michael", "Tracy", "exit", ""] {
        client.send(name.as_bytes()).unwrap();
        let mut buffer = [0; 100];
        let bytes = client.recv(&mut buffer).unwrap();
        assert_eq!(String::from_utf8_lossy(&buffer[..bytes]), format!("hello, {name}!"));
    }
    assert_eq!(stop(server), Some(0));
}

#[test]
fn messages_are_bytes_and_one_line_ending_is_removed() {
    let server = serve(&["--listen", ANY_TCP]);
    for (sent, named) in [(&b"you\r\n"[..], &b"you"[..]), (b"\xff\xfe\0\n", b"\xff\xfe\0"), (b"\r", b"")] {
        let mut client = connect(&server);
        expect(&mut client, "welcome!");
        client.write_all(sent).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, [b"hello, ", named, b"!"].concat());
    }
}

#[test]
fn the_default_is_hello_on_port_9999() {
    let printed = Program::switchboard().args(["config", "--format", "json"]).run();
    assert_eq!(printed.code(), Some(0), "{}", printed.stderr);
    let config: serde_json::Value = serde_json::from_str(&printed.stdout).unwrap();
    let main = &config["listeners"]["main"];
    assert_eq!(main["listen"], "tcp://127.0.0.1:9999");
    assert_eq!(main["handler"], "hello");
    assert_eq!(main["framing"], "raw");
    assert_eq!(main["limits"]["connections"], 10_000);
    assert_eq!(main["limits"]["frame"], "64KiB");
    assert_eq!(main["timeouts"]["idle"], "5m");
    assert_eq!(main["socket"]["mode"], "0600");
    assert_eq!(config["drain"]["deadline"], "30s");
}

#[test]
fn flags_override_variables_and_variables_override_the_file() {
    let place = tempfile::tempdir().unwrap();
    let file = "listen = \"tcp://127.0.0.1:1\"\nhandler = \"echo\"\nframing = \"lines\"\n[listeners.main.limits]\nframe = \"1KiB\"\n";
    fs::write(place.path().join("switchboard.toml"), file).unwrap();
    let with = |program: Program| {
        program
            .env("SWITCHBOARD_HANDLER", "hello")
            .env("SWITCHBOARD_LISTEN", "udp://127.0.0.1:2")
            .env("SWITCHBOARD_LISTENERS__MAIN__LIMITS__CONNECTIONS", "7")
            .env("SWITCHBOARD_HANDLERS__HELLO__WELCOME", "007")
            .env("SWITCHBOARD_PORT", "tcp://10.0.0.1:80") // Kubernetes injects such variables
            .current_dir(place.path())
            .args(["--listen", ANY_TCP, "--set", "drain.deadline=5s"])
    };
    let printed = with(Program::switchboard().args(["config", "--origin"])).run();
    assert_eq!(printed.code(), Some(0), "{}", printed.stderr);
    let origin = |key: &str| {
        let line = printed.stdout.lines().find(|line| line.trim_start().starts_with(&format!("{key} ")));
        line.unwrap_or_else(|| panic!("{key} in\n{}", printed.stdout)).to_owned()
    };
    assert!(origin("listen").contains("flag --listen"), "{}", origin("listen"));
    assert!(origin("handler").contains("environment variable SWITCHBOARD_HANDLER"), "{}", origin("handler"));
    assert!(origin("framing").contains("switchboard.toml, line 3"), "{}", origin("framing"));
    assert!(origin("frame").contains("switchboard.toml, line 5"), "{}", origin("frame"));
    assert!(origin("connections").contains("SWITCHBOARD_LISTENERS__MAIN__LIMITS__CONNECTIONS"));
    assert!(origin("backlog").contains("default"), "{}", origin("backlog"));
    assert!(origin("deadline").contains("flag --set"), "{}", origin("deadline"));
    assert!(origin("welcome").contains("\"007\""), "{}", origin("welcome"));

    // The printed configuration can be loaded again, with the same effect.
    let again = place.path().join("again.toml");
    fs::write(&again, &printed.stdout).unwrap();
    let second = Program::switchboard().args(["config", "--config"]).arg(&again).run();
    let first = with(Program::switchboard().arg("config")).run();
    assert_eq!(second.stdout, first.stdout, "{}", second.stderr);

    let server = with(Program::switchboard()).start();
    let mut client = connect(&server);
    expect(&mut client, "007\n");
    client.write_all(b"you\n").unwrap();
    expect(&mut client, "hello, you!\n");
    assert_eq!(stop(server), Some(0));
}

#[test]
fn json_and_yaml_files_give_the_same_values_as_toml() {
    let place = tempfile::tempdir().unwrap();
    let texts = [
        ("c.toml", "handler = \"echo\"\n[limits]\nframe = \"2KiB\"\n"),
        ("c.json", "{\"handler\": \"echo\", \"limits\": {\"frame\": \"2KiB\"}}"),
        ("c.yaml", "handler: echo\nlimits:\n  frame: 2KiB\n"),
    ];
    let printed: Vec<_> = texts
        .iter()
        .map(|(name, text)| {
            let path = place.path().join(name);
            fs::write(&path, text).unwrap();
            let printed = Program::switchboard().args(["config", "-c"]).arg(&path).run();
            assert_eq!(printed.code(), Some(0), "{name}: {}", printed.stderr);
            printed.stdout
        })
        .collect();
    assert!(printed[0].contains("2KiB") && printed[0].contains("echo"), "{}", printed[0]);
    assert!(printed.iter().all(|text| *text == printed[0]), "{printed:#?}");
}

#[test]
fn several_listeners_have_separate_settings() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("echo.sock");
    let file = format!(
        "[listeners.a]\nlisten = \"{ANY_TCP}\"\n[listeners.b]\nlisten = \"unix:{}\"\nhandler = \"echo\"\n",
        path.display()
    );
    fs::write(place.path().join("switchboard.toml"), file).unwrap();
    let server = Program::switchboard().current_dir(place.path()).start();
    let mut a = TcpStream::connect(server.socket("a")).unwrap();
    expect(&mut a, "welcome!");
    server.address("b");
    let mut b = std::os::unix::net::UnixStream::connect(&path).unwrap();
    b.write_all(b"hi").unwrap();
    let mut got = [0; 2];
    b.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"hi");
    assert_eq!(stop(server), Some(0));
    assert!(!path.exists(), "the path of a socket is removed with its listener");
}

#[test]
fn ten_errors_are_ten_sentences() {
    let place = tempfile::tempdir().unwrap();
    let file = r#"
handlr = "echo"

[drain]
deadline = "soon"

[listeners.main]
listen = "127.0.0.1:9999"
framing = "linez"

[listeners.main.limits]
frame = "lots"
connections = "many"
handshakes = 0

[listeners.main.timeouts]
idel = "5m"

[admin]
lisen = "tcp://127.0.0.1:9900"

[handlers.hello]
welcom = "hi"
"#;
    fs::write(place.path().join("bad.toml"), file).unwrap();
    let wanted = [
        ("handlr", "bad.toml:2:"),
        ("drain.deadline", "bad.toml:5:"),
        ("listeners.main.listen", "bad.toml:8:"),
        ("listeners.main.framing", "bad.toml:9:"),
        ("listeners.main.limits.frame", "bad.toml:12:"),
        ("listeners.main.limits.connections", "bad.toml:13:"),
        ("listeners.main.limits.handshakes", "out of range"),
        ("listeners.main.timeouts.idel", "did you mean"),
        ("admin.lisen", "did you mean \"listen\""),
        ("handlers.hello.welcom", "did you mean"),
        ("runtime.workers", "SWITCHBOARD_RUNTIME__WORKERS"),
        ("log.level", "--set log.level"),
    ];
    for command in ["serve", "check"] {
        let refused = Program::switchboard()
            .args([command, "-c", "bad.toml", "--set", "log.level=a=b=c", "--log-format", "text"])
            .env("SWITCHBOARD_RUNTIME__WORKERS", "none")
            .current_dir(place.path())
            .run();
        assert_eq!(refused.code(), Some(78), "{command}: {}", refused.stderr);
        for (key, part) in wanted {
            let sentence = refused.stderr.lines().find(|line| line.contains(&format!("error: {key}:")));
            let sentence = sentence.unwrap_or_else(|| panic!("no error for {key}:\n{}", refused.stderr));
            assert!(sentence.contains(part), "{part:?} in {sentence}");
        }
        let errors = refused.stderr.lines().filter(|line| line.contains("error: ")).count();
        let summary = format!("error: invalid configuration ({} errors)", wanted.len());
        assert_eq!(refused.stderr.lines().filter(|line| **line == summary).count(), 1, "{}", refused.stderr);
        assert_eq!(errors, wanted.len() + 1, "{}", refused.stderr);
    }
}

#[test]
fn the_exit_status_shows_the_cause() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", taken.local_addr().unwrap());
    for (args, code, part) in [
        (&["--listen", &address][..], 1, &*address),
        (&["--listen", "tcp://192.0.2.1:1"], 1, "192.0.2.1"),
        (&["--no-such-flag"], 2, "no-such-flag"),
        (&["no-such-command"], 2, "no-such-command"),
        (&["--config", "/nonexistent.toml"], 78, "/nonexistent.toml"),
        (&["check", "--handler", "hallo"], 78, "hello"),
        (&["--listen", "systemd:main"], 1, "passed no sockets"),
        (&["--listen", "tls://127.0.0.1:1"], 78, "listeners.main.tls.certificate: is missing"),
        (&["config", "--set", "nonsense"], 2, "--set needs KEY=VALUE"),
    ] {
        let ended = Program::switchboard().args(args).run();
        assert_eq!(ended.code(), Some(code), "{args:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(part), "{args:?}: {}", ended.stderr);
        assert!(!ended.stderr.contains("panicked"), "{args:?}: {}", ended.stderr);
    }
    assert_eq!(Program::switchboard().arg("check").run().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_clients_do_not_delay_each_other() {
    // On a busy machine, the test takes longer than the default timeouts.
    let timeouts = ["--set", "timeouts.frame=0s", "--set", "timeouts.idle=0s", "--set", "timeouts.write=0s"];
    let server = serve(&[&["--listen", ANY_TCP, "--framing", "lines"], &timeouts[..]].concat());
    let address = address_of(server);
    let mut silent = Vec::new();
    let mut slow = Vec::new();
    for n in 0..550 {
        let client = tokio::net::TcpStream::connect(&address.at).await.unwrap();
        if n < 500 { silent.push(client) } else { slow.push(client) }
    }
    // These clients send single bytes and never complete a line.
    let trickle = tokio::spawn(async move {
        for byte in b"never whole".iter().cycle() {
            for client in &mut slow {
                client.write_all(&[*byte]).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let active_clients: Vec<_> = (0..450)
        .map(|n| {
            let at = address.at.clone();
            tokio::spawn(async move {
                let mut client = tokio::net::TcpStream::connect(at).await.unwrap();
                read_exactly(&mut client, "welcome!\n").await;
                for round in 0..10 {
                    client.write_all(format!("{n}.{round}\n").as_bytes()).await.unwrap();
                    read_exactly(&mut client, &format!("hello, {n}.{round}!\n")).await;
                }
                client.write_all(b"exit\n").await.unwrap();
                read_exactly(&mut client, "").await;
            })
        })
        .collect();
    for active in active_clients {
        active.await.unwrap();
    }
    trickle.abort();
    drop(silent);
    assert_eq!(stop(address.server), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_delay_of_one_second_delays_no_other_client() {
    let args = ["--listen", ANY_TCP, "--set", "handlers.hello.delay=1s"];
    let address = address_of(serve(&args));
    let mut clients = Vec::new();
    for _ in 0..1000 {
        let mut client = tokio::net::TcpStream::connect(&address.at).await.unwrap();
        read_exactly(&mut client, "welcome!").await;
        clients.push(client);
    }
    let begun = Instant::now();
    for client in &mut clients {
        client.write_all(b"you").await.unwrap();
    }
    for client in &mut clients {
        read_exactly(client, "hello, you!").await;
    }
    let took = begun.elapsed();
    // One after the other, the replies take a thousand seconds.
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(100), "{took:?}");
    assert_eq!(stop(address.server), Some(0));
}

struct At {
    server: Running,
    at: String,
}

fn address_of(server: Running) -> At {
    let at = server.socket("main");
    At { server, at }
}

async fn read_exactly(client: &mut tokio::net::TcpStream, wanted: &str) {
    let mut got = vec![0; wanted.len()];
    if wanted.is_empty() {
        assert_eq!(client.read_to_end(&mut got).await.unwrap(), 0);
    } else {
        tokio::time::timeout(TIMEOUT, client.read_exact(&mut got)).await.unwrap().unwrap();
    }
    assert_eq!(String::from_utf8_lossy(&got), wanted);
}

#[test]
fn a_stop_finishes_pending_messages_and_refuses_new_connections() {
    let mut server = serve(&["--listen", ANY_TCP, "--set", "handlers.hello.delay=500ms"]);
    let address = server.socket("main");
    let mut clients: Vec<_> = (0..100).map(|_| connect(&server)).collect();
    for client in &mut clients {
        expect(client, "welcome!");
        client.write_all(b"you").unwrap();
    }
    let mut idle = connect(&server);
    expect(&mut idle, "welcome!");
    server.signal(Signal::SIGTERM);
    server.wait_until("new clients are refused", || {
        TcpStream::connect(&address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    expect_end(&mut idle);
    for client in &mut clients {
        expect(client, "hello, you!");
        expect_end(client);
    }
    let drained = server.wait_for_event(|event| event["message"] == "drained");
    assert_eq!(drained["cut"], 0, "{drained}");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn unfinished_connections_are_aborted_at_the_deadline() {
    let set = ["--set", "handlers.hello.delay=1h", "--set", "drain.deadline=300ms"];
    let server = serve(&["--listen", ANY_TCP, set[0], set[1], set[2], set[3]]);
    let mut client = connect(&server);
    expect(&mut client, "welcome!");
    client.write_all(b"you").unwrap();
    server.signal(Signal::SIGINT);
    let closed = server.wait_for_event(|event| event["message"] == "connection closed");
    assert_eq!(closed["reason"], "drain_deadline");
    assert_eq!(server.wait().code(), Some(3));
}

#[test]
fn a_second_signal_aborts_immediately() {
    let slow = ["--set", "handlers.hello.delay=1h", "--set", "drain.deadline=1h"];
    let server = serve(&[&["--listen", ANY_TCP], &slow[..]].concat());
    let mut client = connect(&server);
    expect(&mut client, "welcome!");
    client.write_all(b"you").unwrap();
    server.signal(Signal::SIGTERM);
    server.wait_for_event(|event| event["message"] == "draining");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(3));
}

#[test]
fn a_hangup_does_not_stop_the_server() {
    let server = serve(&["--listen", ANY_TCP]);
    server.signal(Signal::SIGHUP);
    server.wait_for_event(|event| event["message"] == "reloaded");
    let mut client = connect(&server);
    expect(&mut client, "welcome!");
    assert_eq!(stop(server), Some(0));
}

#[test]
fn exhausted_descriptors_are_logged_and_the_server_recovers() {
    let Some(prlimit) = tool("prlimit") else { return };
    let server = serve(&["--listen", ANY_TCP, "--set", "limits.connections=1000"]);
    let lowered = Command::new(prlimit).args(["--pid", &server.id().to_string(), "--nofile=40:40"]).status().unwrap();
    assert!(lowered.success());
    let mut clients: Vec<_> = (0..80).map(|_| connect(&server)).collect();
    let failed = server.wait_for_event(|event| event["message"] == "accept failed");
    assert_eq!(failed["class"], "exhausted");
    assert_eq!(failed["listener"], "main");

    // The accept loop pauses between attempts, and open connections are still served.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        expect_served(&mut clients[0]);
    }
    let lines = server.log().iter().filter(|event| event["message"] == "accept failed").count();
    let seconds = begun.elapsed().as_secs() as usize;
    assert!(lines <= 4 + seconds, "{lines} lines in about {seconds} s");

    clients.truncate(1);
    let mut fresh = connect(&server);
    expect(&mut fresh, "welcome!");
    expect_served(&mut clients[0]);
    assert_eq!(stop(server), Some(0));
}

/// Checks that an open connection is served.
fn expect_served(client: &mut TcpStream) {
    client.write_all(b"you").unwrap();
    let mut got = Vec::new();
    while !got.ends_with(b"hello, you!") {
        let mut buffer = [0; 64];
        let bytes = client.read(&mut buffer).unwrap();
        assert_ne!(bytes, 0);
        got.extend_from_slice(&buffer[..bytes]);
    }
}

/// The user and system time of a process in ticks of 10 ms. See proc(5).
fn cpu_ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    after_name.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

#[test]
fn exhausted_descriptors_do_not_cause_a_busy_loop() {
    let Some(prlimit) = tool("prlimit") else { return };
    let mut server = serve(&["--listen", ANY_TCP]);
    let id = server.id();
    assert!(Command::new(prlimit).args(["--pid", &id.to_string(), "--nofile=30:30"]).status().unwrap().success());
    let _clients: Vec<_> = (0..60).map(|_| connect(&server)).collect();
    server.wait_for_event(|event| event["message"] == "accept failed");
    let before = cpu_ticks(id);
    let begun = Instant::now();
    server.wait_until("one second has passed", || begun.elapsed() > Duration::from_secs(1));
    let spent = cpu_ticks(id) - before;
    let seconds = begun.elapsed().as_secs_f64();
    assert!((spent as f64) <= 20.0 * seconds, "{} ms of CPU time in {seconds} s", 10 * spent);
}

#[test]
fn clients_over_the_limit_are_disconnected_and_logged() {
    let server = serve(&["--listen", ANY_TCP, "--set", "limits.connections=3"]);
    let mut inside: Vec<_> = (0..3).map(|_| connect(&server)).collect();
    inside.iter_mut().for_each(|client| expect(client, "welcome!"));
    for _ in 0..5 {
        expect_end_or_reset(&mut connect(&server));
    }
    let refused = server.wait_for_event(|event| event["message"] == "connection rejected");
    assert_eq!(refused["reason"], "limit");
    assert_eq!(refused["listener"], "main");
    assert!(refused["peer"].is_string() && refused["count"].is_number(), "{refused}");
    let mut first = inside.remove(0);
    first.write_all(b"exit").unwrap();
    expect_end(&mut first);
    // The connection leaves the table after its last event.
    let deadline = Instant::now() + TIMEOUT;
    while connect(&server).read_exact(&mut [0; 8]).is_err() {
        assert!(Instant::now() < deadline, "no further client is served");
    }
}

fn expect_end_or_reset(client: &mut TcpStream) {
    let mut rest = Vec::new();
    if client.read_to_end(&mut rest).is_ok() {
        assert_eq!(rest, b"");
    }
}

#[test]
fn log_events_are_flat_json_with_the_documented_fields() {
    let server = serve(&["--listen", ANY_TCP, "--framing", "lines"]);
    let mut client = connect(&server);
    let peer = client.local_addr().unwrap().to_string();
    expect(&mut client, "welcome!\n");
    client.write_all(b"\x1b[31m\"you\"\n").unwrap();
    expect(&mut client, "hello, \x1b[31m\"you\"!\n");
    client.shutdown(Shutdown::Write).unwrap();
    expect_end(&mut client);
    let opened = server.wait_for_event(|event| event["message"] == "connection opened");
    assert_eq!((&opened["listener"], &opened["peer"]), (&"main".into(), &peer.as_str().into()));
    let closed = server.wait_for_event(|event| event["message"] == "connection closed");
    assert_eq!(closed["reason"], "peer_closed");
    assert_eq!(closed["messages"], 1);
    for field in ["timestamp", "level"] {
        assert!(closed[field].is_string(), "{closed}");
    }
    assert!(closed["seconds"].is_f64(), "{closed}");
    server.signal(Signal::SIGTERM);
    server.wait_for_event(|event| event["message"] == "draining");
    let ended = server.wait();
    assert_eq!(ended.code(), Some(0));
    assert!(ended.stderr.contains("\"drained\""), "{}", ended.stderr);
    assert!(
        ended.stderr.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains('\x1b'), "peer data reached the log unescaped");
}

#[test]
fn an_unread_log_does_not_block_the_server() {
    let port = free_port();
    let listen = format!("tcp://127.0.0.1:{port}");
    let built = Program::switchboard().arg("--version").run(); // builds the binary
    assert!(built.stdout.starts_with("switchboard "), "{}", built.stdout);
    let mut child = Command::new(harness::target().join("switchboard"))
        .args(["--listen", &listen, "--log-level", "trace"])
        .stdin(Stdio::null())
        .stderr(Stdio::piped()) // nothing reads this pipe
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let mut served = 0;
    while served < 1500 {
        assert!(begun.elapsed() < 6 * TIMEOUT, "only {served} clients were served");
        if let Ok(mut client) = TcpStream::connect(("127.0.0.1", port)) {
            client.set_read_timeout(Some(TIMEOUT)).unwrap();
            expect(&mut client, "welcome!");
            served += 1;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_client_sends_lines_and_prints_replies() {
    let server = serve(&["--listen", ANY_TCP]);
    let address = server.address("main");
    let talk = Program::switchboard().args(["connect", &address, "--wait", "1m"]).input("Michael\nTracy\nexit\n").run();
    assert_eq!(talk.code(), Some(0), "{}", talk.stderr);
    assert_eq!(talk.stdout, "welcome!\nhello, Michael!\nhello, Tracy!\n");

    let lines = serve(&["--listen", ANY_TCP, "--handler", "echo", "--framing", "lines"]);
    let connect = ["connect", &lines.address("main"), "--framing", "lines", "--wait", "1m"];
    let talk = Program::switchboard().args(connect).input("a\n\nb").run();
    assert_eq!((talk.code(), &*talk.stdout), (Some(0), "a\n\nb\n"), "{}", talk.stderr);

    let udp = serve(&["--listen", "udp://127.0.0.1:0"]);
    let connect = ["connect", &udp.address("main"), "--wait", "5s"];
    let talk = Program::switchboard().args(connect).input("Sarah\n").run();
    assert_eq!((talk.code(), &*talk.stdout), (Some(0), "hello, Sarah!\n"), "{}", talk.stderr);

    let nobody = Program::switchboard().args(["connect", &format!("tcp://127.0.0.1:{}", free_port())]).run();
    assert_eq!(nobody.code(), Some(1), "{}", nobody.stderr);
}

#[test]
fn the_list_command_lists_all_components() {
    let listed = Program::switchboard().args(["list", "--json"]).run();
    let list: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
    let names = |what: &str| -> Vec<_> {
        list[what].as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("handlers"), ["echo", "hello"]);
    for scheme in ["tcp", "udp", "unix", "unixgram", "mem"] {
        assert!(names("transports").contains(&scheme.to_owned()), "{scheme}");
    }
    assert_eq!(names("framings"), ["raw", "lines", "length", "delimited", "json-lines"]);
    assert_eq!(names("layers"), ["concurrency", "rate", "timeout", "trace"]);
    let text = Program::switchboard().arg("list").run().stdout;
    assert!(text.contains("greeting") && text.contains("hello, {}!"), "{text}");
}

#[test]
fn the_client_prints_each_reply_on_a_separate_line() {
    let server = serve(&["--listen", ANY_TCP]);
    let names: Vec<_> = (0..300).map(|n| format!("number {n}")).collect();
    let input = names.join("\n") + "\nexit\n";
    let talk = Program::switchboard().args(["connect", &server.address("main"), "--wait", "1m"]).input(input).run();
    let wanted: String = names.iter().map(|name| format!("hello, {name}!\n")).collect();
    assert_eq!((talk.code(), talk.stdout), (Some(0), format!("welcome!\n{wanted}")));

    let echo = serve(&["--listen", ANY_TCP, "--handler", "echo", "--framing", "lines", "--set", "limits.frame=1MiB"]);
    let long = "x".repeat(60_000);
    let address = echo.address("main");
    let connect = ["connect", &address, "--framing", "lines", "--wait", "1m"];
    let talk = Program::switchboard().args(connect).input(long.clone()).run();
    assert_eq!((talk.code(), talk.stdout), (Some(0), long + "\n"));
}

#[test]
fn a_peer_name_cannot_inject_log_lines() {
    let place = tempfile::tempdir().unwrap();
    let at = place.path().join("server");
    let listen = format!("unixgram:{}", at.display());
    let mut server = Program::switchboard()
        .args(["--log-format", "text", "--set", "limits.frame=3B"])
        .args(["--set", &format!("listen={listen}")])
        .spawn();
    server.wait_until("it listens", || at.exists());
    let client = std::os::unix::net::UnixDatagram::bind(place.path().join("a\nfake \x1b[31m")).unwrap();
    client.send_to(b"too long", &at).unwrap();
    client.send_to(b"ok", &at).unwrap();
    client.set_read_timeout(Some(TIMEOUT)).unwrap();
    client.recv(&mut [0; 100]).unwrap(); // the server has processed the earlier datagrams
    server.signal(Signal::SIGTERM);
    let log = server.wait().stderr;
    assert!(log.contains("datagram dropped") && !log.contains('\x1b') && !log.contains("\nfake"), "{log}");
}

#[test]
fn errors_from_building_a_layer_are_reported_with_all_others() {
    let flags = ["--set", "layers.busy.type=concurrency", "--set", "layers.busy.limit=0", "--log-format", "text"];
    for command in ["check", "serve"] {
        let refused = Program::switchboard().arg(command).args(flags).run();
        assert_eq!(refused.code(), Some(78), "{}", refused.stderr);
        let refused = Program::switchboard().arg(command).args(flags).args(["--set", "drain.deadline=soon"]).run();
        assert_eq!(refused.code(), Some(78), "{}", refused.stderr);
        for key in ["error: layers.busy: ", "error: drain.deadline: "] {
            assert!(refused.stderr.contains(key), "{}", refused.stderr);
        }
    }
}
