//! Reload by difference: unchanged listeners and open connections continue, and a rejected reload changes nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, JoinHandle};

use harness::{Client, Program, Signal, TEST_TIMEOUT, uninterrupted, unique};
use switchboard::ProxySettings;
use switchboard::prelude::*;
use switchboard::registry::HandlerInstance;
use switchboard::server::{Changes, ListenerSpec, ReloadError};
use switchboard::settings::DrainSettings;
use switchboard::transport::{Transports, memory};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout};

use crate::support::{Probe, connect, secs};
use crate::tls::{Authority, tls_connect};

pub(crate) fn made(probe: &Probe) -> HandlerInstance {
    HandlerInstance::new(probe.clone())
}

pub(crate) fn lines(spec: ListenerSpec) -> ListenerSpec {
    spec.framing(Lines::default())
}

/// A server and the handler of its listener.
pub(crate) struct Started {
    running: Running,
    handler: HandlerInstance,
}

impl Deref for Started {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.running
    }
}

pub(crate) fn listener_set() -> ListenerSet {
    ListenerSet::new(Transports::default())
}

pub(crate) fn at(name: &str, endpoint: &str) -> ListenerSpec {
    ListenerSpec::new(name, endpoint.parse().unwrap())
}

pub(crate) fn mem(name: &str) -> ListenerSpec {
    at("main", &format!("mem:{name}"))
}

pub(crate) async fn start(spec: ListenerSpec, probe: &Probe) -> Started {
    let (mut listeners, handler) = (listener_set(), made(probe));
    listeners.listen(lines(spec), &handler);
    Started { running: listeners.start().await.unwrap(), handler }
}

/// Reloads to this one listener.
async fn reload_to(running: &Running, spec: ListenerSpec, handler: &HandlerInstance) -> Result<Changes, ReloadError> {
    let mut listeners = listener_set();
    listeners.listen(lines(spec), handler);
    running.reload(listeners).await
}

/// Reloads to this one listener with another handler.
async fn replace(running: &Running, spec: ListenerSpec, probe: &Probe) -> Result<Changes, ReloadError> {
    reload_to(running, spec, &made(probe)).await
}

/// Reloads to this one listener with the handler of the start.
pub(crate) async fn keep(started: &Started, spec: ListenerSpec) -> Result<Changes, ReloadError> {
    reload_to(started, spec, &started.handler).await
}

