//! Spoofed source addresses, sent through a fake datagram socket.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream;
use harness::Program;
use switchboard::prelude::*;
use switchboard::server::ListenerSpec;
use switchboard::settings::{Rate, Rates};
use switchboard::transport::{Bind, Listener, SchemeInfo, Transport, Transports};
use switchboard::transport::{DatagramSocket, Route};
use switchboard::{Address, Endpoint};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{sleep, timeout};

use crate::support::{limits, secs};

type ReceivedDatagram = io::Result<(String, Vec<u8>)>;

/// A fake datagram socket, which is also its own transport.
#[derive(Clone)]
struct FakeSocket {
    arrived: Arc<Mutex<UnboundedReceiver<ReceivedDatagram>>>,
    left: UnboundedSender<(String, Vec<u8>)>,
}

/// The network side of the fake socket: it sends from any address and receives every reply.
struct FakeNetwork {
    arriving: UnboundedSender<ReceivedDatagram>,
    leaving: UnboundedReceiver<(String, Vec<u8>)>,
}

#[allow(clippy::disallowed_methods)] // the number of datagrams is bounded by the test
fn fake_network() -> (FakeSocket, FakeNetwork) {
    let ((arriving, arrived), (left, leaving)) = (unbounded_channel(), unbounded_channel());
    (FakeSocket { arrived: Arc::new(Mutex::new(arrived)), left }, FakeNetwork { arriving, leaving })
}

#[async_trait]
impl Transport for FakeSocket {
    fn schemes(&self) -> Vec<SchemeInfo> {
        vec![SchemeInfo::new("fake", "datagrams with spoofed sources", Kind::Datagram)]
    }

    async fn bind(&self, _: Bind) -> io::Result<Listener> {
        Ok(Listener::Datagram(Box::new(self.clone())))
    }
}

impl DatagramSocket for FakeSocket {
    fn poll_receive(&self, cx: &mut TaskContext<'_>, buffer: &mut BytesMut) -> Poll<io::Result<Route>> {
        let Poll::Ready(Some(arrival)) = self.arrived.lock().unwrap().poll_recv(cx) else { return Poll::Pending };
        let (peer, datagram) = arrival?;
        let room = buffer.capacity() - buffer.len();
        buffer.extend_from_slice(&datagram[..datagram.len().min(room)]); // truncated, as the system does
        Poll::Ready(Ok(Route::new(Address::Inet(peer.parse().unwrap()), None)))
    }

    fn try_send(&self, payload: &[u8], route: &Route) -> io::Result<()> {
        let _ = self.left.send((route.peer.to_string(), payload.to_vec()));
        Ok(())
    }

    fn poll_send_ready(&self, _: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn endpoint(&self) -> Endpoint {
        "fake:".parse().unwrap()
    }

    fn local(&self) -> Address {
        Address::Inet("198.51.100.1:9999".parse().unwrap())
    }
}

impl FakeNetwork {
    fn send(&self, from: &str, datagram: impl AsRef<[u8]>) {
        self.arriving.send(Ok((from.to_owned(), datagram.as_ref().to_vec()))).unwrap();
    }

    /// Receives the next reply, which must be for this peer.
    async fn answer(&mut self, to: &str) -> Vec<u8> {
        let (peer, datagram) = timeout(secs(60), self.leaving.recv()).await.expect("a reply").unwrap();
        assert_eq!(peer, to);
        datagram
    }

    async fn ask(&mut self, from: &str, datagram: &str) -> String {
        self.send(from, datagram);
        self.answer(from).await.escape_ascii().to_string()
    }

    /// Receives all replies until the server is idle.
    async fn all(&mut self) -> Vec<(String, Vec<u8>)> {
        sleep(secs(1)).await; // paused time advances only when every task is idle
        std::iter::from_fn(|| self.leaving.try_recv().ok()).collect()
    }

