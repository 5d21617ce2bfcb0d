//! The PROXY protocol: only trusted proxies set the client address, and direct clients are rejected.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use harness::{Client, Event, Program, free_port, tool, unique};
use switchboard::prelude::*;
use switchboard::settings::{Rate, Rates, Timeouts};
use switchboard::transport::memory;
use switchboard::{Address, Networks, ProxySettings};
use tempfile::TempDir;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use crate::support::{MemClient, Probe, Served, limits, secs, serve_with, timeouts};
use crate::tls::{Authority, tls_connect};

const V1: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.9 50000 443\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A version 2 header for TCP over IPv4 with these TLVs.
fn v2(tlvs: &[u8]) -> Vec<u8> {
    let length = u8::try_from(12 + tlvs.len()).unwrap();
    let addresses = [192, 0, 2, 1, 192, 0, 2, 9, 0xc3, 0x50, 0x01, 0xbb];
    [V2, &[0x21, 0x11, 0, length], &addresses, tlvs].concat()
}

fn local() -> Vec<u8> {
    [V2, &[0x20, 0, 0, 0]].concat()
}

fn trusted(networks: &[&str]) -> ProxySettings {
    let networks = networks.iter().map(|text| text.parse::<switchboard::settings::Network>().unwrap());
    ProxySettings::default().trusted(networks.collect::<Networks>())
}

fn inet(text: &str) -> Address {
    Address::Inet(text.parse().unwrap())
}

async fn behind_a_proxy(change: impl FnOnce(&mut Timeouts)) -> Served {
    serve_with(Probe::default(), |server| server.proxy(trusted(&["10.0.0.0/8"])).timeouts(timeouts(change))).await
}

