//! Bans and strikes: by effective address, on streams and datagrams, for new and open connections.

use std::net::SocketAddr;
use std::time::Duration;

use harness::{Client, TEST_TIMEOUT, unique};
use switchboard::bans::{BanOrigin, Bans, NewBan};
use switchboard::prelude::*;
use switchboard::server::ListenerSpec;
use switchboard::settings::{BanSettings, Network, Rate, StrikeWeights};
use switchboard::transport::{Transports, memory};
use switchboard::{Access, Networks, ProxySettings};
use tokio::io::AsyncWriteExt;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::MemClient;

/// Runs the command in each message, and sends the close reasons.
#[derive(Clone)]
struct Striker(mpsc::Sender<CloseReason>);

impl Handler for Striker {
    type State = ();

    async fn message(&self, cx: &mut Context, message: Bytes) -> Result<Reply> {
        match &*message {
            b"strike" => cx.strike(1),
            b"validate" => cx.validate_address(),
            b"error" => return Err("requested".into()),
            b"large" => return Ok(Reply::send("z".repeat(100_000)).then_finish()),
            _ => {}
        }
        Ok(Reply::send(message))
    }

    async fn close(&self, _: &mut Context, reason: CloseReason) {
        let _ = self.0.send(reason).await;
    }
}

fn network(text: &str) -> Network {
    text.parse().unwrap()
}

fn networks(texts: &[&str]) -> Networks {
    texts.iter().map(|text| network(text)).collect()
}

/// Two strikes in an hour are accepted.
fn strikes() -> Bans {
    Bans::new(BanSettings::default().strikes(Rate::per_hour(2)))
}

fn ban(bans: &Bans, text: &str) {
    bans.add(NewBan::new(network(text))).unwrap();
}

struct TestServer {
    running: Running,
    name: String,
    reasons: mpsc::Receiver<CloseReason>,
}

impl TestServer {
    async fn start(set: impl FnOnce(Server<Lines>) -> Server<Lines>) -> Self {
        let (name, (sender, reasons)) = (unique("bans"), mpsc::channel(100));
        let server = set(Server::bind(format!("mem:{name}")).framing(Lines::default()));
        Self { running: server.start(Striker(sender)).await.unwrap(), name, reasons }
    }

    async fn behind_proxies(bans: Bans) -> Self {
        let settings = ProxySettings::default().trusted(networks(&["10.0.0.0/8"]));
        Self::start(|server| server.proxy(settings).bans(bans)).await
    }

    async fn connect(&self, from: &str) -> MemClient {
        Client(memory::connect_from(&self.name, from.parse::<SocketAddr>().unwrap()).await.unwrap())
    }

    /// A client behind the proxy, which sends this header. The server may reject it before the write.
    async fn via_proxy(&self, header: &[u8]) -> MemClient {
        let mut client = self.connect("10.0.0.1:7").await;
        let _ = client.0.write_all(header).await;
        client
    }

    async fn reason(&mut self) -> CloseReason {
        timeout(TEST_TIMEOUT, self.reasons.recv()).await.unwrap().unwrap()
    }

    fn rejected(&self, reason: CloseReason) -> u64 {
        self.running.report()[0].rejected.iter().find(|(rejected, _)| *rejected == reason).unwrap().1
    }

    fn closed(&self, reason: CloseReason) -> u64 {
        self.running.report()[0].closed.iter().find(|(closed, _)| *closed == reason).unwrap().1
    }

    /// Waits until a count is reached. The connection is counted after its client sees the end.
    async fn until(&self, mut is_reached: impl FnMut(&Self) -> bool) {
        let wait = async {
            while !is_reached(self) {
                tokio::task::yield_now().await;
            }
        };
        timeout(TEST_TIMEOUT, wait).await.unwrap();
    }
}

async fn served(mut client: MemClient) -> MemClient {
    client.send("hi\n").await.expect("hi\n").await;
    client
}

/// A PROXY header of version 2 for this IPv4 client.
fn v2(client: [u8; 4]) -> Vec<u8> {
    let head = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
    [&head[..], &client, &[192, 0, 2, 9, 0xc3, 0x50, 0x01, 0xbb]].concat()
}

