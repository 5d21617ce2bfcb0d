//! Datagrams that are received and sent in batches: by the UDP socket, and by the driver with a scripted socket.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll, Waker};

use async_trait::async_trait;
use futures_util::poll;
use harness::TEST_TIMEOUT;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{setsockopt, sockopt};
use switchboard::bytes::BytesMut;
use switchboard::prelude::*;
use switchboard::registry::NoOptions;
use switchboard::server::ListenerSpec;
use switchboard::settings::SocketOptions;
use switchboard::transport::{
    Bind, Datagram, DatagramSocket, Listener, Route, SchemeInfo, SharedSocket, Transport, Transports, Udp,
};
use switchboard::{Address, Endpoint};
use switchboard_handlers::Echo;
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

use crate::datagram_faults::{add_interface, in_own_network, ip};
use crate::support::{limits, secs};

/// The addresses of a server, each with addresses that its clients send to.
const SERVERS: [(&str, [&str; 2]); 4] = [
    ("127.0.0.1", ["127.0.0.1", "127.0.0.1"]),
    ("0.0.0.0", ["127.0.0.1", "127.0.0.2"]),
    ("[::1]", ["::1", "::1"]),
    ("[::]", ["::1", "127.0.0.3"]),
];

fn has_ipv6() -> bool {
    let has = std::net::UdpSocket::bind("[::1]:0").is_ok();
    if !has {
        eprintln!("skipped in part: this machine has no IPv6");
    }
    has
}

fn servers() -> impl Iterator<Item = (String, [IpAddr; 2])> {
    let has_ipv6 = has_ipv6();
    let usable = SERVERS.into_iter().filter(move |(listen, _)| has_ipv6 || !listen.contains(':'));
    usable.map(|(listen, to)| (format!("udp://{listen}:0"), to.map(|to| to.parse().unwrap())))
}

/// The UDP socket of a server, without a driver.
async fn bind(listen: &str, inherited: Option<OwnedFd>) -> Box<dyn DatagramSocket> {
    let mut bind = Bind::new(listen.parse::<Endpoint>().unwrap(), SocketOptions::default());
    bind.inherited = inherited.map(SharedSocket::new);
    let Listener::Datagram(socket) = Udp.bind(bind).await.unwrap() else { panic!("UDP has datagrams") };
    poll_fn(|cx| socket.poll_send_ready(cx)).await.unwrap();
    socket
}

fn port(socket: &dyn DatagramSocket) -> u16 {
    socket.endpoint().port().unwrap()
}

async fn receive(socket: &dyn DatagramSocket, max: usize) -> io::Result<Vec<Datagram>> {
    let (mut buffer, mut datagrams) = (BytesMut::with_capacity(70_000), Vec::new());
    let received = poll_fn(|cx| socket.poll_receive_batch(cx, &mut buffer, max, &mut datagrams));
    timeout(TEST_TIMEOUT, received).await.expect("a datagram arrives")?;
    assert!((1..=max).contains(&datagrams.len()), "{} datagrams", datagrams.len());
    Ok(datagrams)
}

/// A client that is connected to a server: it receives only replies from that address.
async fn client(ip: IpAddr, port: u16) -> UdpSocket {
    let own = if ip.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let client = UdpSocket::bind(own).await.unwrap();
    client.connect(SocketAddr::new(ip, port)).await.unwrap();
    client.writable().await.unwrap();
    client
}

async fn next(client: &UdpSocket) -> String {
    let mut buffer = vec![0; 70_000];
    let received = timeout(TEST_TIMEOUT, client.recv(&mut buffer)).await;
    let bytes = received.expect("a datagram arrives").expect("the port is open");
    String::from_utf8(buffer[..bytes].to_vec()).unwrap()
}

