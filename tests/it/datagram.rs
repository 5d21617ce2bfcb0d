//! Datagrams: each peer gets its replies in order, from the address it sent to, and delays no other peer.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context as TaskContext, Poll};

use futures_util::stream;
use harness::TEST_TIMEOUT;
use socket2::{Domain, Protocol, Socket, Type};
use switchboard::framing;
use switchboard::prelude::*;
use switchboard::settings::Rate;
use switchboard_handlers::{Echo, Hello};
use tokio::net::{UdpSocket, UnixDatagram};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::codec::LengthDelimitedCodec;
use tower::Service;

use crate::support::{limits, millis, socket};

/// A client of a datagram server on loopback.
struct Peer(UdpSocket);

impl Peer {
    async fn new(server: &Running) -> Self {
        Self::from("127.0.0.1:0", port(server), Ipv4Addr::LOCALHOST.into()).await
    }

    async fn from(local: &str, port: u16, ip: IpAddr) -> Self {
        let socket = UdpSocket::bind(local).await.unwrap();
        socket.connect(SocketAddr::new(ip, port)).await.unwrap();
        Self(socket)
    }

    async fn send(&self, datagram: impl AsRef<[u8]>) -> &Self {
        self.0.send(datagram.as_ref()).await.unwrap();
        self
    }

    async fn receive(&self) -> Vec<u8> {
        let mut buffer = vec![0; 70_000];
        let received = timeout(TEST_TIMEOUT, self.0.recv(&mut buffer)).await;
        let bytes = received.expect("a reply arrives").expect("the port is open");
        buffer.truncate(bytes);
        buffer
    }

    async fn expect(&self, datagram: impl AsRef<[u8]>) -> &Self {
        let got = self.receive().await;
        assert_eq!(got.escape_ascii().to_string(), datagram.as_ref().escape_ascii().to_string());
        self
    }

    /// Expects that no datagram has arrived. Only meaningful after a later request has been answered.
    fn expect_nothing(&self) {
        let got = self.0.try_recv(&mut [0; 100]);
        assert!(got.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock), "{got:?}");
    }
}

fn port(server: &Running) -> u16 {
    server.address().unwrap().port().unwrap()
}

fn udp() -> Server {
    Server::bind("udp://127.0.0.1:0")
}

/// A handler that runs the command in each datagram.
#[derive(Clone)]
struct Scripted {
    gate: Arc<Semaphore>,
    waiting: Arc<watch::Sender<usize>>,
    calls: Arc<AtomicUsize>,
}

impl Scripted {
    fn new() -> Self {
        Self { gate: Arc::new(Semaphore::new(0)), waiting: Arc::default(), calls: Arc::default() }
    }

    async fn waiting(&self, count: usize) {
        let mut waiting = self.waiting.subscribe();
        let waited = timeout(TEST_TIMEOUT, waiting.wait_for(|waiting| *waiting >= count)).await;
        waited.unwrap_or_else(|_| panic!("{} of {count} messages wait", *self.waiting.borrow())).unwrap();
    }
}

impl Handler for Scripted {
    type State = u32;

    async fn open(&self, _: &mut Context<u32>) -> Result<Reply> {
        panic!("open is not called for datagram peers");
    }

    async fn message(&self, cx: &mut Context<u32>, message: Bytes) -> Result<Reply> {
        self.calls.fetch_add(1, SeqCst);
        cx.state += 1;
        let text = message.escape_ascii().to_string();
        let (what, rest) = text.split_once(' ').unwrap_or((&text, ""));
        Ok(match what {
            "wait" => {
                self.waiting.send_modify(|waiting| *waiting += 1);
                self.gate.acquire().await?.forget();
                Reply::send(format!("waited {rest}"))
            }
            "none" => Reply::none(),
            "count" => Reply::send(cx.state.to_string()),
            "many" => Reply::many(["a", "b", "c"]),
            "stream" => Reply::stream(stream::unfold(0, |n| async move {
                tokio::task::yield_now().await;
                (n < 3).then(|| (Ok(Bytes::from(n.to_string())), n + 1))
            })),
            "stream-error" => Reply::stream(stream::iter([Ok(Bytes::from("a")), Err("requested".into())])),
            "stream-panic" => Reply::stream(stream::poll_fn(|_| panic!("requested"))),
            "endless" => Reply::stream(stream::pending()),
            "finish" => Reply::send("bye").then_finish(),
            "close" => Reply::close(),
            "error" => return Err("requested".into()),
            "panic" => panic!("requested"),
            "push" => {
                let pusher = cx.pusher();
                for n in 0..rest.parse::<usize>()? {
                    pusher.try_push(n.to_string())?;
                }
                Reply::none()
            }
            "later" => {
                let pusher = cx.pusher();
                cx.spawn(async move { pusher.push("pushed").await.unwrap() })?;
                Reply::none()
            }
            "validate" => {
                cx.validate_address();
                Reply::none()
            }
            "local" => Reply::send(cx.local().to_string()),
            _ => Reply::send(message),
        })
    }
}