fn port(running: &Running) -> SocketAddr {
    format!("127.0.0.1:{}", running.address().unwrap().port().unwrap()).parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_frame_limit_of_the_listener_applies_to_its_connections() {
    let name = unique("changes");
    let mut spec = mem(&name);
    spec.limits.frame = 1 << 20;
    let _running = start(spec, &Probe::default()).await;
    let line = format!("{}\n", "x".repeat(100_000));
    connect(&name).await.send(&line).await.expect(&line).await;
}

#[tokio::test(start_paused = true)]
async fn new_limits_apply_to_new_connections_and_count_open_ones() {
    let (name, probe) = (unique("changes"), Probe::default());
    let running = start(mem(&name), &probe).await;
    let mut first = connect(&name).await;
    first.send("one\n").await.expect("one\n").await;
    let mut spec = mem(&name);
    spec.limits.connections = 1;
    let changes = keep(&running, spec.clone()).await.unwrap();
    assert_eq!(changes.changed, ["main"]);
    connect(&name).await.expect_end().await; // over the limit: accepted and closed
    first.send("two\n").await.expect("two\n").await;
    drop(first);
    probe.called("close", 1).await;
    connect(&name).await.send("three\n").await.expect("three\n").await;
    // An identical reload changes nothing.
    assert_eq!(keep(&running, spec).await.unwrap(), Changes::default());
}

#[tokio::test]
async fn a_new_limit_per_source_counts_open_connections_with_and_without_a_new_accept_loop() {
    for replaces_accept_loop in [false, true] {
        let probe = Probe::default();
        let running = start(at("main", "tcp://127.0.0.1:0"), &probe).await;
        let _open = TcpStream::connect(port(&running)).unwrap();
        probe.called("open", 1).await;
        let mut spec = at("main", "tcp://127.0.0.1:0");
        spec.limits.connections_per_source = 1;
        spec.socket.nodelay = !replaces_accept_loop;
        assert_eq!(keep(&running, spec).await.unwrap().changed, ["main"]);
        let mut second = tokio::net::TcpStream::connect(port(&running)).await.unwrap();
        let read = timeout(TEST_TIMEOUT, second.read(&mut [0; 1])).await.unwrap();
        assert_eq!(read.unwrap_or(0), 0, "accepted");
        assert_eq!(running.report()[0].open, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn new_connections_use_the_new_handler_and_open_ones_the_old() {
    let (name, old, new) = (unique("changes"), Probe::default(), Probe::default());
    let running = start(mem(&name), &old).await;
    let mut first = connect(&name).await;
    first.send("one\n").await.expect("one\n").await;
    assert_eq!(replace(&running, mem(&name), &new).await.unwrap().changed, ["main"]);
    connect(&name).await.send("two\n").await.expect("two\n").await;
    first.send("three\n").await.expect("three\n").await;
    assert!(old.calls().contains(&"message three".to_owned()) && !old.calls().contains(&"message two".to_owned()));
    assert!(new.calls().contains(&"message two".to_owned()));
    drop(first);
    assert_eq!(running.drain().await.cut, 0);
}

#[tokio::test(start_paused = true)]
async fn a_removed_listener_drains_without_affecting_others() {
    let (stays, goes) = (unique("changes"), unique("changes"));
    let (probe, other) = (Probe::default(), Probe::default());
    let mut both = listener_set();
    let handler = made(&probe);
    both.listen(lines(mem(&stays)), &handler);
    both.listen(lines(at("more", &format!("mem:{goes}"))), &made(&other));
    let running = both.start().await.unwrap();
    let mut there = connect(&stays).await;
    let (idle, mut busy, stuck) = (connect(&goes).await, connect(&goes).await, connect(&goes).await);
    let mut stuck = stuck;
    busy.send("wait busy\n").await;
    stuck.send("wait stuck\n").await;
    other.called("message", 2).await;
    other.called("open", 3).await;
    let mut one = listener_set();
    one.listen(lines(mem(&stays)), &handler);
    one.drain_settings(drain_deadline(secs(5)));
    let changes = running.reload(one).await.unwrap();
    assert_eq!((changes.stopped, changes.started, changes.changed), (vec!["more".to_owned()], vec![], vec![]));
    let mut idle = idle;
    idle.expect_end().await;
    assert!(memory::connect(&goes).await.is_err());
    other.gate.add_permits(1);
    let begun = Instant::now();
    let mut ended = other.reasons(3).await;
    assert!(begun.elapsed() <= secs(6), "{:?}", begun.elapsed());
    ended.sort();
    assert_eq!(ended, ["drain", "drain", "drain_deadline"]);
    there.send("here\n").await.expect("here\n").await;
    assert_eq!(running.addresses().len(), 1);
    // The name and the address are free again.
    let mut again = listener_set();
    again.listen(lines(mem(&stays)), &handler);
    again.listen(lines(at("more", &format!("mem:{goes}"))), &made(&probe));
    assert_eq!(running.reload(again).await.unwrap().started, ["more"]);
    connect(&goes).await.send("again\n").await.expect("again\n").await;
}

fn drain_deadline(deadline: std::time::Duration) -> DrainSettings {
    let mut drain = DrainSettings::default();
    drain.deadline = deadline;
    drain
}

#[tokio::test(start_paused = true)]
async fn a_rejected_reload_reports_all_errors_and_changes_nothing() {
    let (name, free, taken) = (unique("changes"), unique("changes"), unique("changes"));
    let (old, new) = (Probe::default(), Probe::default());
    let running = start(mem(&name), &old).await;
    let _other = start(mem(&taken), &old).await;
    let mut wrong = listener_set();
    wrong.listen(lines(mem(&name)), &made(&new));
    wrong.listen(lines(at("free", &format!("mem:{free}"))), &made(&new));
    wrong.listen(lines(at("taken", &format!("mem:{taken}"))), &made(&new));
    wrong.listen(lines(at("also", &format!("mem:{taken}"))), &made(&new));
    let error = running.reload(wrong).await.unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "listener taken cannot listen on mem:{taken}: address in use; \
             listener also cannot listen on mem:{taken}: address in use"
        )
    );
    connect(&name).await.send("old\n").await.expect("old\n").await;
    old.called("message old", 1).await;
    assert!(memory::connect(&free).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_draining_server_rejects_reloads() {
    let (name, probe) = (unique("changes"), Probe::default());
    let running = Arc::new(start(mem(&name), &probe).await);
    let mut busy = connect(&name).await;
    busy.send("wait busy\n").await;
    probe.called("message", 1).await;
    let draining = tokio::spawn({
        let running = running.clone();
        async move { running.drain().await }
    });
    timeout(TEST_TIMEOUT, busy_until_refused(&name)).await.unwrap();
    assert!(matches!(keep(&running, mem(&name)).await, Err(ReloadError::Draining)));
    probe.gate.add_permits(1);
    assert_eq!(draining.await.unwrap().cut, 0);
}

async fn busy_until_refused(name: &str) {
    while memory::connect(name).await.is_ok() {
        tokio::time::sleep(secs(1)).await;
    }
}

/// A peer of a datagram listener.
struct Peer(UdpSocket);

impl Peer {
    fn of(running: &Running) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(port(running)).unwrap();
        socket.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        Self(socket)
    }

    fn ask(&self, text: &str) {
        self.0.send(text.as_bytes()).unwrap();
    }

    fn answer(&self) -> String {
        let mut buffer = [0; 100];
        let count = uninterrupted(|| self.0.recv(&mut buffer)).unwrap();
        String::from_utf8_lossy(&buffer[..count]).into_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queued_datagram_is_answered_by_the_handler_that_received_it() {
    let (old, new) = (Probe::default(), Probe::default());
    let spec = at("main", "udp://127.0.0.1:0");
    let running = start(spec.clone(), &old).await;
    let address = running.address();
    let (waiting, next) = (Peer::of(&running), Peer::of(&running));
    next.ask("count");
    waiting.ask("wait");
    old.called("message", 2).await;
    let next_handler = made(&new);
    reload_to(&running, spec.clone(), &next_handler).await.unwrap();
    tokio::task::block_in_place(|| {
        assert_eq!(next.answer(), "1");
        // The old handler finishes the current receive batch.
        let first = Peer::of(&running);
        while new.calls().is_empty() {
            first.ask("whose?");
            assert_eq!(first.answer(), "whose?");
        }
        next.ask("count");
        assert_eq!(next.answer(), "1"); // the new handler has no peer state yet
        old.gate.add_permits(1);
        assert_eq!(waiting.answer(), "waited");
    });
    new.called("message count", 1).await;
    assert_eq!(old.calls().iter().filter(|call| call.starts_with("message count")).count(), 1);
    assert_eq!(running.address(), address);
    // A change of admission settings keeps the peer state, so the count continues.
    let mut closed = spec;
    closed.access.deny = ["203.0.113.0/24".parse().unwrap()].into_iter().collect();
    reload_to(&running, closed, &next_handler).await.unwrap();
    tokio::task::block_in_place(|| {
        next.ask("count");
        assert_eq!(next.answer(), "2");
    });
    assert_eq!(running.drain().await.cut, 0);
}

/// Repeats a call in two threads until stopped. A panic in a call means a rejected client.
struct Callers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<usize>>,
}

impl Callers {
    fn start(call: impl Fn() + Send + Clone + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..2).map(|_| {
            let (stop, call) = (stop.clone(), call.clone());
            thread::spawn(move || {
                let mut calls = 0;
                loop {
                    call();
                    calls += 1;
                    if stop.load(SeqCst) {
                        return calls;
                    }
                }
            })
        });
        Self { threads: threads.collect(), stop }
    }

    fn end(self) {
        self.stop.store(true, SeqCst);
        for thread in self.threads {
            assert!(thread.join().expect("no client is rejected") > 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_of_handlers_and_sockets_reject_no_client_and_lose_no_reply() {
    let probe = Probe::default();
    let mut spec = at("main", "tcp://127.0.0.1:0");
    let running = start(spec.clone(), &probe).await;
    let address = port(&running);
    let callers = Callers::start(move || {
        let mut client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        client.write_all(b"hi\n").unwrap();
        let mut answer = [0; 3];
        client.read_exact(&mut answer).expect("a reply");
        assert_eq!(&answer, b"hi\n");
    });
    for round in 0..30 {
        spec.socket.backlog = 100 + round % 2; // the listener is rebuilt on the same socket
        spec.timeouts.idle = secs(60 + u64::from(round));
        assert_eq!(replace(&running, spec.clone(), &Probe::default()).await.unwrap().changed, ["main"]);
    }
    callers.end();
    assert_eq!(port(&running), address);
    assert_eq!(running.drain().await.cut, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renamed_listeners_reuse_the_socket_and_widened_addresses_reuse_the_port() {
    let probe = Probe::default();
    let running = start(at("main", "tcp://127.0.0.1:0"), &probe).await;
    let address = port(&running);
    let callers = Callers::start(move || drop(TcpStream::connect(address).unwrap()));
    for name in ["other", "main", "another", "main"] {
        let spec = at(name, &format!("tcp://{address}"));
        assert_eq!(replace(&running, spec, &probe).await.unwrap().started, [name]);
    }
    callers.end();
    for host in ["0.0.0.0", "127.0.0.1", "localhost"] {
        let spec = at("main", &format!("tcp://{host}:{}", address.port()));
        assert_eq!(replace(&running, spec, &probe).await.unwrap().started, ["main"]);
        let mut client = Client(tokio::net::TcpStream::connect(address).await.unwrap());
        client.send("hi\n").await.expect("hi\n").await;
    }
    // No other server can bind the port, although SO_REUSEPORT was set during the reload.
    let mut other = listener_set();
    other.listen(lines(at("main", &format!("tcp://127.0.0.1:{}", address.port()))), &made(&probe));
    assert!(other.start().await.unwrap_err().to_string().contains("in use"));
    assert_eq!(running.drain().await.cut, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_can_be_enabled_and_disabled_on_a_listening_socket() {
    let (authority, probe) = (Authority::new(), Probe::default());
    let running = start(at("main", "tcp://127.0.0.1:0"), &probe).await;
    let address = port(&running);
    let mut open = Client(tokio::net::TcpStream::connect(address).await.unwrap());
    open.send("plain\n").await.expect("plain\n").await;
    let mut spec = at("main", "tls://127.0.0.1:0");
    spec.tls = Some(authority.settings());
    assert_eq!(keep(&running, spec.clone()).await.unwrap().changed, ["main"]);
    assert_eq!(running.address(), Some(format!("tls://{address}").parse().unwrap()));
    let io = tokio::net::TcpStream::connect(address).await.unwrap();
    tls_connect(&Arc::new(authority.client(None)), "localhost", io)
        .await
        .unwrap()
        .send("safe\n")
        .await
        .expect("safe\n")
        .await;
    // Client certificates switched on or off also rebuild the listener.
    spec.tls.as_mut().unwrap().client_ca = Some(authority.path("ca.pem"));
    keep(&running, spec).await.unwrap();
    let io = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut stranger = tls_connect(&Arc::new(authority.client(None)), "localhost", io).await.unwrap();
    assert!(stranger.rest().await.is_empty());
    keep(&running, at("main", "tcp://127.0.0.1:0")).await.unwrap();
    let mut plain = Client(tokio::net::TcpStream::connect(address).await.unwrap());
    plain.send("plain\n").await.expect("plain\n").await;
    open.send("still\n").await.expect("still\n").await;
}

#[tokio::test(start_paused = true)]
async fn a_transport_without_socket_sharing_reports_which_changes_are_impossible() {
    let (name, probe) = (unique("changes"), Probe::default());
    let running = start(mem(&name), &probe).await;
    let mut spec = mem(&name);
    spec.proxy = Some(ProxySettings::default());
    let error = keep(&running, spec).await.unwrap_err().to_string();
    assert!(error.contains("socket options cannot change, because the transport cannot share its socket"), "{error}");
    connect(&name).await.send("on\n").await.expect("on\n").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_path_is_removed_with_its_last_listener() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("socket");
    let probe = Probe::default();
    let mut spec = at("main", &format!("unix:{}", path.display()));
    let running = start(spec.clone(), &probe).await;
    let callers = Callers::start({
        let path = path.clone();
        move || drop(UnixStream::connect(&path).unwrap())
    });
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    spec.socket.mode = 0o660;
    keep(&running, spec.clone()).await.unwrap();
    assert_eq!(mode(), 0o660);
    // A rejected reload does not change the mode.
    let mut wrong = listener_set();
    spec.socket.mode = 0o666;
    wrong.listen(lines(spec.clone()), &running.handler);
    wrong.listen(lines(at("more", "unix:/no/such/place")), &made(&probe));
    running.reload(wrong).await.unwrap_err();
    assert_eq!(mode(), 0o660);
    spec.name = "renamed".into();
    replace(&running, spec, &probe).await.unwrap();
    assert_eq!(mode(), 0o666);
    callers.end();
    running.drain().await;
    assert!(!path.exists());
}

/// The number of open descriptors of a process, and its memory in KiB.
fn size(pid: u32) -> (usize, u64) {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (descriptors, line.trim().trim_end_matches(" kB").parse().unwrap())
}

#[test]
fn valid_and_invalid_reloads_under_load_lose_no_client_and_leak_nothing() {
    const ROUNDS: usize = 60;
    let place = tempfile::tempdir().unwrap();
    let write = |greeting: &str, more: &str| {
        let text = format!(
            "[listeners.main]\nframing = 'lines'\nlisten = 'tcp://127.0.0.1:0'\nhandler = 'hello'\n[handlers.hello]\ngreeting = '{greeting}, {{}}!'\n{more}"
        );
        std::fs::write(place.path().join("switchboard.toml"), text).unwrap();
    };
    write("hello", "");
    let server = Program::switchboard()
        .args(["serve", "--log-level", "info,switchboard::connection=warn"])
        .current_dir(place.path())
        .start();
    let address: SocketAddr = server.socket("main").parse().unwrap();
    let count = |message: &str, at_least: usize| {
        let seen = std::cell::Cell::new(0);
        server.wait_for_event(|event| {
            if event["message"] == "starting" {
                seen.set(0); // each check scans the log from its beginning
            }
            seen.set(seen.get() + usize::from(event["message"] == message));
            seen.get() == at_least && event["message"] == message
        })
    };
    let call = move || {
        let mut client = TcpStream::connect(address).expect("no client is rejected");
        client.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
        client.write_all(b"Ada\nexit\n").unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).expect("no connection is aborted");
        assert!(text == "welcome!\nhello, Ada!\n" || text == "welcome!\nhullo, Ada!\n", "{text:?}");
    };
    let mut long = BufReader::new(TcpStream::connect(address).unwrap());
    let mut line = String::new();
    long.read_line(&mut line).unwrap();
    let callers = Callers::start(call);
    let (mut reloads, mut refusals, mut before) = (0, 0, (0, 0));
    for round in 0..ROUNDS {
        match round % 3 {
            0 => write(
                "hullo",
                "[listeners.more]\nlisten = 'udp://127.0.0.1:0'\nhandler = 'echo'\n[limits]\nconnections = 500\n",
            ),
            1 => write("hello", "[timeouts]\nidle = 'soon'\n[listeners.more]\nlisten = 'tcp://203.0.113.1:1'\n"),
            _ => write("hello", ""),
        }
        server.signal(Signal::SIGHUP);
        if round % 3 == 1 {
            refusals += 1;
            let refused = count("reload rejected", refusals);
            assert!(refused["error"].as_str().unwrap().contains("timeouts.idle: \"soon\""), "{refused}");
        } else {
            reloads += 1;
            count("reloaded", reloads);
        }
        line.clear();
        long.get_mut().write_all(b"Bob\n").unwrap();
        long.read_line(&mut line).unwrap();
        assert_eq!(line, "hello, Bob!\n"); // an open connection keeps its handler
        if round == ROUNDS / 3 - 1 {
            before = size(server.id());
        }
    }
    callers.end();
    let after = size(server.id());
    assert!(after.0 <= before.0 + 4, "descriptors: {} and then {}", before.0, after.0); // the number of open connections varies
    assert!(after.1 <= before.1 + 4096, "KiB: {} and then {}", before.1, after.1);
    drop(long);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
}