#[tokio::test(start_paused = true)]
async fn a_banned_client_behind_a_proxy_is_rejected_and_its_neighbour_is_served() {
    let mut server = TestServer::behind_proxies(Bans::default()).await;
    let (bad, good) = (v2([198, 51, 100, 7]), v2([198, 51, 100, 8]));
    let mut open = served(server.via_proxy(&bad).await).await;
    let neighbour = served(server.via_proxy(&good).await).await;
    ban(server.running.bans(), "198.51.100.7");
    open.expect_end().await;
    assert_eq!(server.reason().await, CloseReason::Banned);
    server.via_proxy(&bad).await.expect_end().await;
    assert_eq!(server.rejected(CloseReason::Banned), 1);
    served(neighbour).await;
    served(server.via_proxy(&good).await).await;
    server.until(|server| server.closed(CloseReason::Banned) == 1).await;
    server.running.bans().remove(network("198.51.100.7"), None).unwrap();
    served(server.via_proxy(&bad).await).await;
}

#[tokio::test(start_paused = true)]
async fn the_address_of_the_proxy_itself_is_no_client() {
    let server = TestServer::behind_proxies(strikes()).await;
    // A proxy whose header is missing or invalid earns no strikes, and neither do its health checks.
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec();
    let own = v2([10, 0, 0, 1])[..20].to_vec();
    let own = [own, vec![192, 0, 2, 9, 0, 7, 0x01, 0xbb]].concat(); // 10.0.0.1:7, the socket
    for header in [b"nonsense\r\n".to_vec(), b"PROXY UNKNOWN\r\n".to_vec(), local.clone(), own] {
        for _ in 0..3 {
            let mut client = server.via_proxy(&header).await;
            let _ = client.0.write_all(b"strike\n").await;
            client.half_close().await.rest().await;
        }
    }
    assert_eq!(server.running.bans().report().active, 0);
    // A ban of the network of the proxy concerns neither the clients behind it nor its health checks.
    let client = served(server.via_proxy(&v2([198, 51, 100, 7])).await).await;
    let check = served(server.via_proxy(&local).await).await;
    ban(server.running.bans(), "10.0.0.0/8");
    served(client).await;
    served(check).await;
    served(server.via_proxy(&local).await).await;
    server.via_proxy(b"PROXY UNKNOWN\r\n").await.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn an_ipv6_source_is_its_64() {
    let mut server = TestServer::start(|server| server).await;
    let mut open = served(server.connect("[2001:db8::1]:7").await).await;
    let other = served(server.connect("[2001:db8:0:1::1]:7").await).await;
    ban(server.running.bans(), "2001:db8::ffff");
    open.expect_end().await;
    assert_eq!(server.reason().await, CloseReason::Banned);
    server.connect("[2001:db8::2]:7").await.expect_end().await;
    served(other).await;
    ban(server.running.bans(), "192.0.2.0/24");
    server.connect("[::ffff:192.0.2.7]:7").await.expect_end().await;
    server.connect("192.0.2.255:7").await.expect_end().await;
    served(server.connect("192.0.3.0:7").await).await;
}

#[tokio::test(start_paused = true)]
async fn strikes_of_a_handler_ban_the_client_for_longer_each_time() {
    let mut server = TestServer::start(|server| server.bans(strikes())).await;
    let mut neighbours = Vec::new();
    for hours in [1, 2] {
        let mut client = server.connect("192.0.2.7:7").await;
        client.send("strike\nstrike\n").await.expect("strike\nstrike\n").await;
        let mut other = server.connect("192.0.2.7:8").await;
        other.send("strike\n").await.rest().await;
        client.expect_end().await;
        assert_eq!([server.reason().await, server.reason().await], [CloseReason::Banned; 2]);
        let bans = server.running.bans().list(None, 10);
        assert_eq!((bans.len(), bans[0].origin), (1, BanOrigin::Strikes));
        assert_eq!(&*bans[0].reason, "3 strikes, the last for handler");
        assert_eq!(bans[0].time_left().as_secs_f64().round() as u64, hours * 3600);
        neighbours.push(served(server.connect("192.0.2.8:7").await).await);
        tokio::time::advance(bans[0].time_left()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn close_reasons_and_rejections_weigh_as_configured() {
    let weights = StrikeWeights::default().weight(CloseReason::HandlerError, 2).weight(CloseReason::Denied, 3);
    let bans = || Bans::new(BanSettings::default().strikes(Rate::per_hour(2)).weights(weights.clone()));
    let server = TestServer::start(|server| server.bans(bans())).await;
    for _ in 0..2 {
        server.connect("192.0.2.7:7").await.send("error\n").await.rest().await;
    }
    server.until(|server| server.running.bans().report().active == 1).await;
    assert_eq!(&*server.running.bans().list(None, 1)[0].reason, "4 strikes, the last for handler_error");
    let access = Access::default().deny(networks(&["192.0.2.7"]));
    let server = TestServer::start(|server| server.access(access).bans(bans())).await;
    server.connect("192.0.2.7:7").await.expect_end().await;
    assert_eq!(&*server.running.bans().list(None, 1)[0].reason, "3 strikes, the last for denied");
    // A bad frame weighs by default, and a normal end never.
    let server = TestServer::start(|server| server.bans(bans())).await;
    for _ in 0..5 {
        served(server.connect("192.0.2.8:7").await).await.half_close().await.expect_end().await;
    }
    server.until(|server| server.closed(CloseReason::PeerClosed) == 5).await;
    assert_eq!(server.running.bans().report().strikes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_ban_while_the_last_reply_is_written_is_the_close_reason() {
    let mut server = TestServer::start(|server| server.bans(strikes())).await;
    let mut client = server.connect("192.0.2.7:7").await;
    client.send("large\n").await;
    assert_eq!(server.reason().await, CloseReason::HandlerClosed);
    ban(server.running.bans(), "192.0.2.7");
    server.until(|server| server.running.open() == 0).await;
    assert_eq!((server.closed(CloseReason::Banned), server.closed(CloseReason::HandlerClosed)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_allow_list_protects_those_that_it_names() {
    let access = Access::default().allow(networks(&["0.0.0.0/0", "192.0.2.7"]));
    let server = TestServer::start(|server| server.access(access).bans(strikes())).await;
    let mut named = served(server.connect("192.0.2.7:7").await).await;
    let mut other = served(server.connect("192.0.2.8:7").await).await;
    named.send("strike\nstrike\nstrike\nstrike\n").await.expect("strike\nstrike\nstrike\nstrike\n").await;
    assert_eq!(server.running.bans().report().active, 0);
    ban(server.running.bans(), "192.0.2.0/24");
    other.expect_end().await;
    served(named).await;
    served(server.connect("192.0.2.7:9").await).await;
    // 0.0.0.0/0 accepts everybody and protects nobody.
    server.connect("192.0.2.9:7").await.expect_end().await;
    assert_eq!(server.running.listeners_exempting(network("192.0.2.7")), ["main"]);
    assert_eq!(server.running.listeners_exempting(network("192.0.2.0/24")), <[&str; 0]>::default());
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_the_bans_and_changes_their_settings() {
    let set = |bans: Bans, allow: &[&str]| {
        let mut listeners = ListenerSet::new(Transports::default());
        let spec = ListenerSpec::new("main", "mem:bans-reloaded".parse().unwrap());
        let spec = spec.framing(Lines::default()).access(Access::default().allow(networks(allow)));
        listeners.bans(bans).listen(spec, &handler());
        listeners
    };
    fn handler() -> switchboard::registry::HandlerInstance {
        switchboard::registry::HandlerInstance::new(Striker(mpsc::channel(100).0))
    }
    let running = set(Bans::default(), &[]).start().await.unwrap();
    let connect = async |from: &str| {
        Client(memory::connect_from("bans-reloaded", from.parse::<SocketAddr>().unwrap()).await.unwrap())
    };
    ban(running.bans(), "192.0.2.7");
    running.reload(set(strikes(), &[])).await.unwrap();
    connect("192.0.2.7:7").await.expect_end().await;
    connect("192.0.2.8:7").await.send("strike\nstrike\nstrike\n").await.rest().await;
    assert_eq!(running.bans().report().active, 2);
    running.reload(set(Bans::default(), &["0.0.0.0/0", "192.0.2.7"])).await.unwrap();
    served(connect("192.0.2.7:7").await).await;
    connect("192.0.2.8:7").await.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn clients_without_a_network_address_get_no_strikes() {
    let server = TestServer::start(|server| server.bans(strikes())).await;
    let mut client = Client(memory::connect(&server.name).await.unwrap());
    client.send("strike\nstrike\nstrike\n").await.expect("strike\nstrike\nstrike\n").await;
    ban(server.running.bans(), "192.0.2.0/24");
    served(client).await;
}

struct Datagrams {
    running: Running,
    to: SocketAddr,
}

impl Datagrams {
    async fn start(bans: Bans) -> Self {
        let server = Server::bind("udp://127.0.0.1:0").bans(bans);
        let running = server.start(Striker(mpsc::channel(100).0)).await.unwrap();
        let to = running.socket_addr().unwrap();
        Self { running, to }
    }

    async fn client(&self, from: &str) -> UdpSocket {
        let client = UdpSocket::bind((from, 0)).await.unwrap();
        client.connect(self.to).await.unwrap();
        client
    }

    fn sessions(&self) -> usize {
        self.running.report()[0].sessions
    }

    async fn until(&self, is_reached: impl Fn(&Self) -> bool) {
        let wait = async {
            while !is_reached(self) {
                tokio::task::yield_now().await;
            }
        };
        timeout(TEST_TIMEOUT, wait).await.unwrap();
    }
}

async fn exchange(client: &UdpSocket, message: &str) {
    client.send(message.as_bytes()).await.unwrap();
    let mut reply = [0; 100];
    let length = timeout(TEST_TIMEOUT, client.recv(&mut reply)).await.unwrap().unwrap();
    assert_eq!(&reply[..length], message.as_bytes());
}

#[tokio::test]
async fn only_validated_datagram_peers_get_strikes() {
    let server = Datagrams::start(strikes()).await;
    let (client, other) = (server.client("127.0.0.7").await, server.client("127.0.0.8").await);
    for _ in 0..4 {
        exchange(&client, "strike").await;
        client.send(b"error").await.unwrap();
    }
    exchange(&client, "validate").await;
    assert_eq!(server.running.bans().report().strikes, 0, "the source can be forged");
    exchange(&other, "hi").await;
    for _ in 0..2 {
        exchange(&client, "strike").await;
    }
    client.send(b"strike").await.unwrap();
    server.until(|server| server.running.bans().report().active == 1).await;
    assert_eq!(server.running.bans().list(None, 9)[0].network, network("127.0.0.7"));
    server.until(|server| server.sessions() == 1).await;
    exchange(&other, "hi").await;
}

#[tokio::test]
async fn datagrams_of_banned_clients_are_dropped_and_their_peers_forgotten() {
    let server = Datagrams::start(Bans::default()).await;
    let (client, other) = (server.client("127.0.0.7").await, server.client("127.0.0.8").await);
    exchange(&client, "hi").await;
    exchange(&other, "hi").await;
    ban(server.running.bans(), "127.0.0.7");
    server.until(|server| server.sessions() == 1).await;
    client.send(b"dropped").await.unwrap();
    let dropped = |server: &Datagrams| server.running.report()[0].messages.iter().any(|(_, count)| *count == 1);
    server.until(dropped).await;
    exchange(&other, "hi").await;
    server.running.bans().remove(network("127.0.0.7"), None).unwrap();
    exchange(&client, "again").await;
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_bans_are_found_and_cost_one_lookup_per_prefix_length() {
    let server = TestServer::start(|server| server).await;
    let bans = server.running.bans();
    for number in 0..100_000_u32 {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + number);
        bans.add(NewBan::new(network(&address.to_string())).duration(Duration::from_secs(60))).unwrap();
    }
    assert!(bans.add(NewBan::new(network("192.0.2.7"))).unwrap_err().to_string().contains("bans.entries"));
    served(server.connect("192.0.2.7:7").await).await;
    server.connect("10.1.0.0:7").await.expect_end().await;
    tokio::time::advance(Duration::from_secs(60)).await;
    served(server.connect("10.1.0.0:7").await).await;
    bans.add(NewBan::new(network("192.0.2.7"))).unwrap();
}
