//! Unknown clients cannot make handshakes expensive, and cannot keep other clients out of them.

use std::net::SocketAddr;
use std::sync::Arc;

use harness::{Client, Program, unique};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use switchboard::prelude::*;
use switchboard::settings::{Rate, Rates};
use switchboard::transport::memory;
use switchboard::{ProxySettings, TlsSettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{advance, sleep};
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::support::{MemClient, Probe, millis, secs};
use crate::tls::{Authority, tls_connect};

/// A name and a key that sign certificates of others.
struct Entity {
    name: String,
    key: KeyPair,
}

impl Entity {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), key: KeyPair::generate().unwrap() }
    }

    fn params(&self, is_ca: bool) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, &*self.name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if is_ca {
            (params.is_ca, params.extended_key_usages) = (IsCa::Ca(BasicConstraints::Unconstrained), Vec::new());
        }
        params
    }

    /// A certificate of this entity, signed by another.
    fn signed_by(&self, issuer: &Entity) -> CertificateDer<'static> {
        issuer.sign(&self.params(true), &self.key)
    }

    fn sign(&self, params: &CertificateParams, key: &KeyPair) -> CertificateDer<'static> {
        let own = self.params(true);
        params.signed_by(key, &Issuer::from_params(&own, &self.key)).unwrap().der().clone()
    }
}

/// The certificate chain of a client, whose own certificate is signed by `issuer`.
fn client(authority: &Authority, issuer: &Entity, chain: &[CertificateDer<'static>]) -> Arc<ClientConfig> {
    let entity = Entity::new("client");
    let certificate = issuer.sign(&entity.params(false), &entity.key);
    let key = PrivateKeyDer::try_from(entity.key.serialize_der()).unwrap();
    let chain = [&[certificate], chain].concat();
    let certified = CertifiedKey::from_der(chain, key, &ring::default_provider()).unwrap();
    let mut config = authority.client(None);
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(certified));
    Arc::new(config)
}

/// Each entity signs the certificates of all others.
fn sign_each_other(entities: &[Entity]) -> Vec<CertificateDer<'static>> {
    let others = |nth: usize| entities.iter().enumerate().filter(move |(other, _)| *other != nth);
    let signed = entities.iter().enumerate().flat_map(|(nth, one)| others(nth).map(move |(_, by)| one.signed_by(by)));
    signed.collect()
}

fn entities(count: usize, name: impl Fn(usize) -> String) -> Vec<Entity> {
    (0..count).map(|nth| Entity::new(&name(nth))).collect()
}