#[tokio::test]
async fn echo_returns_every_datagram_unchanged_including_empty_and_largest() {
    let server = udp().start(Echo).await.unwrap();
    let peer = Peer::new(&server).await;
    peer.send("hi").await.expect("hi").await;
    peer.send("").await.expect("").await;
    peer.send(b"\0\xff\n").await.expect(b"\0\xff\n").await;
    let largest = vec![b'x'; 65_507];
    peer.send(&largest).await;
    assert_eq!(peer.receive().await, largest);
}

#[tokio::test]
async fn hello_greets_every_datagram_including_exit_and_sends_no_welcome() {
    let server = udp().start(Hello::default()).await.unwrap();
    let peer = Peer::new(&server).await;
    peer.send("Michael").await.expect("hello, Michael!").await;
    peer.send("exit").await.expect("hello, exit!").await;
    peer.send("").await.expect("hello, !").await;
    peer.send("Tracy\r\n").await.expect("hello, Tracy!").await;
}

#[tokio::test]
async fn each_kind_of_reply_is_sent_as_datagrams_to_the_sender() {
    let server = udp().start(Scripted::new()).await.unwrap();
    let peer = Peer::new(&server).await;
    peer.send("none").await.send("many").await.expect("a").await.expect("b").await.expect("c").await;
    peer.send("stream").await.send("next").await;
    peer.expect("0").await.expect("1").await.expect("2").await.expect("next").await;
    peer.send("stream-error").await.expect("a").await;
    peer.send("stream-panic").await.send("error").await.send("panic").await.send("x").await.expect("x").await;
}

#[tokio::test]
async fn each_peer_has_separate_state_until_a_reply_closes_it() {
    let server = udp().start(Scripted::new()).await.unwrap();
    let (one, two) = (Peer::new(&server).await, Peer::new(&server).await);
    one.send("count").await.expect("1").await.send("count").await.expect("2").await;
    two.send("count").await.expect("1").await;
    one.send("error").await.send("panic").await.send("count").await.expect("5").await;
    one.send("finish").await.expect("bye").await.send("count").await.expect("1").await;
    one.send("close").await.send("count").await.expect("1").await;
    two.send("count").await.expect("2").await;
}

#[tokio::test]
async fn a_waiting_handler_delays_no_other_peer_and_keeps_message_order() {
    let handler = Scripted::new();
    let server = udp().start(handler.clone()).await.unwrap();
    let (slow, quick) = (Peer::new(&server).await, Peer::new(&server).await);
    slow.send("wait a").await.send("b").await.send("c").await;
    handler.waiting(1).await;
    for _ in 0..200 {
        quick.send("x").await.expect("x").await;
    }
    slow.expect_nothing();
    handler.gate.add_permits(1);
    slow.expect("waited a").await.expect("b").await.expect("c").await;
}

#[tokio::test]
async fn two_hundred_waiting_peers_are_answered_when_all_become_ready_together() {
    let handler = Scripted::new();
    let server = udp().start(handler.clone()).await.unwrap();
    let mut peers = Vec::new();
    for _ in 0..200 {
        let peer = Peer::new(&server).await;
        peer.send("wait").await;
        peers.push(peer);
    }
    handler.waiting(200).await;
    handler.gate.add_permits(200);
    for peer in &peers {
        peer.expect("waited ").await;
    }
}

