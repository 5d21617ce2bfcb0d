//! A process that was stopped, or a thread that was blocked, closes no connection whose peer was active.
//!
//! In the tests with paused time, the peer acts one second after the deadline, and then the clock jumps: both timers
//! fire at once, the one of the deadline first. After SIGCONT, timers also fire before sockets are polled.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fs, thread};

use harness::{Client, Program, Running as Process, Signal, TEST_TIMEOUT, uninterrupted, unique};
use switchboard::prelude::*;
use switchboard::settings::Timeouts;
use switchboard::transport::memory;
use switchboard::{Networks, ProxySettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{advance, sleep};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConnection, StreamOwned};

use crate::admin::AdminServer;
use crate::support::{MemClient, Probe, Served, connect, millis, secs, serve_with, timeouts};
use crate::tls::Authority;

/// The deadline in the tests with paused time.
const DEADLINE: Duration = Duration::from_secs(2);
const PROXY: &str = "PROXY TCP4 192.0.2.1 192.0.2.9 50000 443\r\n";

/// Runs `act` one second after the deadline, in a minute that passes at once.
async fn jump<T: Send + 'static>(act: impl Future<Output = T> + Send + 'static) -> T {
    let acting = tokio::spawn(async move {
        sleep(DEADLINE + secs(1)).await;
        act.await
    });
    tokio::task::yield_now().await;
    advance(secs(60)).await;
    acting.await.unwrap()
}

/// The client sends these bytes while the clock jumps.
async fn jump_and_send(mut client: MemClient, bytes: &'static str) -> MemClient {
    jump(async move {
        client.send(bytes).await;
        client
    })
    .await
}

async fn serve_timeouts(change: impl FnOnce(&mut Timeouts)) -> Served {
    serve_with(Probe::default(), |server| server.timeouts(timeouts(change))).await
}

/// A server that requires a PROXY header.
async fn serve_proxied(change: impl FnOnce(&mut Timeouts)) -> (Served, MemClient) {
    let trusted: Networks = ["10.0.0.0/8".parse().unwrap()].into_iter().collect();
    let proxy = ProxySettings::default().trusted(trusted);
    let served = serve_with(Probe::default(), |server| server.proxy(proxy).timeouts(timeouts(change))).await;
    let client = memory::connect_from(&served.name, "10.0.0.1:7".parse::<SocketAddr>().unwrap()).await.unwrap();
    (served, Client(client))
}

