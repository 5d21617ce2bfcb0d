//! Admission by client address: access lists, connection limits and rates.

use std::io::Read;
use std::net::SocketAddr;

use harness::{Client, Program, uninterrupted};
use socket2::{Domain, Socket, Type};
use switchboard::prelude::*;
use switchboard::settings::{Limits, Rate, Rates};
use switchboard::transport::memory;
use switchboard::{Access, Address, Networks, ProxySettings};
use tokio::io::AsyncWriteExt;
use tokio::net::{UdpSocket, UnixStream};
use tokio::time::advance;

use crate::support::{MemClient, Probe, Served, limits, millis, secs, serve_with, timeouts};

/// The route of a client to the server.
#[derive(Debug, Clone, Copy)]
enum Origin {
    /// Connects from this address.
    Direct(&'static str),
    /// Connects from a proxy at the first address, whose header names the second as the client.
    ViaProxy(&'static str, &'static str),
    /// Connects from a proxy that sends no header, so the handshake does not complete.
    Stalled,
}

/// The header that completes a stalled handshake.
const HEADER: &str = "PROXY UNKNOWN\r\n";

fn address(text: &str) -> Address {
    Address::Inet(text.parse::<SocketAddr>().unwrap())
}

fn networks(texts: &[&str]) -> Networks {
    texts.iter().map(|text| text.parse::<switchboard::settings::Network>().unwrap()).collect()
}

/// A server with a probe, and clients from any address.
struct TestServer {
    running: Running,
    name: String,
    probe: Probe,
}

impl TestServer {
    async fn new(set: impl FnOnce(Server<Lines>) -> Server<Lines>) -> Self {
        let Served { running, name, probe } = serve_with(Probe::default(), set).await;
        Self { running, name, probe }
    }

    /// A server that trusts the proxies in 10.0.0.0/8.
    async fn behind_proxies(set: impl FnOnce(Server<Lines>) -> Server<Lines>) -> Self {
        let settings = ProxySettings::default().trusted(networks(&["10.0.0.0/8"]));
        Self::new(|server| set(server.proxy(settings))).await
    }

    async fn connect(&self, origin: Origin) -> MemClient {
        let (from, header) = match origin {
            Origin::Direct(peer) => (peer, None),
            Origin::ViaProxy(proxy, client) => {
                let (ip, port) = client.rsplit_once(':').unwrap();
                (proxy, Some(format!("PROXY TCP4 {ip} 203.0.113.1 {port} 443\r\n")))
            }
            Origin::Stalled => ("10.0.0.1:1", None),
        };
        let mut client = Client(memory::connect_from(&self.name, from.parse::<SocketAddr>().unwrap()).await.unwrap());
        if let Some(header) = header {
            let _ = client.0.write_all(header.as_bytes()).await; // a rejected client may be disconnected before the write
        }
        client
    }

    async fn expect_accepted(&self, origin: Origin) -> MemClient {
        let mut client = self.connect(origin).await;
        client.send("hi\n").await.expect("hi\n").await;
        client
    }

    async fn expect_rejected(&self, origin: Origin) {
        let opened = self.probe.calls().iter().filter(|call| *call == "open").count();
        self.connect(origin).await.expect_end().await;
        assert_eq!(self.probe.calls().iter().filter(|call| *call == "open").count(), opened, "{origin:?}");
    }