#[tokio::test]
async fn two_hundred_frames_pushed_together_are_all_sent() {
    let server = udp().start(Scripted::new()).await.unwrap();
    let peer = Peer::new(&server).await;
    peer.send("validate").await.send("push 200").await;
    for n in 0..200 {
        peer.expect(n.to_string()).await;
    }
}

#[tokio::test]
async fn frames_pushed_before_a_drain_are_sent() {
    let server = udp().start(Scripted::new()).await.unwrap();
    let peer = Peer::new(&server).await;
    peer.send("validate").await.send("push 200").await.expect("0").await;
    server.drain().await;
    for n in 1..200 {
        peer.expect(n.to_string()).await;
    }
}

#[tokio::test]
async fn a_pusher_works_after_the_handler_call() {
    let server = udp().start(Scripted::new()).await.unwrap();
    let peer = Peer::new(&server).await;
    peer.send("later").await.expect("pushed").await;
}

/// Sends more messages than the queue holds, slowly enough for the socket buffers.
async fn flood(peer: &Peer) {
    for n in 0..2000 {
        peer.send("wait").await;
        if n % 50 == 0 {
            sleep(millis(1)).await;
        }
    }
}

#[tokio::test]
async fn messages_over_the_queue_limit_are_dropped() {
    let handler = Scripted::new();
    let server = udp().start(handler.clone()).await.unwrap();
    let peer = Peer::new(&server).await;
    flood(&peer).await;
    handler.gate.add_permits(2000);
    let mut answered = 0;
    // The queue is in order, so this reply follows all others. The request is dropped while the queue is full.
    let last = async {
        loop {
            peer.send("and now").await;
            while let Ok(received) = timeout(millis(100), peer.receive()).await {
                if received == b"and now" {
                    return;
                }
                answered += 1;
            }
        }
    };
    timeout(TEST_TIMEOUT, last).await.expect("the peer is served again");
    assert!((1..=1024).contains(&answered), "{answered}");
}

#[tokio::test]
async fn a_peer_that_overloads_its_handler_does_not_starve_other_peers() {
    let handler = Scripted::new();
    let server = udp().start(handler.clone()).await.unwrap();
    let (greedy, modest) = (Peer::new(&server).await, Peer::new(&server).await);
    flood(&greedy).await;
    let answer = async {
        loop {
            modest.send("x").await;
            if timeout(millis(100), modest.expect("x")).await.is_ok() {
                return;
            }
        }
    };
    timeout(TEST_TIMEOUT, answer).await.expect("the other peer is answered");
}

#[tokio::test]
async fn a_datagram_over_the_limit_is_dropped_and_the_next_is_answered() {
    let server = udp().limits(limits(|l| l.frame = 10)).start(Scripted::new()).await.unwrap();
    let peer = Peer::new(&server).await;
    peer.send("01234567890").await.send("0123456789").await.expect("0123456789").await;
    peer.send("count").await.expect("2").await;
}

#[tokio::test]
async fn a_wildcard_socket_receives_the_largest_datagram_and_drops_larger_ones() {
    let server = Server::bind("udp://0.0.0.0:0").limits(limits(|l| l.frame = 10)).start(Echo).await.unwrap();
    let peer = Peer::new(&server).await;
    peer.send("01234567890").await.send(vec![b'x'; 65_507]).await.send("0123456789").await.expect("0123456789").await;
    let server = Server::bind("udp://0.0.0.0:0").limits(limits(|l| l.frame = usize::MAX)).start(Echo).await.unwrap();
    let (peer, largest) = (Peer::new(&server).await, vec![b'x'; 65_507]);
    peer.send(&largest).await;
    assert_eq!(peer.receive().await, largest);
}

