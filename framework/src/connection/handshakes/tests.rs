//! Tests of `connection/handshakes.rs`.

use tokio::time::Instant;

use super::*;
use crate::address::Address;
use crate::connection::{ConnectionTable, Kind, ListenerInfo, ProxyInfo};
use crate::drain::DrainSwitch;

fn connection(peer: &str) -> Connection {
    let (name, drain) = ("main".into(), DrainSwitch::default().signal());
    let open = Arc::new(ConnectionTable::default());
    let (metrics, epoch) = (Arc::default(), Instant::now());
    let info = ListenerInfo { name, drain, metrics, open, debug_log: false, strike_rules: Default::default(), epoch };
    let peer = peer.parse().map_or(Address::Unix(None), Address::Inet);
    Connection::new(Arc::new(info), Kind::Stream, peer, Address::Unix(None), None)
}

/// Begins handshakes of these peers in order. Returns the positions of the aborted ones.
fn aborted(limit: usize, peers: &[&str]) -> Vec<usize> {
    let handshakes = Arc::new(Handshakes::default());
    let connections: Vec<_> = peers.iter().map(|peer| connection(peer)).collect();
    let guards: Vec<_> = connections.iter().map(|connection| handshakes.begin(connection, limit)).collect();
    assert!(handshakes.0.lock().handshakes.len() <= limit);
    drop(guards);
    let in_progress = handshakes.0.lock();
    assert!(in_progress.handshakes.is_empty() && in_progress.by_source.is_empty() && in_progress.ranking.is_empty());
    let is_aborted = |nth: &usize| connections[*nth].current_signal() == ControlSignal::AbortHandshake;
    (0..peers.len()).filter(is_aborted).collect()
}

#[test]
fn the_source_with_most_handshakes_loses_its_oldest() {
    const A: &str = "192.0.2.1:1";
    const A2: &str = "192.0.2.1:2";
    const A_MAPPED: &str = "[::ffff:192.0.2.1]:3";
    const B: &str = "192.0.2.2:1";
    const C: &str = "192.0.2.3:1";
    const N1: &str = "[2001:db8::1]:1";
    const N2: &str = "[2001:db8::2]:1";
    const N3: &str = "[2001:db8::ffff:3]:1";
    const OTHER: &str = "[2001:db8:0:1::1]:1";
    let cases: [(usize, &[&str], &[usize]); 11] = [
        (3, &[A, B, C], &[]),
        (1, &[A, B, C], &[0, 1]),
        (2, &[B, A, A2, A], &[1, 2]),
        (3, &[A, B, B, B, B, B], &[1, 2, 3]),
        (3, &[B, A, A2, A_MAPPED, A], &[1, 2]),
        (3, &[A, A, A, B, C], &[0, 1]),
        (3, &[A, B, C, A, B, C], &[0, 1, 2]),
        (2, &[A, B, C], &[0]),
        (3, &[OTHER, N1, N2, N3, N1], &[1, 2]),
        (2, &[A, "unix", "unix", "unix"], &[1, 2]),
        (4, &[A, B, C, A2, B, C, A], &[0, 1, 2]),
    ];
    for (limit, peers, expected) in cases {
        assert_eq!(aborted(limit, peers), expected, "limit {limit}, {peers:?}");
    }
}

#[test]
fn an_old_connection_can_begin_a_new_handshake() {
    let handshakes = Arc::new(Handshakes::default());
    let (old, first, second) = (connection("192.0.2.1:1"), connection("192.0.2.2:1"), connection("192.0.2.3:1"));
    let is_aborted = |connection: &Connection| connection.current_signal() == ControlSignal::AbortHandshake;
    old.signal(ControlSignal::AbortHandshake); // too late for its PROXY header
    let _first = handshakes.begin(&first, 2);
    let _second = handshakes.begin(&second, 2);
    let _old = handshakes.begin(&old, 2);
    assert_eq!([&first, &second, &old].map(is_aborted), [true, false, false]);
    for signal in [ControlSignal::Drain, ControlSignal::Kill] {
        old.signal(signal);
        drop(handshakes.begin(&old, 2));
        assert_eq!(old.current_signal(), signal);
    }
}

#[test]
fn after_its_proxy_header_a_handshake_counts_for_its_client() {
    let handshakes = Arc::new(Handshakes::default());
    let begin = |client: Option<&str>| {
        let connection = connection("10.0.0.1:1");
        let guard = handshakes.begin(&connection, 4);
        if let Some(client) = client {
            let address = |text: &str| Address::Inet(text.parse().unwrap());
            connection.set_proxy_info(ProxyInfo::new(Some((address(client), address("10.0.0.1:1"))), Vec::new()));
            handshakes.source_known(&connection);
        }
        (connection, guard)
    };
    let honest = begin(Some("192.0.2.1:1"));
    let flood: Vec<_> = (0..50).map(|_| begin(Some("192.0.2.66:1"))).collect();
    let silent = begin(None);
    let is_aborted =
        |(connection, _): &(Connection, HandshakeGuard)| connection.current_signal() == ControlSignal::AbortHandshake;
    assert!(!is_aborted(&honest) && !is_aborted(&silent));
    assert_eq!(flood.iter().filter(|one| is_aborted(one)).count(), 48);
    handshakes.source_known(&flood[0].0); // aborted: it does not return
    assert_eq!(handshakes.0.lock().handshakes.len(), 4);
}