#[tokio::test]
async fn batches_have_every_queued_datagram_with_its_peer_and_local_address() {
    for (listen, to) in servers() {
        let socket = bind(&listen, None).await;
        let is_wildcard = socket.local().ip().unwrap().is_unspecified();
        let clients = [client(to[0], port(&*socket)).await, client(to[1], port(&*socket)).await];
        let payload =
            |n: usize| if n == 7 { String::new() } else { n.to_string().repeat(if n == 8 { 20_000 } else { 1 }) };
        for n in 0..70 {
            clients[n % 2].try_send(payload(n).as_bytes()).unwrap();
        }
        let (mut received, mut batches) = (Vec::new(), 0);
        while received.len() < 70 {
            received.extend(receive(&*socket, 64).await.unwrap());
            batches += 1;
        }
        for (n, datagram) in received.iter().enumerate() {
            let (own, route) = (clients[n % 2].local_addr().unwrap(), &datagram.route);
            assert_eq!(datagram.payload, payload(n), "{listen}");
            let Address::Inet(peer) = route.peer else { panic!("{route:?}") };
            assert_eq!((peer.ip().to_canonical(), peer.port()), (own.ip(), own.port()), "{listen}");
            let local = route.local_ip.map(|ip| ip.to_canonical());
            assert_eq!(local, is_wildcard.then_some(to[n % 2]), "{listen}");
        }
        assert!(batches <= 8, "{listen}: {batches} batches");
        assert!(poll!(pin!(receive(&*socket, 64))).is_pending(), "{listen}");
    }
}

#[tokio::test]
async fn a_datagram_after_an_incomplete_batch_is_received() {
    for (listen, to) in servers() {
        let socket = bind(&listen, None).await;
        let client = client(to[0], port(&*socket)).await;
        for n in 0..100_usize {
            let count = 1 + n % 5; // completes some batches and not others
            for _ in 0..count {
                client.send(n.to_string().as_bytes()).await.unwrap();
            }
            let mut received = Vec::new();
            while received.len() < count {
                received.extend(receive(&*socket, 1 + n % 7).await.unwrap());
            }
            assert!(received.iter().all(|datagram| datagram.payload == n.to_string()), "{listen}: {received:?}");
        }
    }
}