#[tokio::test]
async fn a_reply_to_a_closed_port_does_not_stop_the_server() {
    for listen in ["udp://127.0.0.1:0", "udp://0.0.0.0:0"] {
        let handler = Scripted::new();
        let server = Server::bind(listen).start(handler.clone()).await.unwrap();
        // All sockets are open at the same time, so that no port is used twice.
        let last = Peer::new(&server).await;
        let mut peers = Vec::new();
        for n in 1..=70 {
            let peer = Peer::new(&server).await;
            peer.send("wait").await;
            handler.waiting(n).await;
            peers.push(peer);
        }
        drop(peers);
        handler.gate.add_permits(70);
        last.send("x").await.expect("x").await;
        assert_eq!(server.drain().await.cut, 0);
    }
}

#[tokio::test]
async fn any_frame_limit_is_accepted() {
    let server = udp().limits(limits(|l| l.frame = usize::MAX)).start(Echo).await.unwrap();
    Peer::new(&server).await.send("x").await.expect("x").await;
}

#[tokio::test]
async fn the_peer_table_is_bounded_and_evicts_the_least_recently_seen_peer() {
    let server = udp().limits(limits(|l| l.sessions = 2)).start(Scripted::new()).await.unwrap();
    let (one, two, three) = (Peer::new(&server).await, Peer::new(&server).await, Peer::new(&server).await);
    one.send("count").await.expect("1").await;
    two.send("count").await.expect("1").await;
    one.send("count").await.expect("2").await;
    three.send("count").await.expect("1").await;
    one.send("count").await.expect("3").await;
    two.send("count").await.expect("1").await;
}

#[tokio::test]
async fn a_peer_with_a_pending_call_is_not_evicted() {
    let handler = Scripted::new();
    let server = udp().limits(limits(|l| l.sessions = 2)).start(handler.clone()).await.unwrap();
    let (busy, one, two) = (Peer::new(&server).await, Peer::new(&server).await, Peer::new(&server).await);
    busy.send("wait").await;
    handler.waiting(1).await;
    for _ in 0..3 {
        one.send("count").await.expect("1").await;
        two.send("count").await.expect("1").await;
    }
    handler.gate.add_permits(1);
    busy.expect("waited ").await.send("count").await.expect("2").await;
}

#[tokio::test]
async fn a_reply_is_sent_from_the_address_that_received_the_request() {
    let server = Server::bind("udp://0.0.0.0:0").start(Scripted::new()).await.unwrap();
    let port = port(&server);
    for ip in ["127.0.0.1", "127.0.0.2", "127.9.8.7"] {
        // A connected socket receives replies only from its remote address.
        let peer = Peer::from("127.0.0.1:0", port, ip.parse().unwrap()).await;
        peer.send("x").await.expect("x").await;
        peer.send("local").await.expect(format!("{ip}:{port}")).await;
        peer.send("many").await.expect("a").await.expect("b").await.expect("c").await;
        peer.send("later").await.expect("pushed").await;
    }
}

#[tokio::test]
async fn a_dual_stack_socket_replies_from_the_address_that_received_the_request() {
    if UdpSocket::bind("[::1]:0").await.is_err() {
        eprintln!("skipped: this machine has no IPv6");
        return;
    }
    let server = Server::bind("udp://[::]:0").start(Scripted::new()).await.unwrap();
    let port = port(&server);
    Peer::from("[::1]:0", port, "::1".parse().unwrap()).await.send("x").await.expect("x").await;
    Peer::from("127.0.0.1:0", port, "127.0.0.1".parse().unwrap()).await.send("x").await.expect("x").await;
    Peer::from("127.0.0.1:0", port, "127.0.0.2".parse().unwrap()).await.send("x").await.expect("x").await;
}

/// A socket on a loopback address that concurrent runs of this test do not use.
fn bound_to(ip: Ipv4Addr, port: u16, shared: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((ip, port)).into())?;
    UdpSocket::from_std(socket.into())
}

#[tokio::test]
async fn datagrams_from_well_known_reflector_ports_are_not_answered() {
    let server = udp().start(Echo).await.unwrap();
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port(&server)));
    let [high, low] = (std::process::id() as u16).to_be_bytes();
    let good = Peer::new(&server).await;
    for port in [7, 13, 17, 19, 37, 53, 69, 123] {
        let Ok(reflector) = bound_to(Ipv4Addr::new(127, 77, high, low), port, false) else {
            eprintln!("skipped: port {port} cannot be bound by this user");
            continue;
        };
        reflector.send_to(b"x", at).await.unwrap();
        good.send("y").await.expect("y").await;
        Peer(reflector).expect_nothing();
    }
}