#[tokio::test(start_paused = true)]
async fn a_message_that_arrived_during_a_pause_is_answered() {
    let idle = |t: &mut Timeouts| t.idle = DEADLINE;
    let first_message = |t: &mut Timeouts| t.first_message = DEADLINE;
    let frame = |t: &mut Timeouts| t.frame = DEADLINE;
    let all = |t: &mut Timeouts| (t.idle, t.first_message, t.frame) = (DEADLINE, DEADLINE, DEADLINE);
    type Change = fn(&mut Timeouts);
    let cases: [(Change, &str, &str, &str); 7] = [
        (idle, "", "x\n", "x\n"),
        (idle, "par", "t\n", "part\n"),
        (first_message, "", "x\ny\n", "x\ny\n"),
        (first_message, "par", "t\n", "part\n"),
        (frame, "x\npar", "t\n", "x\npart\n"),
        (all, "par", "t\nx\n", "part\nx\n"),
        (all, "", "x\npar", "x\n"),
    ];
    for (change, before, during, replies) in cases {
        let served = serve_timeouts(change).await;
        let mut client = served.connect().await;
        client.send(before).await;
        tokio::task::yield_now().await;
        let mut client = jump_and_send(client, during).await;
        client.expect(replies).await;
        assert_eq!(served.running.open(), 1, "{before:?} {during:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_larger_than_one_read_that_arrived_during_a_pause_is_answered() {
    let served = serve_timeouts(|t| (t.idle, t.first_message, t.frame) = (DEADLINE, DEADLINE, DEADLINE)).await;
    let line = [vec![b'x'; 60_000], vec![b'\n']].concat();
    let (mut client, sent) = (served.connect().await, line.clone());
    client.send("y").await;
    tokio::task::yield_now().await;
    let mut client = jump(async move {
        client.send(sent).await;
        client
    })
    .await;
    client.expect("y").await.expect(line).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_read_during_a_pause_gets_the_rest() {
    let served = serve_timeouts(|t| t.write = DEADLINE).await;
    let mut client = served.connect().await;
    client.send("big 200000\n").await;
    served.probe.called("message", 1).await;
    let mut client = jump(async move {
        client.0.read_exact(&mut [0; 1000]).await.unwrap();
        client
    })
    .await;
    client.expect(vec![b'x'; 199_000]).await.expect("\n").await.send("y\n").await.expect("y\n").await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_the_peer_completed_during_a_pause_succeeds() {
    let (served, client) = serve_proxied(|t| t.handshake = DEADLINE).await;
    jump_and_send(client, PROXY).await.send("x\n").await.expect("x\n").await;
    // A part before, the rest and a message during the pause.
    let (_served, mut client) = serve_proxied(|t| (t.handshake, t.first_message) = (DEADLINE, DEADLINE)).await;
    client.send(&PROXY[..20]).await;
    tokio::task::yield_now().await;
    let mut client = jump(async move {
        client.send(&PROXY[20..]).await.send("x\n").await;
        client
    })
    .await;
    client.expect("x\n").await;
    drop(served);
}

#[tokio::test(start_paused = true)]
async fn a_handler_call_whose_result_arrived_during_a_pause_succeeds() {
    let served = serve_timeouts(|t| t.message = DEADLINE).await;
    let (mut client, gate) = (served.connect().await, served.probe.gate.clone());
    client.send("wait\n").await;
    served.probe.called("message", 1).await;
    jump(async move { gate.add_permits(1) }).await;
    client.expect("waited\n").await.send("hang\n").await.expect_end().await; // no result: the call times out
    assert_eq!(served.probe.reason().await, "message_timeout");
}

#[tokio::test(start_paused = true)]
async fn a_close_hook_whose_work_was_done_during_a_pause_completes() {
    let probe = Probe::default().closing("wait");
    let served = serve_with(probe.clone(), |server| server).await;
    served.connect().await.send("close\n").await;
    probe.called("close", 1).await;
    let gate = probe.gate.clone();
    jump(async move { gate.add_permits(1) }).await;
    sleep(secs(1)).await;
    assert_eq!(probe.gate.available_permits(), 0, "the hook has taken the permit");
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_was_ready_during_a_pause_is_written_before_the_drain_deadline_aborts() {
    for (connections, permits) in [(1, 1), (5, 5), (5, 2)] {
        let served = serve_with(Probe::default(), |server| server.drain_deadline(DEADLINE)).await;
        let mut clients = Vec::new();
        for _ in 0..connections {
            let mut client = served.connect().await;
            client.send("wait\n").await;
            clients.push(client);
        }
        served.probe.called("message", connections).await;
        let gate = served.probe.gate.clone();
        let (drained, ()) = tokio::join!(served.running.drain(), jump(async move { gate.add_permits(permits) }));
        assert_eq!((drained.open, drained.cut), (connections, connections - permits));
        for client in clients.iter_mut().take(permits) {
            client.expect("waited\n").await.expect_end().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn connections_that_were_active_during_a_pause_stay_open_in_an_upgrade() {
    let served = serve_with(Probe::default(), |server| server).await;
    let mut client = served.connect().await;
    client.send("x\n").await.expect("x\n").await;
    let idle = served.connect().await;
    let active = async {
        sleep(secs(1)).await;
        let acting = tokio::spawn(async move {
            sleep(secs(3)).await;
            client.send("y\n").await;
            client
        });
        tokio::task::yield_now().await;
        advance(secs(15)).await; // more than the idle time of the upgrade, less than its limit
        let mut client = acting.await.unwrap();
        client.expect("y\n").await;
        sleep(secs(1)).await;
        client.send("z\n").await.expect("z\n").await;
    };
    let handover = async {
        served.running.hand_over().await;
        served.running.close_idle().await;
    };
    tokio::select! {
        () = active => {}
        () = handover => panic!("an active connection is left"),
    }
    drop(idle);
}

/// Sends each byte back.
struct ByteEcho;

impl StreamHandler for ByteEcho {
    async fn serve(&self, _: Connection, mut stream: ByteStream) -> Result<()> {
        let mut byte = [0];
        while stream.read(&mut byte).await? > 0 {
            stream.write_all(&byte).await?;
        }
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_handler_gets_the_bytes_that_arrived_during_a_pause() {
    let name = unique("bytes");
    let server = Server::bind(format!("mem:{name}")).timeouts(timeouts(|t| t.idle = DEADLINE));
    let _running = server.start_stream(ByteEcho).await.unwrap();
    let mut client = connect(&name).await;
    client.send("x").await.expect("x").await;
    for _ in 0..3 {
        client = jump_and_send(client, "yz").await;
        client.expect("yz").await;
    }
    let begun = tokio::time::Instant::now();
    client.expect_end().await;
    assert!(begun.elapsed() < DEADLINE + millis(500), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_was_silent_during_a_pause_is_closed_promptly() {
    type Change = fn(&mut Timeouts);
    let cases: [(Change, &str, &str); 5] = [
        (|t| t.idle = DEADLINE, "", "idle"),
        (|t| t.first_message = DEADLINE, "par", "first_message"),
        (|t| t.frame = DEADLINE, "par", "frame_timeout"),
        (|t| t.write = DEADLINE, "big 200000\n", "write_stalled"),
        (|t| t.message = DEADLINE, "hang\n", "message_timeout"),
    ];
    for (change, before, reason) in cases {
        let served = serve_timeouts(change).await;
        let mut client = served.connect().await;
        client.send(before).await;
        tokio::task::yield_now().await;
        jump(async {}).await;
        sleep(millis(500)).await;
        assert_eq!(served.probe.reason().await, reason);
        drop(client);
    }
    let (served, mut client) = serve_proxied(|t| t.handshake = DEADLINE).await;
    jump(async {}).await;
    sleep(millis(500)).await;
    assert_eq!(served.running.open(), 0);
    client.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn single_bytes_do_not_extend_the_deadlines_of_a_message_and_a_handshake() {
    type Change = fn(&mut Timeouts);
    let cases: [(Change, bool); 4] = [
        (|t| t.first_message = DEADLINE, false),
        (|t| t.frame = DEADLINE, false),
        (|t| (t.idle, t.frame, t.first_message) = (DEADLINE, DEADLINE, DEADLINE), false),
        (|t| t.handshake = DEADLINE, true),
    ];
    for (change, proxied) in cases {
        for pause in [false, true] {
            let (served, mut client) = if proxied {
                serve_proxied(change).await
            } else {
                let served = serve_timeouts(change).await;
                let client = served.connect().await;
                (served, client)
            };
            let begin: &[u8] = if proxied { b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x0f\xff" } else { b"" };
            let mut bytes = begin.iter().chain(std::iter::repeat(&b'x'));
            client.send([*bytes.next().unwrap()]).await;
            tokio::task::yield_now().await;
            let limit = if pause {
                jump(async {}).await;
                millis(500)
            } else {
                DEADLINE + millis(50)
            };
            let begun = tokio::time::Instant::now();
            // A byte per millisecond, faster than the checks of a deadline that has passed.
            while served.running.open() > 0 {
                assert!(begun.elapsed() < limit, "pause: {pause}, after {:?}", begun.elapsed());
                let _ = client.0.write_all(&[*bytes.next().unwrap()]).await; // fails when the connection is closed
                sleep(millis(1)).await;
            }
        }
    }
}

/// A stopped process with its clients.
struct Stopped {
    process: Process,
    clients: Vec<TcpStream>,
    silent: TcpStream,
    since: Instant,
}

const CLIENTS: usize = 20;
/// The deadline in the tests of the program.
const SHORT: Duration = Duration::from_secs(1);

/// Starts the program, connects, runs `prepare` for each client, and stops the process before its deadlines pass.
fn stop(program: Program, prepare: impl Fn(&mut TcpStream)) -> Stopped {
    let process = program.start();
    let address = process.socket("main");
    let deadline = Instant::now() + TEST_TIMEOUT;
    loop {
        let begun = Instant::now();
        let mut clients: Vec<_> = (0..=CLIENTS).map(|_| TcpStream::connect(&address).unwrap()).collect();
        clients.iter().for_each(|client| client.set_read_timeout(Some(TEST_TIMEOUT)).unwrap());
        clients.iter_mut().for_each(&prepare);
        process.signal(Signal::SIGSTOP);
        let stat = format!("/proc/{}/stat", process.id());
        while !fs::read_to_string(&stat).unwrap().contains(") T ") {
            thread::yield_now();
        }
        // On a busy machine, a deadline may have passed before the stop.
        if begun.elapsed() < SHORT / 2 {
            let silent = clients.pop().unwrap();
            return Stopped { process, clients, silent, since: Instant::now() };
        }
        process.signal(Signal::SIGCONT);
        assert!(Instant::now() < deadline, "the machine is too slow for a deadline of {SHORT:?}");
    }
}

impl Stopped {
    /// Continues the process after its deadlines have passed.
    fn proceed(&mut self) {
        while let Some(left) = (SHORT + SHORT).checked_sub(self.since.elapsed()) {
            thread::park_timeout(left);
        }
        self.process.signal(Signal::SIGCONT);
    }

    /// Each client sends during the stop and gets its reply; the silent client is closed for `reason`.
    fn finish(mut self, sends: &str, reply: &str, reason: &str) {
        self.clients.iter_mut().for_each(|client| client.write_all(sends.as_bytes()).unwrap());
        self.proceed();
        for client in &mut self.clients {
            assert_eq!(read(client, reply.len()), reply);
        }
        assert!(
            uninterrupted(|| self.silent.read(&mut [0])).is_ok_and(|count| count == 0),
            "the silent client is closed"
        );
        let closed = self.process.wait_for_event(|event| event["message"] == "connection closed");
        assert_eq!(closed["reason"], *reason);
    }
}

fn read(client: &mut impl Read, count: usize) -> String {
    let mut bytes = vec![0; count];
    client.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn echo(timeout: &str, more: &[&str]) -> Program {
    let timeout = format!("timeouts.{timeout}={}ms", SHORT.as_millis());
    let program = Program::switchboard().args(["--handler", "echo", "--set", &timeout]);
    let program = if more.contains(&"--listen") { program } else { program.args(["--listen", "tcp://127.0.0.1:0"]) };
    program.args(more)
}

#[test]
fn a_stopped_program_keeps_clients_that_send_within_the_idle_timeout() {
    for workers in ["runtime.workers=1", "runtime.workers=2"] {
        let program = echo("idle", &["--framing", "lines", "--set", workers]);
        let stopped = stop(program, |client| {
            client.write_all(b"one\n").unwrap();
            assert_eq!(read(client, 4), "one\n");
        });
        stopped.finish("two\n", "two\n", "idle");
    }
}

#[test]
fn a_stopped_program_keeps_clients_that_send_their_first_message() {
    stop(echo("first_message", &["--framing", "lines"]), |_| {}).finish("one\n", "one\n", "first_message");
    stop(echo("first_message", &[]), |_| {}).finish("one", "one", "first_message");
}

#[test]
fn a_stopped_program_keeps_clients_that_complete_a_message() {
    let partial = |bytes: &'static [u8]| move |client: &mut TcpStream| client.write_all(bytes).unwrap();
    stop(echo("frame", &["--framing", "lines"]), partial(b"on")).finish("e\n", "one\n", "frame_timeout");
    stop(echo("frame", &["--framing", "length"]), partial(b"\0\0")).finish(
        "\0\x03one",
        "\0\0\0\x03one",
        "frame_timeout",
    );
}

#[test]
fn a_stopped_program_keeps_clients_that_send_their_proxy_header() {
    let proxied = ["--set", "listeners.main.proxy.trusted=127.0.0.0/8"];
    stop(echo("handshake", &proxied), |_| {}).finish(&format!("{PROXY}one"), "one", "handshake");
}

#[test]
fn a_stopped_program_completes_tls_handshakes() {
    let authority = Authority::new();
    let settings = authority.settings();
    let set = |key: &str, path: &std::path::Path| format!("listeners.main.tls.{key}={}", path.display());
    let (certificate, key) = (set("certificate", &settings.certificate), set("key", &settings.key));
    let program = echo("handshake", &["--listen", "tls://127.0.0.1:0", "--set", &certificate, "--set", &key]);
    let mut stopped = stop(program, |_| {});
    let config = Arc::new(authority.client(None));
    let sessions = stopped.clients.drain(..).map(|mut socket| {
        let mut session = ClientConnection::new(config.clone(), ServerName::try_from("localhost").unwrap()).unwrap();
        while session.wants_write() {
            session.write_tls(&mut socket).unwrap(); // the ClientHello
        }
        StreamOwned::new(session, socket)
    });
    let mut sessions: Vec<_> = sessions.collect();
    stopped.proceed();
    for client in &mut sessions {
        client.write_all(b"one").unwrap();
        assert_eq!(read(client, 3), "one");
    }
    assert_eq!(uninterrupted(|| stopped.silent.read(&mut [0])).unwrap(), 0, "the silent client is closed");
}

/// The part of a request that a client sends before the stop, and the rest.
const REQUESTS: [(&str, &str); 4] = [
    ("", "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ("GET /livez HTTP/1.1\r\nHo", "st: localhost\r\n\r\n"),
    ("PUT /log-level HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nin", "fo"),
    ("PUT /log-level HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", "4\r\ninfo\r\n0\r\n\r\n"),
];

#[test]
fn a_stopped_program_answers_admin_requests_that_were_completed_during_the_stop() {
    const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
    let server = AdminServer::start(&[]);
    let deadline = Instant::now() + TEST_TIMEOUT;
    loop {
        let begun = Instant::now();
        let mut clients: Vec<_> = REQUESTS.iter().map(|_| server.tcp()).collect();
        for (client, (before, _)) in clients.iter_mut().zip(REQUESTS) {
            client.write_all(before.as_bytes()).unwrap();
        }
        let mut again = server.tcp();
        again.write_all(REQUESTS[0].1.as_bytes()).unwrap();
        assert!(read(&mut again, 15).starts_with("HTTP/1.1 200"));
        clients.push(again);
        server.0.signal(Signal::SIGSTOP);
        let is_in_time = begun.elapsed() < REQUEST_TIMEOUT / 2;
        if is_in_time {
            let rests = REQUESTS.iter().map(|(_, rest)| *rest).chain([REQUESTS[0].1]);
            clients.iter_mut().zip(rests).for_each(|(client, rest)| client.write_all(rest.as_bytes()).unwrap());
            while let Some(left) = (REQUEST_TIMEOUT + SHORT).checked_sub(begun.elapsed()) {
                thread::park_timeout(left);
            }
        }
        server.0.signal(Signal::SIGCONT);
        if is_in_time {
            let again = clients.pop().unwrap();
            for (client, request) in clients.iter_mut().zip(REQUESTS) {
                assert!(read(client, 15).starts_with("HTTP/1.1 200"), "{request:?}");
            }
            let mut rest = String::new();
            let mut lines = BufReader::new(again).lines().map_while(Result::ok);
            lines.by_ref().find(|line| line.starts_with("HTTP/1.1 ")).unwrap().clone_into(&mut rest);
            assert!(rest.starts_with("HTTP/1.1 200"), "{rest}");
            return;
        }
        assert!(Instant::now() < deadline, "the machine is too slow");
    }
}

/// Sends each message back. The message `block` blocks its thread until the test sends something.
struct Blocking(Mutex<Receiver<()>>, SyncSender<()>);

impl Handler for Blocking {
    type State = ();

    async fn message(&self, _: &mut Context, message: Bytes) -> Result<Reply> {
        if message == "block" {
            self.1.send(()).unwrap();
            self.0.lock().unwrap().recv().unwrap();
        }
        Ok(Reply::send(message))
    }
}

#[test]
fn a_handler_that_blocks_its_thread_disconnects_no_other_client() {
    let ((release, released), (began, begun)) = (sync_channel(1), sync_channel(1));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let settings = timeouts(|t| (t.idle, t.first_message, t.frame) = (SHORT, SHORT, SHORT));
    let server = Server::bind("tcp://127.0.0.1:0").framing(Lines::default()).timeouts(settings);
    let running = runtime.block_on(server.start(Blocking(Mutex::new(released), began))).unwrap();
    let address = running.socket_addr().unwrap();
    let deadline = Instant::now() + TEST_TIMEOUT;
    loop {
        let begun_at = Instant::now();
        let mut clients: Vec<_> = (0..=CLIENTS).map(|_| TcpStream::connect(address).unwrap()).collect();
        for client in &mut clients {
            client.set_read_timeout(Some(TEST_TIMEOUT)).unwrap();
            client.write_all(b"one\ntw").unwrap();
            assert_eq!(read(client, 4), "one\n");
        }
        let mut blocker = TcpStream::connect(address).unwrap();
        blocker.write_all(b"block\n").unwrap();
        begun.recv_timeout(TEST_TIMEOUT).unwrap();
        let is_in_time = begun_at.elapsed() < SHORT / 2;
        let mut silent = clients.pop().unwrap();
        if is_in_time {
            clients.iter_mut().for_each(|client| client.write_all(b"o\nthree\n").unwrap());
            while let Some(left) = (SHORT + SHORT).checked_sub(begun_at.elapsed()) {
                thread::park_timeout(left);
            }
        }
        release.send(()).unwrap();
        if is_in_time {
            clients.iter_mut().for_each(|client| assert_eq!(read(client, 10), "two\nthree\n"));
            assert_eq!(uninterrupted(|| silent.read(&mut [0])).unwrap(), 0, "the silent client is closed");
            return;
        }
        assert!(Instant::now() < deadline, "the machine is too slow for a deadline of {SHORT:?}");
    }
}