#[tokio::test]
async fn a_receive_error_does_not_hide_the_datagrams_behind_it() {
    let closed = "127.0.0.1:1".parse().unwrap(); // no test binds the port
    for round in 0..3 {
        // A new socket each time: poll(2) also reports the errors in the queue of an older one.
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        setsockopt(&socket, sockopt::Ipv4RecvErr, &true).unwrap(); // the kernel then reports ICMP errors (ip(7))
        let handle = socket.try_clone().unwrap();
        let socket = bind("udp://127.0.0.1:0", Some(socket.into())).await;
        let client = client([127, 0, 0, 1].into(), port(&*socket)).await;
        socket.try_send(b"x", &Route::new(Address::Inet(closed), None)).unwrap();
        let mut waiting = [PollFd::new(handle.as_fd(), PollFlags::empty())]; // reports POLLERR (poll(2))
        let timeout = PollTimeout::try_from(TEST_TIMEOUT).unwrap();
        assert_eq!(nix::poll::poll(&mut waiting, timeout).unwrap(), 1);
        for n in 0..=round {
            client.send(n.to_string().as_bytes()).await.unwrap();
        }
        assert_eq!(receive(&*socket, 64).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        let mut received = Vec::new();
        while received.len() <= round {
            received.extend(receive(&*socket, 64).await.unwrap());
        }
        assert!(received.iter().enumerate().all(|(n, datagram)| datagram.payload == n.to_string()), "{received:?}");
    }
}

/// Sends as the driver does: the result of each call. A datagram that fails is skipped.
fn send_all(socket: &dyn DatagramSocket, mut datagrams: &[Datagram]) -> Vec<Result<usize, io::ErrorKind>> {
    let mut results = Vec::new();
    while !datagrams.is_empty() {
        let result = socket.try_send_batch(datagrams);
        results.push(result.as_ref().copied().map_err(io::Error::kind));
        match result {
            Ok(sent) => datagrams = &datagrams[sent..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(_) => datagrams = &datagrams[1..],
        }
    }
    results
}

#[tokio::test]
async fn a_datagram_that_cannot_be_sent_fails_alone() {
    for (listen, to) in servers() {
        let socket = bind(&listen, None).await;
        let client = client(to[0], port(&*socket)).await;
        client.send(b"hello").await.unwrap();
        let route = receive(&*socket, 1).await.unwrap().remove(0).route;
        let large = Datagram::new(route.clone(), vec![b'x'; 65_528].into());
        let mut refused = vec![large];
        if listen.contains("127.0.0.1") {
            // A limited broadcast without SO_BROADCAST (socket(7)), and an address of no loopback network.
            let to = |to: &str| Datagram::new(Route::new(Address::Inet(to.parse().unwrap()), None), "x".into());
            refused.extend([to("255.255.255.255:9999"), to("192.0.2.1:9999")]);
        }
        for refused in refused {
            let good = |text: &'static str| Datagram::new(route.clone(), text.into());
            let bad = || refused.clone();
            let cases = [
                (vec![good("a"), good("b"), bad(), good("c")], vec![2, 0, 1]),
                (vec![bad(), good("a"), bad(), bad(), good("b"), good("c")], vec![0, 1, 0, 0, 2]),
                (vec![good("a"), good("b"), good("c"), bad()], vec![3, 0]),
            ];
            for (datagrams, expected) in cases {
                let results = send_all(&*socket, &datagrams);
                let sent: Vec<usize> = results.iter().map(|result| result.unwrap_or(0)).collect();
                assert_eq!(sent, expected, "{listen} {:?}: {results:?}", refused.route);
                for text in ["a", "b", "c"] {
                    assert_eq!(next(&client).await, text, "{listen}");
                }
            }
        }
    }
}

#[tokio::test]
async fn datagrams_of_a_batch_are_sent_from_their_own_address() {
    let socket = bind("udp://0.0.0.0:0", None).await;
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let from = [1, 1, 2, 1, 3, 3, 3].map(|last| IpAddr::from([127, 0, 0, last]));
    let to = Address::Inet(peer.local_addr().unwrap());
    let datagrams = from.map(|from| Datagram::new(Route::new(to.clone(), Some(from)), "x".into()));
    assert_eq!(send_all(&*socket, &datagrams), [Ok(2), Ok(1), Ok(1), Ok(3)]);
    for expected in from {
        let (_, source) = timeout(TEST_TIMEOUT, peer.recv_from(&mut [0; 10])).await.unwrap().unwrap();
        assert_eq!(source.ip(), expected);
    }
    let datagrams = vec![Datagram::new(Route::new(to, None), "x".into()); 40];
    assert_eq!(send_all(&*socket, &datagrams), [Ok(32), Ok(8)]);
}

#[test]
fn a_batch_stops_at_a_full_socket_buffer_and_the_rest_can_be_sent_later() {
    in_own_network(|| {
        add_interface();
        let test = async {
            for (listen, neighbor) in [("10.77.0.1", "10.77.0.98"), ("0.0.0.0", "10.77.0.99")] {
                // Datagrams to a neighbor that does not answer stay in the socket buffer (arp(7)).
                let socket = std::net::UdpSocket::bind((listen, 0)).unwrap();
                setsockopt(&socket, sockopt::SndBuf, &1).unwrap(); // the minimum
                let socket = bind(&format!("udp://{listen}:0"), Some(socket.into())).await;
                let route = Route::new(Address::Inet(format!("{neighbor}:9999").parse().unwrap()), None);
                let datagrams = vec![Datagram::new(route, vec![b'x'; 1000].into()); 32];
                let results = send_all(&*socket, &datagrams);
                assert_eq!(results.last(), Some(&Err(io::ErrorKind::WouldBlock)), "{results:?}");
                let mut sent: usize = results.iter().flatten().sum();
                assert!((1..32).contains(&sent), "{results:?}");
                ip(&format!("neighbor replace {neighbor} lladdr 02:00:00:00:00:01 dev sw0 nud permanent"));
                while sent < datagrams.len() {
                    let ready = timeout(TEST_TIMEOUT, poll_fn(|cx| socket.poll_send_ready(cx))).await;
                    ready.expect("the socket has room again").unwrap();
                    sent += send_all(&*socket, &datagrams[sent..]).iter().flatten().sum::<usize>();
                }
            }
        };
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    });
}

/// Echoes. `large` is answered with more than a datagram can hold, and `push` with a reply and two frames behind it.
struct Answering;

impl Handler for Answering {
    type State = ();

    async fn message(&self, cx: &mut Context, message: Bytes) -> Result<Reply> {
        match &*message {
            b"large" => {
                cx.validate_address();
                return Ok(Reply::send(vec![b'x'; 65_528]));
            }
            b"push" => ["first", "second"].into_iter().try_for_each(|frame| cx.pusher().try_push(frame))?,
            _ => {}
        }
        Ok(Reply::send(message))
    }
}

/// The outcomes of messages that have a count, and the bytes that were sent.
fn counts(server: &Running) -> (Vec<(&'static str, u64)>, u64) {
    let report = server.report().remove(0);
    let counted = report.messages.iter().filter(|(_, count)| *count > 0);
    (counted.map(|(outcome, count)| (outcome.as_str(), *count)).collect(), report.bytes_out)
}

#[tokio::test]
async fn replies_to_a_burst_keep_the_order_of_each_peer() {
    let several = ("udp://localhost:0".to_owned(), ["127.0.0.1".parse().unwrap(); 2]);
    for (listen, to) in servers().chain([several]) {
        let server = Server::bind(&*listen).start(Answering).await.unwrap();
        let at = server.address().unwrap().port().unwrap();
        let mut peers = Vec::new();
        for n in 0..4 {
            peers.push(client(to[n % 2], at).await);
        }
        for n in 0..200 {
            // The server runs in this task, so all datagrams wait for it together.
            let question = if n == 101 { "large".to_owned() } else { format!("{n:05}") };
            peers[n % 4].try_send(question.as_bytes()).unwrap();
        }
        for n in (0..200).filter(|n| *n != 101) {
            assert_eq!(next(&peers[n % 4]).await, format!("{n:05}"), "{listen}");
        }
        server.drain().await;
        assert_eq!(counts(&server), (vec![("ok", 200), ("dropped", 1)], 199 * 5), "{listen}");
    }
}

/// A scripted socket, which is also its own transport.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    arrived: VecDeque<Datagram>,
    /// Datagrams that the send buffer has room for.
    room: usize,
    /// A peer to which nothing can be sent.
    unreachable: Option<Address>,
    sent: Vec<String>,
    /// How many datagrams each call has sent.
    calls: Vec<usize>,
    receiver: Option<Waker>,
    sender: Option<Waker>,
}

impl Scripted {
    fn new(room: usize) -> Self {
        let script = Self::default();
        script.0.lock().unwrap().room = room;
        script
    }

    /// Datagrams with numbers, from peers in turn.
    fn arrive(&self, numbers: impl IntoIterator<Item = usize>, peers: usize) -> &Self {
        let datagram = |n: usize| Datagram::new(Route::new(peer(n % peers), None), n.to_string().into());
        self.deliver(numbers.into_iter().map(datagram))
    }

    fn deliver(&self, datagrams: impl IntoIterator<Item = Datagram>) -> &Self {
        let mut script = self.0.lock().unwrap();
        script.arrived.extend(datagrams);
        script.receiver.take().into_iter().for_each(Waker::wake);
        drop(script);
        self
    }

    fn has_room(&self, room: usize) {
        let mut script = self.0.lock().unwrap();
        script.room = room;
        script.sender.take().into_iter().for_each(Waker::wake);
    }

    /// What was sent since the last call, and by which calls, when the server is idle.
    async fn sent(&self) -> (Vec<String>, Vec<usize>) {
        sleep(secs(1)).await; // paused time advances only when every task is idle
        let mut script = self.0.lock().unwrap();
        (std::mem::take(&mut script.sent), std::mem::take(&mut script.calls))
    }

    fn server(&self) -> Server {
        Server::bind("scripted:").transport(self.clone())
    }
}

fn peer(n: usize) -> Address {
    Address::Inet(SocketAddr::from(([192, 0, 2, 1], 4000 + n as u16)))
}

fn numbers(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(|n| n.to_string()).collect()
}

#[async_trait]
impl Transport for Scripted {
    fn schemes(&self) -> Vec<SchemeInfo> {
        vec![SchemeInfo::new("scripted", "scripted datagrams", Kind::Datagram)]
    }

    async fn bind(&self, _: Bind) -> io::Result<Listener> {
        Ok(Listener::Datagram(Box::new(self.clone())))
    }
}

impl DatagramSocket for Scripted {
    fn poll_receive(&self, _: &mut TaskContext<'_>, _: &mut BytesMut) -> Poll<io::Result<Route>> {
        panic!("the driver receives batches");
    }

    fn poll_receive_batch(
        &self,
        cx: &mut TaskContext<'_>,
        _: &mut BytesMut,
        max: usize,
        datagrams: &mut Vec<Datagram>,
    ) -> Poll<io::Result<()>> {
        let mut script = self.0.lock().unwrap();
        if script.arrived.is_empty() {
            script.receiver = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = script.arrived.len().min(max);
        datagrams.extend(script.arrived.drain(..count));
        Poll::Ready(Ok(()))
    }

    fn try_send(&self, payload: &[u8], route: &Route) -> io::Result<()> {
        self.try_send_batch(&[Datagram::new(route.clone(), payload.to_vec().into())]).map(drop)
    }

    fn try_send_batch(&self, datagrams: &[Datagram]) -> io::Result<usize> {
        let script = &mut *self.0.lock().unwrap();
        let mut count = 0;
        for Datagram { route, payload, .. } in datagrams {
            let error = match script {
                Script { unreachable, .. } if unreachable.as_ref() == Some(&route.peer) => {
                    io::ErrorKind::HostUnreachable
                }
                Script { room: 0, .. } => io::ErrorKind::WouldBlock,
                _ => {
                    script.room -= 1;
                    script.sent.push(String::from_utf8(payload.to_vec()).unwrap());
                    count += 1;
                    continue;
                }
            };
            if count == 0 {
                return Err(error.into());
            }
            break;
        }
        script.calls.push(count);
        Ok(count)
    }

    fn poll_send_ready(&self, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        let mut script = self.0.lock().unwrap();
        if script.room > 0 {
            return Poll::Ready(Ok(()));
        }
        script.sender = Some(cx.waker().clone());
        Poll::Pending
    }

    fn endpoint(&self) -> Endpoint {
        "scripted:".parse().unwrap()
    }

    fn local(&self) -> Address {
        Address::Named("scripted".into())
    }
}

#[tokio::test(start_paused = true)]
async fn the_replies_to_received_datagrams_are_sent_together_and_in_order() {
    let socket = Scripted::new(usize::MAX);
    let _server = socket.server().start(Echo).await.unwrap();
    for (count, calls) in [(1, vec![1]), (2, vec![2]), (32, vec![32]), (50, vec![32, 18]), (65, vec![32, 32, 1])] {
        let sent = socket.arrive(0..count, 5).sent().await;
        assert_eq!(sent, (numbers(0..count), calls));
    }
}

#[tokio::test(start_paused = true)]
async fn pushed_frames_follow_the_replies_of_their_batch() {
    let socket = Scripted::new(usize::MAX);
    let _server = socket.server().start(Answering).await.unwrap();
    let question = |text: &'static str| Datagram::new(Route::new(peer(0), None), text.into());
    let (sent, calls) = socket.deliver([question("push"), question("x"), question("y")]).sent().await;
    assert_eq!(sent, ["push", "x", "y", "first", "second"]);
    assert_eq!(calls, [3, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_cannot_be_sent_is_counted_and_delays_no_other() {
    let socket = Scripted::new(usize::MAX);
    socket.0.lock().unwrap().unreachable = Some(peer(2));
    let server = socket.server().start(Echo).await.unwrap();
    let (sent, calls) = socket.arrive(0..10, 5).sent().await;
    assert_eq!(sent, numbers((0..10).filter(|n| n % 5 != 2)));
    assert_eq!(calls, [2, 4, 2]);
    assert_eq!(counts(&server), (vec![("ok", 10), ("dropped", 2)], 8));
    let (sent, _) = socket.arrive([2, 3], 5).sent().await;
    assert_eq!(sent, ["3"]);
    let (sent, _) = socket.arrive([2], 5).sent().await;
    assert!(sent.is_empty());
    assert_eq!(counts(&server), (vec![("ok", 13), ("dropped", 4)], 9));
}

#[tokio::test(start_paused = true)]
async fn the_outbox_limits_what_waits_for_a_full_socket_buffer() {
    for outbox in [1, 4, 7, 256] {
        for room in [0, 3] {
            let socket = Scripted::new(room);
            let server = socket.server().limits(limits(|l| l.outbox = outbox)).start(Echo).await.unwrap();
            let (sent, _) = socket.arrive(0..10, 3).sent().await;
            assert_eq!(sent, numbers(0..room), "outbox {outbox}");
            // The newest datagrams are dropped. Those that arrive later find the outbox as it is.
            let waiting = outbox.min(10 - room);
            socket.arrive(10..12, 3).sent().await;
            let also = outbox.saturating_sub(waiting).min(2);
            socket.has_room(1);
            let (sent, calls) = socket.sent().await;
            assert_eq!((sent, calls), (numbers([room]), vec![1]), "outbox {outbox}");
            socket.has_room(usize::MAX);
            let (sent, calls) = socket.sent().await;
            assert_eq!(sent, numbers((room + 1..room + waiting).chain(10..10 + also)), "outbox {outbox}");
            assert!(calls.len() <= 1, "outbox {outbox}: {calls:?}");
            let bytes = (room + waiting + 2 * also) as u64;
            let dropped = 12 - (room + waiting + also) as u64;
            let mut outcomes = vec![("ok", 12)];
            outcomes.extend((dropped > 0).then_some(("dropped", dropped)));
            assert_eq!(counts(&server), (outcomes, bytes), "outbox {outbox}, room {room}");
            assert_eq!(socket.arrive([20], 3).sent().await, (numbers([20]), vec![1]), "outbox {outbox}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_sends_the_replies_that_wait_for_the_socket_buffer() {
    let socket = Scripted::new(5);
    let server = socket.server().start(Echo).await.unwrap();
    let (sent, _) = socket.arrive(0..40, 3).sent().await;
    assert_eq!(sent, numbers(0..5));
    socket.arrive(40..50, 3);
    let (drained, (sent, _)) = tokio::join!(server.drain(), async {
        sleep(secs(1)).await;
        socket.has_room(usize::MAX);
        socket.sent().await
    });
    assert_eq!((sent, drained.cut), (numbers(5..50), 0));
}

#[tokio::test(start_paused = true)]
async fn a_reload_during_a_burst_loses_no_datagram() {
    let socket = Scripted::new(10);
    let mut registry = Registry::new();
    registry.handler("echo", |_: NoOptions| Ok(Echo));
    let handler = registry.handler_entry("echo").unwrap().build(serde_json::json!({})).unwrap();
    let listeners = |frame: usize| {
        let mut transports = Transports::default();
        transports.add(socket.clone());
        let mut listeners = ListenerSet::new(transports);
        let spec = ListenerSpec::new("main", "scripted:".parse::<Endpoint>().unwrap());
        listeners.listen(spec.limits(limits(|l| (l.frame, l.outbox) = (frame, 1000))), &handler);
        listeners
    };
    let server = listeners(100).start().await.unwrap();
    for round in 0..4 {
        socket.arrive(0..150, 7);
        server.reload(listeners(200 + round)).await.unwrap();
        socket.arrive(150..300, 7);
        tokio::task::yield_now().await;
        socket.has_room(usize::MAX);
        let (mut sent, _) = socket.sent().await;
        sent.sort_by_key(|number| number.parse::<usize>().unwrap());
        assert_eq!(sent, numbers(0..300));
        socket.has_room(10);
    }
}