    async fn with_limits(change: impl FnOnce(&mut Limits)) -> Self {
        Self::new(|server| server.limits(limits(change))).await
    }
}

#[tokio::test(start_paused = true)]
async fn denied_clients_and_clients_not_on_the_allow_list_reach_no_handler() {
    let access = Access::default().allow(networks(&["192.0.2.0/24", "2001:db8::/32"])).deny(networks(&["192.0.2.66"]));
    let server = TestServer::new(|server| server.access(access)).await;
    for peer in ["192.0.2.1:1", "[::ffff:192.0.2.2]:1", "[2001:db8::1]:1"] {
        server.expect_accepted(Origin::Direct(peer)).await;
    }
    for peer in ["192.0.2.66:1", "[::ffff:192.0.2.66]:1", "198.51.100.1:1", "[2001:db9::1]:1"] {
        server.expect_rejected(Origin::Direct(peer)).await;
    }
    server.expect_accepted(Origin::Direct("192.0.2.1:2")).await;
}

#[tokio::test(start_paused = true)]
async fn concurrent_connections_per_source_are_limited_and_slots_are_released() {
    let server = TestServer::with_limits(|limits| limits.connections_per_source = 2).await;
    let first = server.expect_accepted(Origin::Direct("192.0.2.1:1")).await;
    let _second = server.expect_accepted(Origin::Direct("[::ffff:192.0.2.1]:2")).await;
    for port in 3..10 {
        server.expect_rejected(Origin::Direct("192.0.2.1:3")).await;
        assert_eq!(server.running.open(), 2, "{port}");
    }
    let _other = server.expect_accepted(Origin::Direct("192.0.2.2:1")).await;
    // A /64 of IPv6 is one source.
    let _sixth = (
        server.expect_accepted(Origin::Direct("[2001:db8::1]:1")).await,
        server.expect_accepted(Origin::Direct("[2001:db8::2]:1")).await,
    );
    server.expect_rejected(Origin::Direct("[2001:db8::3]:1")).await;
    let _neighbour = server.expect_accepted(Origin::Direct("[2001:db8:0:1::3]:1")).await;
    drop(first);
    server.probe.called("close", 1).await;
    while server.running.open() > 5 {
        tokio::task::yield_now().await;
    }
    let _third = server.expect_accepted(Origin::Direct("192.0.2.1:4")).await;
    server.expect_rejected(Origin::Direct("192.0.2.1:5")).await;
}

#[tokio::test(start_paused = true)]
async fn the_connection_rate_per_source_is_limited() {
    let mut rates = Rates::default();
    (rates.connections_per_source, rates.burst) = (Rate::per_second(10), 3);
    let server = TestServer::new(|server| server.rates(rates)).await;
    for _ in 0..3 {
        server.expect_accepted(Origin::Direct("192.0.2.1:1")).await;
    }
    server.expect_rejected(Origin::Direct("192.0.2.1:1")).await;
    server.expect_accepted(Origin::Direct("192.0.2.2:1")).await;
    advance(millis(100)).await;
    server.expect_accepted(Origin::Direct("192.0.2.1:1")).await;
    server.expect_rejected(Origin::Direct("192.0.2.1:1")).await;
}

#[tokio::test(start_paused = true)]
async fn the_oldest_pending_handshake_is_evicted_for_a_new_one() {
    let server = TestServer::behind_proxies(|server| server.limits(limits(|limits| limits.handshakes = 3))).await;
    let mut done = server.connect(Origin::Stalled).await;
    done.send(HEADER).await.send("hi\n").await.expect("hi\n").await;
    let mut slow = Vec::new();
    for _ in 0..5 {
        slow.push(server.connect(Origin::Stalled).await);
        tokio::task::yield_now().await;
    }
    // At most three handshakes run. The two oldest were closed long before the handshake timeout.
    for client in &mut slow[..2] {
        client.expect_end().await;
    }
    for client in &mut slow[2..] {
        client.send(HEADER).await.send("hi\n").await.expect("hi\n").await;
    }
    done.send("still\n").await.expect("still\n").await;
    assert_eq!(server.running.open(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_completed_handshake_is_not_evicted_and_the_connection_drains() {
    let mut finished = 0;
    // The header is sent a little later in each round, so one round completes the handshake at the moment of eviction.
    for turns in 0..12 {
        let server = TestServer::behind_proxies(|server| server.limits(limits(|limits| limits.handshakes = 1))).await;
        let mut first = server.connect(Origin::Stalled).await;
        tokio::task::yield_now().await;
        let _second = server.connect(Origin::Stalled).await;
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        let _ = first.0.write_all(HEADER.as_bytes()).await;
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        if server.probe.calls() == ["open"] {
            finished += 1;
            first.send("hi\n").await.expect("hi\n").await;
            server.running.drain().await;
            first.expect_end().await;
        }
    }
    assert!((1..12).contains(&finished), "{finished}");
}

#[tokio::test(start_paused = true)]
async fn limits_use_the_client_address_from_the_proxy_and_both_are_visible() {
    let access = Access::default().deny(networks(&["192.0.2.66", "10.0.0.1"]));
    let server = TestServer::behind_proxies(|server| {
        let server = server.access(access);
        server.limits(limits(|limits| limits.connections_per_source = 1))
    })
    .await;
    let _first = server.expect_accepted(Origin::ViaProxy("10.0.0.1:1", "192.0.2.1:7")).await;
    let connection = server.probe.connection(0);
    assert_eq!(connection.peer(), &address("192.0.2.1:7"));
    assert_eq!(connection.local(), &address("203.0.113.1:443"));
    assert_eq!(connection.socket_peer(), &address("10.0.0.1:1"));
    assert_eq!(connection.source(), address("192.0.2.1:7").source());
    // The address of the proxy does not count as the source.
    let _second = server.expect_accepted(Origin::ViaProxy("10.0.0.1:1", "192.0.2.2:7")).await;
    server.expect_rejected(Origin::ViaProxy("10.0.0.1:1", "192.0.2.1:8")).await;
    server.expect_rejected(Origin::ViaProxy("10.0.0.1:1", "192.0.2.66:7")).await;
    // A client that bypasses the proxy is rejected before the header is read.
    server.expect_rejected(Origin::Direct("192.0.2.3:1")).await;
    server.expect_rejected(Origin::ViaProxy("192.0.2.3:1", "192.0.2.4:1")).await;
    assert_eq!(server.running.open(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_client_rejected_during_its_handshake_releases_all_slots() {
    let access = Access::default().allow(networks(&["192.0.2.1"]));
    let server = TestServer::behind_proxies(|server| {
        let server = server.access(access);
        server.limits(limits(|limits| (limits.connections, limits.handshakes) = (2, 1)))
    })
    .await;
    for _ in 0..10 {
        server.expect_rejected(Origin::ViaProxy("10.0.0.1:1", "192.0.2.2:1")).await;
    }
    while server.running.open() > 0 {
        tokio::task::yield_now().await;
    }
    server.expect_accepted(Origin::ViaProxy("10.0.0.1:1", "192.0.2.1:1")).await;
    let drained = server.running.drain().await;
    assert_eq!(drained.cut, 0);
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_handshakes_and_a_deadline_ends_them() {
    let server =
        TestServer::behind_proxies(|server| server.timeouts(timeouts(|timeouts| timeouts.handshake = secs(3)))).await;
    let begun = tokio::time::Instant::now();
    server.connect(Origin::Stalled).await.expect_end().await;
    assert_eq!(begun.elapsed(), secs(3));
    let mut slow = server.connect(Origin::Stalled).await;
    tokio::task::yield_now().await;
    let drained = server.running.drain().await;
    assert_eq!((drained.cut, begun.elapsed()), (0, secs(3)));
    slow.expect_end().await;
}

#[tokio::test]
async fn a_unix_client_has_the_credentials_of_its_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let probe = Probe::default();
    let server = Server::bind(format!("unix:{}", path.display())).framing(Lines::default());
    let _running = server.start(probe.clone()).await.unwrap();
    let _client = UnixStream::connect(&path).await.unwrap();
    probe.called("open", 1).await;
    let credentials = probe.connection(0).credentials().unwrap();
    assert_eq!(credentials.uid, nix::unistd::geteuid().as_raw());
    assert_eq!(credentials.gid, nix::unistd::getegid().as_raw());
    assert_eq!(credentials.pid, Some(std::process::id().cast_signed()));
}

#[tokio::test]
async fn a_datagram_from_a_denied_network_is_dropped() {
    let access = Access::default().deny(networks(&["127.0.0.66"]));
    let server = Server::bind("udp://127.0.0.1:0").access(access);
    let running = server.start(switchboard_handlers::Echo).await.unwrap();
    let port = running.address().unwrap().port().unwrap();
    let denied = UdpSocket::bind("127.0.0.66:0").await.unwrap();
    let other = UdpSocket::bind("127.0.0.67:0").await.unwrap();
    for (socket, text) in [(&denied, "denied"), (&other, "accepted")] {
        socket.send_to(text.as_bytes(), ("127.0.0.1", port)).await.unwrap();
    }
    let mut buffer = [0; 100];
    let bytes = other.recv(&mut buffer).await.unwrap();
    assert_eq!(&buffer[..bytes], b"accepted");
    assert!(denied.try_recv(&mut buffer).is_err());
}

/// Connects from a local address and reads the greeting, which is empty if the server closes the connection.
fn greeted(from: [u8; 4], server: &SocketAddr) -> (std::net::TcpStream, Vec<u8>) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&(*server).into()).unwrap();
    let mut stream = std::net::TcpStream::from(socket);
    let mut greeting = vec![0; 100];
    let read = uninterrupted(|| stream.read(&mut greeting)).unwrap_or_default();
    greeting.truncate(read);
    (stream, greeting)
}

#[test]
fn rejections_are_logged_with_their_rule_at_most_once_per_second() {
    let begun = std::time::Instant::now();
    let server = Program::switchboard()
        .args(["--listen", "tcp://127.0.0.1:0", "--set", "access.deny=127.0.0.66,192.0.2.0/24"])
        .args(["--set", "limits.connections_per_source=2"])
        .start();
    let address: SocketAddr = server.socket("main").parse().unwrap();
    for _ in 0..30 {
        assert_eq!(greeted([127, 0, 0, 66], &address).1, b"");
    }
    let _two = [127, 127].map(|first| {
        let (stream, greeting) = greeted([first, 0, 0, 67], &address);
        assert_eq!(greeting, b"welcome!");
        stream
    });
    assert_eq!(greeted([127, 0, 0, 67], &address).1, b"");
    for (reason, rule, peer) in
        [("denied", "access", "127.0.0.66:"), ("limit", "limits.connections_per_source", "127.0.0.67:")]
    {
        let rejected =
            server.wait_for_event(|event| event["message"] == "connection rejected" && event["reason"] == reason);
        assert!(rejected["peer"].as_str().is_some_and(|text| text.starts_with(peer)), "{rejected}");
        assert_eq!(
            (&rejected["listener"], &rejected["rule"], &rejected["count"]),
            (&"main".into(), &rule.into(), &1.into())
        );
    }
    let denied = server.log().iter().filter(|event| event["reason"] == "denied").count() as u64;
    assert!(denied <= 1 + begun.elapsed().as_secs(), "{denied} lines");
    // Rejected connections have no other log event.
    let opened = server.log().iter().filter(|event| event["message"] == "connection opened").count();
    assert_eq!(opened, 2);
}

#[test]
fn the_log_contains_the_credentials_of_a_unix_client() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let server = Program::switchboard().args(["--listen", &format!("unix:{}", path.display())]).start();
    let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let opened = server.wait_for_event(|event| event["message"] == "connection opened" && event["peer"] == "unix:");
    assert_eq!(opened["uid"], nix::unistd::geteuid().as_raw());
}