async fn proxy(served: &Served) -> MemClient {
    Client(memory::connect_from(&served.name, "10.0.0.1:7".parse::<SocketAddr>().unwrap()).await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn the_client_address_is_the_one_in_the_header_and_both_are_visible() {
    for header in [V1.to_vec(), v2(&[])] {
        let served = behind_a_proxy(|_| {}).await;
        proxy(&served).await.send(header).await.send("hi\n").await.expect("hi\n").await;
        let connection = served.probe.connection(0);
        assert_eq!((connection.peer(), connection.local()), (&inet("192.0.2.1:50000"), &inet("192.0.2.9:443")));
        assert_eq!(connection.socket_peer(), &inet("10.0.0.1:7"));
        assert_eq!(connection.source(), inet("192.0.2.1:1").source());
    }
}

#[tokio::test(start_paused = true)]
async fn a_header_is_parsed_for_any_read_sizes_without_losing_or_repeating_bytes() {
    let served = behind_a_proxy(|_| {}).await;
    for header in [V1.to_vec(), v2(&[2, 0, 1, b'h']), local(), b"PROXY UNKNOWN a b\r\n".to_vec()] {
        proxy(&served).await.send([&*header, b"PROXY\n\r\nlast\n"].concat()).await.expect("PROXY\n\nlast\n").await;
        let mut client = proxy(&served).await;
        for byte in [&*header, b"PROXY\n"].concat() {
            client.send([byte]).await;
            tokio::task::yield_now().await;
        }
        client.expect("PROXY\n").await;
    }
}

#[tokio::test(start_paused = true)]
async fn other_fields_of_the_header_are_available_to_the_handler() {
    let served = behind_a_proxy(|_| {}).await;
    let mut client = proxy(&served).await;
    client.send(v2(&[0x02, 0, 4, b'h', b'o', b's', b't', 0x05, 0, 1, 7])).await.send("hi\n").await.expect("hi\n").await;
    let connection = served.probe.connection(0);
    let facts = connection.proxy().unwrap();
    assert_eq!(facts.tlv(0x02).unwrap(), "host");
    assert_eq!(facts.tlvs, [(0x02, "host".into()), (0x05, Bytes::from_static(&[7]))]);
}

#[tokio::test(start_paused = true)]
async fn health_checks_of_the_proxy_pass_the_allow_list() {
    let access = switchboard::Access::default().allow(trusted(&["192.0.2.0/24"]).trusted);
    let served = serve_with(Probe::default(), |server| server.proxy(trusted(&["10.0.0.0/8"])).access(access)).await;
    for header in [local(), V1.to_vec()] {
        proxy(&served).await.send(header).await.send("hi\n").await.expect("hi\n").await;
    }
    // A proxy also sends UNKNOWN for a client whose address it does not know: the address of the proxy must be listed.
    proxy(&served).await.send("PROXY UNKNOWN\r\n").await.expect_end().await;
    let access = switchboard::Access::default().allow(trusted(&["192.0.2.0/24", "10.0.0.1"]).trusted);
    let served = serve_with(Probe::default(), |server| server.proxy(trusted(&["10.0.0.0/8"])).access(access)).await;
    proxy(&served).await.send("PROXY UNKNOWN\r\n").await.send("hi\n").await.expect("hi\n").await;
}

#[tokio::test(start_paused = true)]
async fn limits_and_rates_by_source_do_not_apply_to_connections_that_name_no_client() {
    let own = b"PROXY TCP4 10.0.0.1 10.0.0.2 7 443\r\n".to_vec(); // the socket of the proxy
    let unspecified = b"\r\n\r\n\0\r\nQUIT\n\x21\x00\x00\x00".to_vec();
    for header in [local(), unspecified, b"PROXY UNKNOWN\r\n".to_vec(), b"PROXY UNKNOWN a b c d\r\n".to_vec(), own] {
        let served = serve_with(Probe::default(), |server| {
            let rates = Rates::default().connections_per_source(Rate::per_hour(1));
            let limits = limits(|limits| limits.connections_per_source = 1);
            server.proxy(trusted(&["10.0.0.0/8"])).rates(rates).limits(limits)
        })
        .await;
        let mut checks = Vec::new();
        for _ in 0..5 {
            let mut check = proxy(&served).await;
            check.send(&header).await.send("hi\n").await.expect("hi\n").await;
            checks.push(check);
        }
        // Clients are still limited.
        let mut client = proxy(&served).await;
        client.send(V1).await.send("hi\n").await.expect("hi\n").await;
        proxy(&served).await.send(V1).await.expect_end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_local_header_counts_as_the_address_of_the_proxy() {
    for header in [local(), b"PROXY UNKNOWN 1.1.1.1 2.2.2.2 3 4\r\n".to_vec()] {
        let served = behind_a_proxy(|_| {}).await;
        proxy(&served).await.send(header).await.send("hi\n").await.expect("hi\n").await;
        let connection = served.probe.connection(0);
        assert_eq!((connection.peer(), connection.socket_peer()), (&inet("10.0.0.1:7"), &inet("10.0.0.1:7")));
        assert_eq!(connection.proxy().unwrap().addresses, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_sends_no_header_is_closed_at_the_timeout() {
    let served = behind_a_proxy(|timeouts| timeouts.handshake = secs(4)).await;
    for part in [&b""[..], b"PROXY TCP4 192", &V2[..7], &v2(&[])[..20]] {
        let begun = Instant::now();
        proxy(&served).await.send(part).await.expect_end().await;
        assert_eq!(begun.elapsed(), secs(4));
    }
    assert_eq!(served.probe.calls(), [] as [String; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_broken_or_missing_header_reaches_no_handler() {
    let served = behind_a_proxy(|_| {}).await;
    let begun = Instant::now();
    for bytes in [&b"hi\n"[..], b"PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\nhi\n", &v2(&[1]), b"\r\n\r\n\0\r\nQUIT\n\x11"] {
        proxy(&served).await.send(bytes).await.half_close().await.expect_end().await;
    }
    assert_eq!((served.probe.calls(), begun.elapsed()), (Vec::new(), secs(0)));
    proxy(&served).await.send(V1).await.send("hi\n").await.expect("hi\n").await;
}

#[tokio::test(start_paused = true)]
async fn direct_clients_are_rejected_whatever_they_send() {
    let served = behind_a_proxy(|_| {}).await;
    for bytes in [V1, b"hi\n"] {
        let io = memory::connect_from(&served.name, "192.0.2.1:7".parse::<SocketAddr>().unwrap()).await.unwrap();
        let mut client = Client(io);
        let _ = tokio::io::AsyncWriteExt::write_all(&mut client.0, bytes).await;
        client.expect_end().await;
    }
    assert_eq!(served.probe.calls(), [] as [String; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_second_header_is_client_data() {
    let served = behind_a_proxy(|_| {}).await;
    proxy(&served).await.send([V1, b"PROXY TCP4\n"].concat()).await.expect("PROXY TCP4\n").await;
}

#[tokio::test]
async fn the_header_is_read_before_the_tls_handshake() {
    let authority = Authority::new();
    let (name, probe) = (unique("proxied"), Probe::default());
    let server = Server::bind(format!("mem:{name}")).framing(Lines::default());
    let server = server.tls(authority.settings()).proxy(trusted(&["10.0.0.0/8"]));
    let _running = server.start(probe.clone()).await.unwrap();
    let config = Arc::new(authority.client(None));
    let from: SocketAddr = "10.0.0.1:7".parse().unwrap();
    let mut client = Client(memory::connect_from(&name, from).await.unwrap());
    client.send(v2(&[])).await;
    tls_connect(&config, "localhost", client.0).await.unwrap().send("hi\n").await.expect("hi\n").await;
    let connection = probe.connection(0);
    assert_eq!(connection.peer(), &inet("192.0.2.1:50000"));
    assert!(connection.tls().is_some() && connection.proxy().is_some());
}

#[tokio::test]
async fn datagrams_have_no_header() {
    let server = Server::bind("udp://127.0.0.1:0").proxy(trusted(&["127.0.0.0/8"]));
    let error = server.start(switchboard_handlers::Echo).await.unwrap_err().to_string();
    assert!(error.contains("a PROXY header needs connections"), "{error}");
}

/// HAProxy in front of the program. It listens on 127.0.0.1 and connects from 127.0.0.9, the only trusted address.
struct BehindHaproxy {
    place: TempDir,
    server: harness::Running,
    haproxy: harness::Running,
    at: SocketAddr,
}

impl BehindHaproxy {
    /// Starts both, or returns `None` without HAProxy. `options` are the options of its `server` line.
    fn start(listen: &str, settings: &str, options: &str, authority: Option<&Authority>) -> Option<Self> {
        let haproxy = tool("haproxy")?;
        let place = tempfile::tempdir().unwrap();
        let file = format!(
            "listen = '{listen}'\nhandler = 'echo'\nframing = 'lines'\n{settings}\n\
             [listeners.main.proxy]\ntrusted = ['127.0.0.9']\n[listeners.main.timeouts]\nhandshake = '1s'\n"
        );
        fs::write(place.path().join("switchboard.toml"), file).unwrap();
        let directory = authority.map_or(place.path(), Authority::place);
        let config = place.path().join("switchboard.toml");
        let server = Program::switchboard().args(["serve", "-c"]).arg(config).current_dir(directory).start();
        let at = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let file = format!(
            "defaults\n mode tcp\n timeout connect 10s\n timeout client 60s\n timeout server 60s\n\
             listen front\n bind {at}\n server one {} source 127.0.0.9 {options}\n",
            server.socket("main")
        );
        fs::write(place.path().join("haproxy.cfg"), file).unwrap();
        let haproxy = Program::at(&haproxy).args(["-db", "-f"]).arg(place.path().join("haproxy.cfg"));
        let haproxy = haproxy.ready_at(format!("tcp://{at}")).start();
        Some(Self { place, server, haproxy, at })
    }

    /// Connects from this address, to HAProxy or directly to the program.
    async fn client(&self, from: &str, at: SocketAddr) -> (Client<TcpStream>, String) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        let stream = socket.connect(at).await.unwrap();
        let address = stream.local_addr().unwrap().to_string();
        (Client(stream), address)
    }

    fn behind(&self) -> SocketAddr {
        self.server.socket("main").parse().unwrap()
    }

    fn opened(&self, peer: &str) -> Event {
        self.server.wait_for_event(|event| event["message"] == "connection opened" && event["peer"] == peer)
    }

    /// Stops both before the temporary directory is removed.
    fn end(self) {
        drop((self.haproxy, self.server));
        self.place.close().unwrap();
    }
}

fn is_via_haproxy(event: &Event) -> bool {
    event["proxy"].as_str().is_some_and(|proxy| proxy.starts_with("127.0.0.9:"))
}

#[tokio::test]
async fn haproxy_passes_the_client_address() {
    let versions = ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"];
    for options in versions {
        let Some(front) = BehindHaproxy::start("tcp://127.0.0.1:0", "", options, None) else { return };
        let (mut client, address) = front.client("127.0.0.5", front.at).await;
        client.send("hi\n").await.expect("hi\n").await;
        let opened = front.opened(&address);
        assert!(is_via_haproxy(&opened), "{options}: {opened}");
        front.end();
    }
}

#[tokio::test]
async fn tls_through_haproxy_is_end_to_end_with_the_client() {
    for options in ["send-proxy", "send-proxy-v2"] {
        let authority = Authority::new();
        authority.settings(); // writes the certificate files
        let settings = "[listeners.main.tls]\ncertificate = 'localhost.pem'\nkey = 'localhost.key'";
        let Some(front) = BehindHaproxy::start("tls://127.0.0.1:0", settings, options, Some(&authority)) else {
            return;
        };
        let (client, address) = front.client("127.0.0.5", front.at).await;
        let config = Arc::new(authority.client(None));
        let mut client = tls_connect(&config, "localhost", client.0).await.unwrap();
        client.send("hi\n").await.expect("hi\n").await;
        let opened = front.opened(&address);
        assert!(is_via_haproxy(&opened), "{options}: {opened}");
        front.end();
    }
}

#[tokio::test]
async fn direct_clients_bypassing_haproxy_are_rejected() {
    let Some(front) = BehindHaproxy::start("tcp://127.0.0.1:0", "", "send-proxy-v2", None) else { return };
    let (mut stranger, address) = front.client("127.0.0.5", front.behind()).await;
    assert_eq!(stranger.rest().await, b"");
    let refused = front.server.wait_for_event(|event| event["message"] == "connection rejected");
    assert_eq!((&refused["peer"], &refused["rule"]), (&address.into(), &"proxy.trusted".into()), "{refused}");

    // A trusted peer that sends nothing is closed at the handshake timeout.
    let (mut silent, address) = front.client("127.0.0.9", front.behind()).await;
    silent.expect_end().await;
    let closed =
        front.server.wait_for_event(|event| event["message"] == "connection closed" && event["peer"] == address);
    assert_eq!(closed["reason"], "handshake", "{closed}");

    // A trusted peer that sends no header is closed immediately, and the log shows its first bytes.
    let (mut other, address) = front.client("127.0.0.9", front.behind()).await;
    other.send("hi \x1b\n").await.rest().await;
    let closed =
        front.server.wait_for_event(|event| event["message"] == "connection closed" && event["peer"] == address);
    let wanted = "the PROXY header is missing: the connection begins with \"hi \\x1b\\n\"";
    assert_eq!((&closed["reason"], &closed["error"]), (&"handshake".into(), &wanted.into()), "{closed}");
    front.end();
}

#[tokio::test]
async fn health_checks_of_haproxy_succeed() {
    // A health check sends LOCAL (version 2) or UNKNOWN (version 1), so the peer is the socket of HAProxy.
    for version in ["send-proxy-v2", "send-proxy"] {
        let options = format!("{version} check check-send-proxy inter 50ms fall 1 rise 1");
        health_checks_succeed(&options).await;
    }
}

async fn health_checks_succeed(options: &str) {
    let settings = "log.level = 'debug'\nrate.connections_per_source = '1/h'\nlimits.connections_per_source = 1";
    let Some(front) = BehindHaproxy::start("tcp://127.0.0.1:0", settings, options, None) else { return };
    let checked = front.server.wait_for_event(|event| {
        event["message"] == "connection opened" && is_via_haproxy(event) && event["peer"] == event["proxy"]
    });
    let closed = front
        .server
        .wait_for_event(|event| event["message"] == "connection closed" && event["peer"] == checked["peer"]);
    assert_ne!(closed["reason"], "handshake", "{closed}");
    assert_eq!((&checked["level"], &closed["level"]), (&"DEBUG".into(), &"DEBUG".into()));
    let (mut client, _) = front.client("127.0.0.5", front.at).await;
    client.send("hi\n").await.expect("hi\n").await;
    assert!(!front.haproxy.stderr().contains("DOWN"), "{}", front.haproxy.stderr());
    front.end();
}