#[tokio::test]
async fn certificates_that_make_path_building_expensive_are_rejected_before_it_begins() {
    let (authority, root) = (Authority::new(), Entity::new("a root"));
    std::fs::write(authority.path("root.pem"), root.params(true).self_signed(&root.key).unwrap().pem()).unwrap();
    let TlsSettings { certificate, key, .. } = authority.settings();
    let config = authority.path("switchboard.toml");
    let text = format!(
        "[listeners.main]\nlisten = \"tls://127.0.0.1:0\"\nhandler = \"echo\"\n[listeners.main.tls]\ncertificate = \
         {certificate:?}\nkey = {key:?}\nclient_ca = {:?}\n",
        authority.path("root.pem")
    );
    std::fs::write(&config, text).unwrap();
    let server = Program::switchboard().arg("--config").arg(&config).start();
    let address = server.socket("main");

    let root_name = |_: usize| "a root".to_owned();
    let (six, seven) = (entities(6, root_name), entities(7, root_name));
    let (strange, one) = (entities(7, |_| "a stranger".to_owned()), entities(6, |nth| format!("CA {nth}")));
    let line: Vec<_> = one.windows(2).map(|pair| pair[0].signed_by(&pair[1])).collect();
    let mut large = one[0].params(true);
    large.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![0; 40 * 1024])];
    let large = root.sign(&large, &one[0].key);
    let unrelated: Vec<_> =
        entities(8, |nth| format!("unrelated {nth}")).iter().map(|one| one.signed_by(one)).collect();
    let client = |issuer: &Entity, chain: &[CertificateDer<'static>]| client(&authority, issuer, chain);
    let rejected = [
        ("30 certificates that sign each other", client(&six[0], &sign_each_other(&six)), "31 certificates"),
        ("8 unrelated certificates", client(&root, &unrelated), "9 certificates"),
        ("7 keys with the name of the root", client(&seven[0], &around(&seven)), "too many paths"),
        ("7 keys with one other name", client(&strange[0], &around(&strange)), "too many paths"),
        ("3 keys that sign each other", client(&six[0], &sign_each_other(&six[..3])), "too many paths"),
        ("a large certificate", client(&one[0], &[large]), "bytes of certificates"),
    ];
    for (what, config, error) in rejected {
        let io = TcpStream::connect(&address).await.unwrap();
        let peer = io.local_addr().unwrap().to_string();
        if let Ok(mut client) = tls_connect(&config, "localhost", io).await {
            let _ = client.0.write_all(b"hi").await;
            assert!(client.0.read(&mut [0; 10]).await.is_err(), "{what}");
        }
        let event = server.wait_for_event(|event| event["message"] == "connection closed" && event["peer"] == *peer);
        assert_eq!(event["reason"], "handshake", "{what}: {event}");
        assert!(event["error"].as_str().unwrap().contains(error), "{what}: {event}");
    }

    let (line, own) = ([line, vec![one[5].signed_by(&root)]].concat(), root.signed_by(&root));
    let reversed: Vec<_> = line.iter().rev().cloned().collect();
    let (cross, known, unrelated) =
        (one[0].signed_by(&strange[0]), one[0].signed_by(&root), strange[1].signed_by(&strange[1]));
    let accepted = [
        ("no intermediate", client(&root, &[])),
        ("the root is sent too", client(&root, std::slice::from_ref(&own))),
        ("6 intermediates", client(&one[0], &line)),
        ("6 intermediates and the root", client(&one[0], &[line, vec![own]].concat())),
        ("in reverse order", client(&one[0], &reversed)),
        ("cross-signed, the unknown root first", client(&one[0], &[cross, known.clone()])),
        ("an intermediate twice, and an unrelated one", client(&one[0], &[known.clone(), known, unrelated])),
    ];
    for (what, config) in accepted {
        let io = TcpStream::connect(&address).await.unwrap();
        let mut client = tls_connect(&config, "localhost", io).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        client.send(what).await.expect(what).await;
    }
}

/// Each entity signs the next one, and the first one signs the last.
fn around(entities: &[Entity]) -> Vec<CertificateDer<'static>> {
    (0..entities.len()).map(|nth| entities[nth].signed_by(&entities[(nth + 1) % entities.len()])).collect()
}

/// A server with TLS, and clients from any address.
struct Served {
    running: Running,
    name: String,
    config: Arc<ClientConfig>,
}

async fn serve(set: impl FnOnce(Server<Lines>) -> Server<Lines>) -> Served {
    let (authority, name) = (Authority::new(), unique("handshakes"));
    let server = Server::bind(format!("mem:{name}")).framing(Lines::default()).tls(authority.settings());
    let running = set(server).start(Probe::default()).await.unwrap();
    Served { running, name, config: Arc::new(authority.client(None)) }
}

impl Served {
    async fn connect(&self, peer: &str) -> MemClient {
        Client(memory::connect_from(&self.name, peer.parse::<SocketAddr>().unwrap()).await.unwrap())
    }

    /// Waits until the server has accepted this many connections.
    async fn accepted(&self, count: u64) {
        while self.running.report()[0].accepted < count {
            sleep(millis(1)).await;
        }
    }

    async fn expect_echo(&self, client: MemClient) {
        let mut client = tls_connect(&self.config, "localhost", client.0).await.unwrap();
        client.send("hi\n").await.expect("hi\n").await;
    }

    fn rejected(&self, reason: CloseReason) -> u64 {
        self.running.report()[0].rejected.iter().find(|(of, _)| *of == reason).unwrap().1
    }