#[tokio::test]
async fn datagrams_from_the_own_address_are_not_answered() {
    let share = socket(|socket| socket.reuse_port = true);
    let server = Server::bind("udp://0.0.0.0:0").socket(share).start(Echo).await.unwrap();
    let port = port(&server);
    let good = Peer::from("127.0.0.1:0", port, Ipv4Addr::LOCALHOST.into()).await;
    // Imitates a spoofed source: the server would send replies to its own socket forever.
    let own = bound_to(Ipv4Addr::new(127, 0, 0, 2), port, true).unwrap();
    own.send_to(b"x", (Ipv4Addr::LOCALHOST, port)).await.unwrap();
    good.send("y").await.expect("y").await;
    Peer(own).expect_nothing();
}

/// A layer that panics in `call`, outside of any future.
#[derive(Clone)]
struct PanickingLayer<S = ()>(S);

impl<S> tower::Layer<S> for PanickingLayer {
    type Service = PanickingLayer<S>;
    fn layer(&self, inner: S) -> PanickingLayer<S> {
        PanickingLayer(inner)
    }
}

impl<S: Service<Request>> Service<Request> for PanickingLayer<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;
    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }
    fn call(&mut self, request: Request) -> S::Future {
        assert!(request.message != "boo", "the layer panics");
        self.0.call(request)
    }
}

#[tokio::test]
async fn a_panic_in_a_layer_does_not_close_the_socket() {
    let server = udp().layer(PanickingLayer(())).start(Echo).await.unwrap();
    let peer = Peer::new(&server).await;
    peer.send("x").await.expect("x").await;
    peer.send("boo").await.send("y").await.expect("y").await;
}

#[tokio::test]
async fn a_panic_in_a_codec_does_not_close_the_socket() {
    struct PanickingFraming;
    impl Framing for PanickingFraming {
        type In = Bytes;
        type Out = Bytes;
        type Codec = framing::RawCodec;
        fn codec(&self, limit: usize) -> framing::RawCodec {
            Raw::default().codec(limit)
        }
        fn datagram_in(&self, datagram: Bytes) -> Result<Bytes> {
            assert!(datagram != "boo", "the framing panics");
            Ok(datagram)
        }
    }
    let server = udp().framing(PanickingFraming).start(Echo).await.unwrap();
    let peer = Peer::new(&server).await;
    peer.send("boo").await.send("y").await.expect("y").await;
}

#[tokio::test]
async fn a_codec_accepts_a_datagram_with_exactly_one_message() {
    let framing = framing::custom(|limit| {
        LengthDelimitedCodec::builder().length_field_length(1).max_frame_length(limit).new_codec()
    });
    let handler = handler_fn(|_: Context, message: BytesMut| async move { Ok(Reply::send(message.freeze())) });
    let server = udp().framing(framing).start(handler).await.unwrap();
    let peer = Peer::new(&server).await;
    peer.send(b"\x05ab").await.send(b"\x02abc").await.send("").await;
    peer.send(b"\x02ab").await.expect(b"\x02ab").await;
}

#[tokio::test]
async fn a_drain_answers_queued_messages_and_accepts_no_new_ones() {
    let handler = Scripted::new();
    let server = udp().start(handler.clone()).await.unwrap();
    let peer = Peer::new(&server).await;
    peer.send("wait a").await.send("b").await.send("wait c").await;
    handler.waiting(1).await;
    let gate = handler.gate.clone();
    let (drained, ()) = tokio::join!(server.drain(), async {
        sleep(millis(50)).await;
        // Requests during the drain get no reply and do not delay its end.
        let late = Peer::new(&server).await;
        for _ in 0..10 {
            late.send("wait").await;
            sleep(millis(5)).await;
        }
        gate.add_permits(2);
    });
    assert_eq!(drained.cut, 0);
    peer.expect("waited a").await.expect("b").await.expect("waited c").await;
}