    async fn expect_nothing(&mut self) {
        let left = self.all().await;
        assert!(left.is_empty(), "{} datagrams, the first to {}", left.len(), left[0].0);
    }
}

/// Sends replies much larger than the request, in every possible way.
struct Amplifying;

impl Handler for Amplifying {
    type State = u64;

    async fn message(&self, cx: &mut Context<u64>, message: Bytes) -> Result<Reply> {
        cx.state += 1;
        Ok(match message.split(|byte| *byte == b' ').next() {
            Some(b"ten") => Reply::send(message.repeat(10)),
            Some(b"many") => Reply::many(vec![message; 60]),
            Some(b"stream") => Reply::stream(stream::unfold(0, move |n| {
                let frame = message.clone();
                async move {
                    sleep(Duration::from_millis(1)).await;
                    (n < 60).then_some((Ok(frame), n + 1))
                }
            })),
            Some(b"push") => {
                (0..60).try_for_each(|_| cx.pusher().try_push(message.clone()))?;
                Reply::none()
            }
            Some(b"later") => {
                let pusher = cx.pusher();
                cx.spawn(async move {
                    sleep(Duration::from_millis(1)).await;
                    for _ in 0..60 {
                        pusher.push(message.clone()).await.unwrap();
                    }
                })?;
                Reply::none()
            }
            Some(b"validate") => {
                cx.validate_address();
                Reply::none()
            }
            Some(b"finish") => Reply::finish(),
            Some(b"count") => Reply::send(cx.state.to_string()),
            Some(b"budget") => Reply::send(vec![b'x'; cx.reply_budget().unwrap_or(4711)]),
            Some(b"over") => Reply::send(vec![b'x'; cx.reply_budget().unwrap_or(4711) + 1]),
            Some(b"length") => Reply::send(message.len().to_string()),
            _ => Reply::none(),
        })
    }
}

async fn serve(sessions: usize) -> (Running, FakeNetwork) {
    let (socket, network) = fake_network();
    let server = Server::bind("fake:").transport(socket).limits(limits(|l| l.sessions = sessions));
    (server.start(Amplifying).await.unwrap(), network)
}

#[tokio::test(start_paused = true)]
async fn an_unvalidated_peer_is_sent_at_most_three_times_the_bytes_it_sent() {
    for (peer, headers) in [("192.0.2.1:4000", 28), ("[2001:db8::1]:4000", 48), ("[::ffff:192.0.2.1]:4000", 28)] {
        for way in ["ten", "many", "stream", "push", "later"] {
            let (_server, mut network) = serve(10).await;
            let (mut received, mut left, mut answers) = (0, 0, 0);
            for size in [4, 400, 0, 40] {
                let question = format!("{way} {}", "x".repeat(size));
                received += question.len() + headers;
                network.send(peer, question);
                for (to, answer) in network.all().await {
                    assert_eq!(to, peer);
                    left += answer.len() + headers;
                    answers += 1;
                    assert!(left <= 3 * received, "{way}: {left} bytes for {received}");
                }
            }
            // Replies within the limit are sent.
            assert!(answers >= if way == "ten" { 1 } else { 4 }, "{way}: {answers} answers");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn only_validated_peers_get_replies_without_a_limit() {
    let (_server, mut network) = serve(10).await;
    let client = "192.0.2.1:4000";
    network.send(client, "validate");
    for (nth, (way, answers)) in
        [("ten", 1), ("many", 60), ("stream", 60), ("push", 60), ("later", 60)].into_iter().enumerate()
    {
        let question = format!("{way} {}", "x".repeat(500));
        network.send(client, &question);
        assert_eq!(network.all().await.len(), answers, "{way}");
        network.send(&format!("192.0.2.1:{}", 5000 + nth), &question);
        assert!(network.all().await.len() < 4, "{way}");
    }
}

/// The outcomes of messages that have a count.
fn outcomes(server: &Running) -> Vec<(&'static str, u64)> {
    let report = server.report().remove(0);
    report.messages.iter().filter(|(_, count)| *count > 0).map(|(outcome, count)| (outcome.as_str(), *count)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_message_fails_once_if_its_reply_exceeds_the_budget() {
    let cases = [
        ("ten", 0, vec![("error", 1)]),
        ("many", 3, vec![("error", 1)]),
        ("stream", 3, vec![("error", 1)]),
        ("over", 0, vec![("error", 1)]),
        ("budget", 1, vec![("ok", 1)]),
        // No message fails because of a pushed frame.
        ("push", 3, vec![("ok", 1), ("dropped", 57)]),
    ];
    for (way, answers, expected) in cases {
        let (server, mut network) = serve(10).await;
        network.send("192.0.2.1:4000", format!("{way} {}", "x".repeat(500)));
        assert_eq!(network.all().await.len(), answers, "{way}");
        assert_eq!(outcomes(&server), expected, "{way}");
        assert_eq!(network.ask("192.0.2.1:4000", "count").await, "2", "{way}: the peer is kept");
    }
}

#[tokio::test(start_paused = true)]
async fn the_reply_budget_is_what_can_be_sent_now() {
    for (peer, headers) in [("192.0.2.1:4000", 28), ("[2001:db8::1]:4000", 48)] {
        for factor in [0, 1, 2, 3, 20] {
            let (socket, mut network) = fake_network();
            let server = Server::bind("fake:").transport(socket).limits(limits(|l| l.amplification = factor));
            let server = server.start(Amplifying).await.unwrap();
            let factor = factor.max(1);
            for size in [40, 0, 400] {
                let question = format!("budget{}", " ".repeat(size));
                network.send(peer, &question);
                let answer = network.answer(peer).await;
                assert_eq!(answer.len(), factor * (question.len() + headers) - headers, "{factor}");
            }
            network.send(peer, "keep ");
            network.send(peer, "keep ");
            network.send(peer, "over ");
            network.expect_nothing().await;
            assert_eq!(outcomes(&server), [("ok", 5), ("error", 1)]);
            network.send(peer, "validate");
            network.send(peer, "budget");
            assert_eq!(network.answer(peer).await.len(), 4711, "no limit");
        }
    }
    let name = harness::unique("budget");
    let _server = Server::bind(format!("mem:{name}")).start(Amplifying).await.unwrap();
    let mut client = crate::support::connect(&name).await;
    client.send("budget").await.expect("x".repeat(4711)).await;
}

#[tokio::test(start_paused = true)]
async fn a_reload_changes_the_amplification_of_known_peers() {
    let (socket, mut network) = fake_network();
    let mut registry = Registry::new();
    registry.handler("amplifying", |_: NoOptions| Ok(Amplifying));
    let handler = registry.handler_entry("amplifying").unwrap().build(serde_json::json!({})).unwrap();
    let listeners = |factor: usize| {
        let mut transports = Transports::default();
        transports.add(socket.clone());
        let mut listeners = ListenerSet::new(transports);
        let spec = ListenerSpec::new("main", "fake:".parse::<Endpoint>().unwrap());
        listeners.listen(spec.limits(limits(|l| l.amplification = factor)), &handler);
        listeners
    };
    let server = listeners(3).start().await.unwrap();
    let client = "192.0.2.1:4000";
    for (nth, factor) in [3, 30, 1, 3].into_iter().enumerate() {
        server.reload(listeners(factor)).await.unwrap();
        sleep(secs(1)).await; // paused time advances only when every task is idle
        assert_eq!(network.ask(client, "count").await, (4 * nth + 1).to_string(), "the state is kept");
        network.ask(client, "budget").await; // leaves nothing
        network.send(client, "ignored");
        network.send(client, "budget");
        assert_eq!(network.answer(client).await.len(), factor * (7 + 28 + 6 + 28) - 28);
    }
}

#[test]
fn a_reply_above_the_budget_is_logged_with_the_remedies() {
    let greeting = format!("handlers.hello.greeting={{}}{}", "!".repeat(200));
    let program = || Program::switchboard().args(["--listen", "udp://127.0.0.1:0", "--set", &greeting]);
    let ask = |server: &harness::Running| {
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(server.socket("main")).unwrap();
        client.send(b"hi").unwrap();
        client
    };
    let server = program().start();
    let client = ask(&server);
    let event = server.wait_for_event(|event| event["message"] == "datagram failed");
    let error = event["error"].as_str().unwrap();
    for part in ["reply of 202 bytes", "budget of 62 bytes", "cx.validate_address", "limits.amplification"] {
        assert!(error.contains(part), "{event}");
    }
    assert_eq!(event["peer"], client.local_addr().unwrap().to_string());
    let server = program().args(["--set", "limits.amplification=8"]).start();
    let client = ask(&server);
    client.set_read_timeout(Some(harness::TEST_TIMEOUT)).unwrap();
    assert_eq!(client.recv(&mut [0; 500]).unwrap(), 202);
    for (key, listen, part) in [
        ("limits.amplification=0", "udp://127.0.0.1:0", "limits.amplification"),
        ("listeners.main.limits.amplification=5", "tcp://127.0.0.1:0", "has no effect"),
        ("listeners.main.limits.amplification=5", "unixgram:/tmp/never-bound", "has no effect"),
    ] {
        let output = Program::switchboard().args(["check", "--listen", listen, "--set", key]).run();
        assert_eq!(output.code(), Some(78), "{key} {listen}");
        assert!(output.stderr.contains(part), "{}", output.stderr);
    }
}

#[tokio::test(start_paused = true)]
async fn an_evicted_peer_starts_with_new_state() {
    let (_server, mut network) = serve(10).await;
    let client = "192.0.2.1:4000";
    let question = format!("ten {}", "x".repeat(500));
    network.send(client, "validate");
    network.send(client, "finish");
    network.send(client, &question);
    network.expect_nothing().await;
    network.send(client, "validate");
    network.send(client, &question);
    assert_eq!(network.answer(client).await.len(), 5040);
}

/// A spoofed source address.
fn spoofed_source(n: usize) -> String {
    let [_, a, b, c] = u32::try_from(n).unwrap().to_be_bytes();
    format!("10.{a}.{b}.{c}:{}", 1024 + n % 60_000)
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_spoofed_senders_evict_no_active_client_and_use_bounded_memory() {
    static ALIVE: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    /// Counts its live instances.
    struct Counted(u64);
    impl Default for Counted {
        fn default() -> Self {
            MOST.fetch_max(ALIVE.fetch_add(1, SeqCst) + 1, SeqCst);
            Self(0)
        }
    }
    impl Drop for Counted {
        fn drop(&mut self) {
            ALIVE.fetch_sub(1, SeqCst);
        }
    }
    struct Counting;
    impl Handler for Counting {
        type State = Counted;
        async fn message(&self, cx: &mut Context<Counted>, _: Bytes) -> Result<Reply> {
            cx.state.0 += 1;
            Ok(Reply::send(cx.state.0.to_string()))
        }
    }
    let (socket, mut network) = fake_network();
    let server = Server::bind("fake:").transport(socket).limits(limits(|l| l.sessions = 100));
    let server = server.start(Counting).await.unwrap();
    let client = "192.0.2.1:4000";
    assert_eq!(network.ask(client, "x").await, "1");
    assert_eq!(network.ask(client, "x").await, "2");
    for thousand in 0..100 {
        for n in 0..1000 {
            network.send(&spoofed_source(thousand * 1000 + n), "x");
        }
        assert_eq!(network.all().await.len(), 1000);
    }
    assert_eq!(network.ask(client, "x").await, "3");
    assert_eq!(MOST.load(SeqCst), 100);
    server.drain().await;
    assert_eq!(ALIVE.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn spoofed_senders_that_send_twice_do_not_evict_a_validated_client() {
    let (_server, mut network) = serve(20).await;
    let client = "192.0.2.1:4000";
    network.send(client, "validate"); // sends nothing more until the flood is over
    for n in 0..10_000 {
        network.send(&spoofed_source(n), "x");
        network.send(&spoofed_source(n), "x");
        network.send(&spoofed_source(n / 2), "x");
    }
    network.expect_nothing().await;
    assert_eq!(network.ask(client, "count").await, "2");
}

#[tokio::test(start_paused = true)]
async fn spoofed_senders_that_send_twice_do_not_evict_an_active_client() {
    let (_server, mut network) = serve(20).await;
    let client = "192.0.2.1:4000";
    for n in 0..1000 {
        assert_eq!(network.ask(client, "count").await, (n + 1).to_string());
        for twice in 0..14 {
            network.send(&spoofed_source(n * 14 + twice), "x");
            network.send(&spoofed_source(n * 14 + twice), "x");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_table_full_of_validated_clients_accepts_new_peers() {
    for sessions in [0, 1, 2, 3, 4, 5, 20] {
        let (_server, mut network) = serve(sessions).await;
        for n in 0..2 * sessions {
            network.send(&spoofed_source(n), "validate");
            network.send(&spoofed_source(n), "x");
        }
        let client = "192.0.2.1:4000";
        assert_eq!(network.ask(client, "count").await, "1", "{sessions}");
        assert_eq!(network.ask(client, "count").await, "2", "{sessions}");
        // The table keeps the most recent peers, three quarters of its size.
        for n in (2 * sessions - sessions * 3 / 4)..2 * sessions {
            assert_eq!(network.ask(&spoofed_source(n), "count").await, "3", "{n} of {sessions}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn senders_with_pending_calls_do_not_evict_an_active_client() {
    let (_server, mut network) = serve(4).await;
    for n in 0..3 {
        assert_eq!(network.ask(&spoofed_source(n), "count").await, "1");
        assert_eq!(network.ask(&spoofed_source(n), "count").await, "2");
    }
    // The only probation entry belongs to a peer with a pending reply, so new peers are dropped.
    network.send("192.0.2.1:4000", "stream x");
    for n in 10..20 {
        network.send(&spoofed_source(n), "count");
    }
    let answered = network.all().await;
    assert!(answered.iter().all(|(peer, _)| peer == "192.0.2.1:4000"), "{answered:?}");
    for n in 0..3 {
        assert_eq!(network.ask(&spoofed_source(n), "count").await, "3");
    }
}

#[tokio::test(start_paused = true)]
async fn truncated_datagrams_never_reach_a_handler() {
    const LARGEST: usize = 1024 * 1024;
    for (limit, most) in [(100, 100), (65_535, 65_535), (70_000, 70_000), (LARGEST, LARGEST), (usize::MAX, LARGEST)] {
        let (socket, mut network) = fake_network();
        let server = Server::bind("fake:").transport(socket).limits(limits(|l| l.frame = limit));
        let length = handler_fn(|_: Context, message: Bytes| async move { Ok(Reply::send(message.len().to_string())) });
        let _server = server.start(length).await.unwrap();
        for size in [most + 1, most + 2, 2 * most + 70_000, 3 * LARGEST] {
            network.send("192.0.2.1:4000", vec![b'x'; size]);
        }
        network.send("192.0.2.1:4000", vec![b'x'; most]);
        assert_eq!(network.answer("192.0.2.1:4000").await, most.to_string().as_bytes(), "limit {limit}");
        network.expect_nothing().await;
    }
}

#[tokio::test(start_paused = true)]
async fn errors_reported_for_earlier_sends_do_not_stop_the_socket() {
    let (server, mut network) = serve(10).await;
    for round in 0..10 {
        for errno in [111, 113, 101, 90, 1, 12, 105] {
            for _ in 0..20 {
                network.arriving.send(Err(io::Error::from_raw_os_error(errno))).unwrap();
            }
        }
        assert_eq!(network.ask("192.0.2.1:4000", "count").await, (round + 1).to_string());
    }
    assert_eq!(server.drain().await.cut, 0);
}

/// Starts a server with a rate of replies; `None`: the default.
async fn serve_at_rate(rate: Option<Rate>) -> (Running, FakeNetwork) {
    let (socket, network) = fake_network();
    let rates = rate.map_or_else(Rates::default, |rate| Rates::default().replies_per_peer(rate));
    let server = Server::bind("fake:").transport(socket).rates(rates).limits(limits(|l| l.sessions = 10));
    (server.start(Amplifying).await.unwrap(), network)
}

impl FakeNetwork {
    /// Sends each reply back as the next request, as another server would: `datagrams` at a time, `pause` apart.
    /// Returns the replies before the exchange ended; at most `most`.
    async fn reflect(&mut self, peer: &str, datagrams: usize, pause: Duration, most: usize) -> usize {
        for _ in 0..datagrams {
            self.send(peer, "count");
        }
        for answered in 0..most {
            // Paused time advances only when the server is idle.
            match timeout(Duration::from_millis(1), self.leaving.recv()).await {
                Ok(_) => self.send(peer, "count"),
                Err(_) => return answered,
            }
            if !pause.is_zero() {
                sleep(pause).await;
            }
        }
        most
    }
}

#[tokio::test(start_paused = true)]
async fn an_exchange_with_a_server_that_answers_every_reply_ends() {
    for (rate, datagrams, pause, most) in [
        (None, 1, 0, 15_000),
        (None, 40, 0, 15_000),
        (None, 1, 1, 50_000), // 500 per second
        (Some(Rate::per_second(100)), 1, 0, 100),
        (Some(Rate::per_minute(100)), 1, 20, 100),
        (Some(Rate::per_second(1_000_000)), 1, 0, 50_000),
    ] {
        let (_server, mut network) = serve_at_rate(rate).await;
        let ended = network.reflect("192.0.2.1:4000", datagrams, Duration::from_millis(pause), 60_000).await;
        assert_eq!(ended, most, "{rate:?} {datagrams} {pause}");
        assert_eq!(network.ask("192.0.2.2:4000", "count").await, "1", "another peer is answered");
        sleep(secs(60)).await;
        network.ask("192.0.2.1:4000", "count").await; // and the same peer, when its rate allows it
    }
}

#[tokio::test(start_paused = true)]
async fn validated_peers_and_a_rate_of_zero_have_no_limit_of_replies() {
    let (_server, mut network) = serve_at_rate(None).await;
    network.send("192.0.2.1:4000", "validate");
    assert_eq!(network.reflect("192.0.2.1:4000", 1, Duration::ZERO, 60_000).await, 60_000);
    let (_server, mut network) = serve_at_rate(Some(Rate::per_second(0))).await;
    assert_eq!(network.reflect("192.0.2.1:4000", 1, Duration::ZERO, 60_000).await, 60_000);
}

#[tokio::test(start_paused = true)]
async fn a_client_with_ten_thousand_requests_per_second_has_no_limit_to_notice() {
    let (_server, mut network) = serve_at_rate(None).await;
    let client = "192.0.2.1:4000";
    let (mut sent, mut answered) = (0, 0);
    for _ in 0..10_000 {
        for _ in 0..10 {
            network.send(client, "count");
            sent += 1;
        }
        sleep(Duration::from_millis(1)).await;
        answered += std::iter::from_fn(|| network.leaving.try_recv().ok()).count();
    }
    assert_eq!((sent, sent - answered), (100_000, 1), "one of 50,000 is lost, and the second is the next");
}

#[tokio::test(start_paused = true)]
async fn pushed_frames_count_for_the_rate_of_replies() {
    let (_server, mut network) = serve_at_rate(Some(Rate::per_second(10))).await;
    for _ in 0..10 {
        network.send("192.0.2.1:4000", "push");
    }
    assert_eq!(network.all().await.len(), 10);
}