    fn closed(&self, reason: CloseReason) -> u64 {
        self.running.report()[0].closed.iter().find(|(of, _)| *of == reason).unwrap().1
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_silent_connections_keeps_no_client_of_another_source_out() {
    type Peer = fn(u64) -> String; // the address of the nth connection of a flood
    let floods: [(&str, Peer); 4] = [
        ("one address", |_| "192.0.2.66:1".to_owned()),
        ("ten addresses", |nth| format!("192.0.2.{}:1", 100 + nth % 10)),
        ("one /64", |nth| format!("[2001:db8::{nth:x}]:1")),
        ("an address and its mapped form", |nth| {
            if nth % 2 == 0 { "192.0.2.66:1".to_owned() } else { "[::ffff:192.0.2.66]:1".to_owned() }
        }),
    ];
    for (what, peer) in floods {
        let server = serve(|server| server).await;
        let mut silent = Vec::new();
        for nth in 0..300 {
            silent.push(server.connect(&peer(nth)).await);
        }
        let slow = server.connect("192.0.2.1:1").await;
        let others = [server.connect("192.0.2.2:1").await, server.connect("[2001:db8:1::1]:1").await];
        for nth in 300..1000 {
            silent.push(server.connect(&peer(nth)).await);
        }
        server.accepted(1003).await;
        advance(millis(200)).await;
        server.expect_echo(slow).await;
        for client in others {
            server.expect_echo(client).await;
        }
        server.expect_echo(server.connect("192.0.2.3:1").await).await;
        silent[0].expect_end().await;
        assert!(server.closed(CloseReason::Limit) >= 740, "{what}: {}", server.closed(CloseReason::Limit));
    }
}

#[tokio::test(start_paused = true)]
async fn behind_a_proxy_the_source_in_the_header_loses_its_oldest_handshake() {
    let trusted = ["10.0.0.0/8".parse::<switchboard::settings::Network>().unwrap()].into_iter().collect();
    let server = serve(|server| server.proxy(ProxySettings::default().trusted(trusted))).await;
    let header = |client: &str| format!("PROXY TCP4 {client} 203.0.113.1 1000 443\r\n");
    let mut slow = server.connect("10.0.0.1:1").await;
    slow.send(header("192.0.2.1")).await;
    let mut late = server.connect("10.0.0.1:2").await;
    let mut silent = Vec::new();
    for port in 0..600 {
        let mut client = server.connect(&format!("10.0.0.1:{port}")).await;
        client.send(header("192.0.2.66")).await;
        silent.push(client);
        tokio::task::yield_now().await; // the server reads the header
    }
    server.accepted(602).await;
    advance(millis(200)).await;
    server.expect_echo(slow).await;
    late.send(header("192.0.2.2")).await;
    server.expect_echo(late).await;
    silent[0].expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn a_source_whose_handshakes_fail_too_often_is_rejected_and_returns_later() {
    let server = serve(|server| server.rates(Rates::default().failed_handshakes_per_source(Rate::per_second(5)))).await;
    let beginnings: [&[u8]; 4] = [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello", b"", b"\x80"];
    for nth in 0..5 {
        let mut client = server.connect("192.0.2.66:1").await;
        client.send(beginnings[nth % beginnings.len()]).await.half_close().await;
        client.rest().await;
    }
    while server.closed(CloseReason::Handshake) < 5 {
        sleep(millis(1)).await;
    }
    server.connect("192.0.2.66:2").await.expect_end().await;
    assert_eq!(server.rejected(CloseReason::Rate), 1);
    server.expect_echo(server.connect("192.0.2.1:1").await).await;
    advance(secs(2)).await;
    server.expect_echo(server.connect("192.0.2.66:3").await).await;
    // Completed handshakes do not count.
    for _ in 0..20 {
        server.expect_echo(server.connect("192.0.2.1:1").await).await;
    }
    assert_eq!(server.rejected(CloseReason::Rate), 1);
}

#[tokio::test(start_paused = true)]
async fn by_default_failed_handshakes_are_limited_and_a_rate_of_zero_turns_the_limit_off() {
    for (rate, rejected) in [(None, true), (Some(Rate::default()), false), (Some(Rate::per_second(200)), false)] {
        let rates = rate.map_or_else(Rates::default, |rate| Rates::default().failed_handshakes_per_source(rate));
        let server = serve(|server| server.rates(rates)).await;
        for _ in 0..100 {
            let mut client = server.connect("192.0.2.66:1").await;
            let _ = client.0.write_all(b"GET / HTTP/1.1\r\n\r\n").await;
            client.rest().await;
        }
        assert_eq!(server.rejected(CloseReason::Rate) > 0, rejected, "{rate:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn connections_that_a_proxy_opens_without_a_header_do_not_count_as_failures_of_the_proxy() {
    let trusted = ["10.0.0.0/8".parse::<switchboard::settings::Network>().unwrap()].into_iter().collect();
    let server = serve(|server| server.proxy(ProxySettings::default().trusted(trusted))).await;
    for _ in 0..200 {
        drop(server.connect("10.0.0.1:1").await); // a check of the port
    }
    server.accepted(200).await;
    let mut client = server.connect("10.0.0.1:1").await;
    client.send("PROXY TCP4 192.0.2.1 203.0.113.1 1000 443\r\n").await;
    server.expect_echo(client).await;
    assert_eq!(server.rejected(CloseReason::Rate), 0);
}