#[tokio::test]
async fn a_drain_answers_datagrams_in_the_socket_buffer() {
    let server = udp().start(Echo).await.unwrap();
    let peer = Peer::new(&server).await;
    peer.send("first").await.expect("first").await;
    for n in 0..100 {
        peer.0.try_send(n.to_string().as_bytes()).unwrap();
    }
    assert_eq!(server.drain().await.cut, 0);
    for n in 0..100 {
        peer.expect(n.to_string()).await;
    }
}

#[tokio::test]
async fn messages_pending_at_the_drain_deadline_are_aborted_and_counted() {
    let handler = Scripted::new();
    let server = udp().drain_deadline(millis(100)).start(handler.clone()).await.unwrap();
    let (one, two) = (Peer::new(&server).await, Peer::new(&server).await);
    one.send("wait").await.send("queued").await;
    two.send("endless").await;
    one.0.writable().await.unwrap();
    handler.waiting(1).await;
    let quick = Peer::new(&server).await;
    quick.send("x").await.expect("x").await;
    assert_eq!(server.drain().await.cut, 3);
}

#[tokio::test]
async fn dropping_a_datagram_server_releases_its_port() {
    let server = udp().start(Echo).await.unwrap();
    let port = port(&server);
    drop(server);
    let free = async {
        while UdpSocket::bind(("127.0.0.1", port)).await.is_err() {
            sleep(millis(5)).await;
        }
    };
    timeout(TEST_TIMEOUT, free).await.unwrap();
}

#[tokio::test]
async fn datagrams_over_the_rate_of_a_source_are_dropped_without_delay_for_others() {
    let server = udp().layer(RatePerSource::new(Rate::per_hour(2), 2)).start(Scripted::new()).await.unwrap();
    let peer = Peer::new(&server).await;
    peer.send("a").await.send("b").await.send("c").await.send("d").await;
    peer.expect("a").await.expect("b").await;
    let other = Peer::from("127.0.0.2:0", port(&server), Ipv4Addr::LOCALHOST.into()).await;
    other.send("e").await.expect("e").await;
    peer.expect_nothing();
}

#[tokio::test]
async fn replies_to_unix_datagrams_go_to_the_path_of_the_sender() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("server");
    let server = Server::bind(format!("unixgram:{}", at.display())).start(Scripted::new()).await.unwrap();
    let client = |name: &str| {
        let client = UnixDatagram::bind(dir.path().join(name)).unwrap();
        client.connect(&at).unwrap();
        client
    };
    let receive = async |client: &UnixDatagram| {
        let mut buffer = vec![0; 300_000];
        let bytes = timeout(TEST_TIMEOUT, client.recv(&mut buffer)).await.unwrap().unwrap();
        buffer.truncate(bytes);
        buffer
    };
    let (one, two) = (client("one"), client("two"));
    one.send(b"count").await.unwrap();
    assert_eq!(receive(&one).await, b"1");
    two.send(b"count").await.unwrap();
    assert_eq!(receive(&two).await, b"1");
    one.send(b"").await.unwrap();
    assert_eq!(receive(&one).await, b"");
    one.send(&vec![b'x'; 64 * 1024]).await.unwrap();
    assert_eq!(receive(&one).await, vec![b'x'; 64 * 1024]);
    one.send(&vec![b'x'; 64 * 1024 + 1]).await.unwrap(); // dropped
    let nobody = UnixDatagram::unbound().unwrap();
    nobody.send_to(b"x", &at).await.unwrap(); // has no address for a reply
    one.send(b"count").await.unwrap();
    assert_eq!(receive(&one).await, b"4");
    server.drain().await;
    assert!(!at.exists(), "the path is removed at the end");
}

#[tokio::test]
async fn a_unix_peer_that_does_not_read_delays_no_other_peer() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("server");
    let _server = Server::bind(format!("unixgram:{}", at.display())).start(Echo).await.unwrap();
    // The socket is not connected, so Linux limits its receive queue (unix(7), max_dgram_qlen). Unread datagrams of a
    // connected socket would fill the send buffer of the server instead.
    let unread = std::os::unix::net::UnixDatagram::bind(dir.path().join("unread")).unwrap();
    unread.set_nonblocking(true).unwrap();
    let good = UnixDatagram::bind(dir.path().join("good")).unwrap();
    good.connect(&at).unwrap();
    for n in 0..1000 {
        let sent = async {
            while unread.send_to(b"x", &at).is_err() {
                sleep(millis(1)).await;
            }
        };
        timeout(TEST_TIMEOUT, sent).await.unwrap_or_else(|_| panic!("stuck at {n}"));
        if n % 20 == 0 {
            good.send(b"y").await.unwrap();
            timeout(TEST_TIMEOUT, good.recv(&mut [0])).await.unwrap_or_else(|_| panic!("no answer at {n}")).unwrap();
        }
    }
}

#[tokio::test]
async fn a_pusher_of_an_evicted_peer_returns_an_error() {
    /// Stores its pushers for the test.
    #[derive(Clone, Default)]
    struct PusherStore(Arc<std::sync::Mutex<Vec<Pusher>>>);
    impl Handler for PusherStore {
        type State = ();
        async fn message(&self, cx: &mut Context, message: Bytes) -> Result<Reply> {
            self.0.lock().unwrap().push(cx.pusher());
            Ok(Reply::send(message))
        }
    }
    let store = PusherStore::default();
    let server = udp().limits(limits(|l| l.sessions = 1)).start(store.clone()).await.unwrap();
    let (one, two) = (Peer::new(&server).await, Peer::new(&server).await);
    one.send("a").await.expect("a").await;
    let pusher = store.0.lock().unwrap().pop().unwrap();
    pusher.push("pushed").await.unwrap();
    one.expect("pushed").await;
    two.send("b").await.expect("b").await; // the table has room for one peer
    assert_eq!(pusher.try_push("lost").unwrap_err().reason, PushError::Closed);
    assert_eq!(pusher.push("lost").await, Err(PushError::Closed));
}

#[tokio::test]
async fn a_handler_that_needs_connections_is_rejected_on_datagrams() {
    struct NeedsStream;
    impl Handler for NeedsStream {
        const NEEDS: Needs = Needs::Stream;
        type State = ();
        async fn message(&self, _: &mut Context, message: Bytes) -> Result<Reply> {
            Ok(Reply::send(message))
        }
    }
    let error = udp().start(NeedsStream).await.unwrap_err().to_string();
    assert!(error.contains("the address receives datagrams, and the handler needs connections"), "{error}");
}

#[tokio::test]
async fn a_unix_peer_with_an_abstract_name_is_answered_and_has_separate_state() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram as StdUnixDatagram};
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("server");
    let _server = Server::bind(format!("unixgram:{}", at.display())).start(Scripted::new()).await.unwrap();
    for _ in 0..2 {
        let name = UnixAddress::from_abstract_name(harness::unique("abstract")).unwrap();
        let client = StdUnixDatagram::bind_addr(&name).unwrap();
        client.set_nonblocking(true).unwrap();
        let client = UnixDatagram::from_std(client).unwrap();
        client.send_to(b"count", &at).await.unwrap();
        let mut answer = [0; 1];
        timeout(TEST_TIMEOUT, client.recv(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer, b"1");
    }
}

#[tokio::test]
async fn a_panic_while_state_is_created_loses_one_datagram_and_not_the_socket() {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    /// Its `default` panics every second time.
    struct PanickingState;
    impl Default for PanickingState {
        fn default() -> Self {
            assert!(MADE.fetch_add(1, SeqCst) % 2 == 1, "requested");
            Self
        }
    }
    struct UsesState;
    impl Handler for UsesState {
        type State = PanickingState;
        async fn message(&self, _: &mut Context<PanickingState>, message: Bytes) -> Result<Reply> {
            Ok(Reply::send(message))
        }
    }
    let server = udp().start(UsesState).await.unwrap();
    Peer::new(&server).await.send("lost").await;
    Peer::new(&server).await.send("x").await.expect("x").await;
}

#[tokio::test]
async fn the_limit_of_a_framing_applies_to_datagrams() {
    let server = udp().framing(Raw::default().max(4)).start(Echo).await.unwrap();
    Peer::new(&server).await.send("too long").await.send("fits").await.expect("fits").await;
}
