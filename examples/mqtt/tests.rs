//! Tests of the broker with paused time.

use super::*;
use switchboard::testing::{self, Law, Peer};
use switchboard::tokio::time::Instant;

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

async fn start() -> testing::Running {
    testing::Server::new(Broker::default()).set(configure).start().await
}

/// CONNECT with a keep alive of 10 s. The flags contain clean session, and may contain a will.
fn connect(id: &str, flags: u8, will: &[u8]) -> Vec<u8> {
    let body = [b"\0\x04MQTT\x04", &[2 | flags, 0, 10, 0, id.len() as u8][..], id.as_bytes(), will].concat();
    [&[0x10, body.len() as u8], &body[..]].concat()
}

async fn join(server: &testing::Running, id: &str) -> Peer {
    let mut peer = server.connect().await;
    peer.send(connect(id, 0, b"")).await.expect(CONNACK).await;
    peer
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_disconnected_after_one_and_a_half_times_its_keep_alive_and_its_will_is_published() {
    let server = start().await;
    let mut watcher = join(&server, "watcher").await;
    watcher.send(b"\x82\x06\0\x01\0\x01w\0").await.expect(b"\x90\x03\0\x01\0").await;
    let mut silent = server.connect().await;
    silent.send(connect("silent", 4, b"\0\x01w\0\x04gone")).await.expect(CONNACK).await;
    silent.expect_nothing(Duration::from_millis(9_000)).await.send(b"\xc0\0").await.expect(b"\xd0\0").await;
    watcher.send(b"\xc0\0").await.expect(b"\xd0\0").await;
    let last_packet = Instant::now();
    silent.expect_nothing(Duration::from_millis(14_900)).await;
    watcher.send(b"\xc0\0").await.expect(b"\xd0\0").await;
    silent.expect_closed(CloseReason::Idle).await;
    assert!(last_packet.elapsed() < Duration::from_secs(16), "{:?}", last_packet.elapsed());
    watcher.expect(b"\x30\x07\0\x01wgone").await;
}

#[tokio::test(start_paused = true)]
async fn messages_to_a_client_do_not_extend_its_keep_alive() {
    let server = start().await;
    let (mut silent, mut publisher) = (join(&server, "silent").await, join(&server, "publisher").await);
    silent.send(b"\x82\x06\0\x01\0\x01a\0").await.expect(b"\x90\x03\0\x01\0").await;
    let begun = Instant::now();
    for _ in 0..2 {
        silent.expect_nothing(Duration::from_secs(7)).await;
        publisher.send(b"\x30\x04\0\x01ax").await;
        silent.expect(b"\x30\x04\0\x01ax").await;
    }
    silent.expect_closed(CloseReason::Idle).await;
    assert_eq!(begun.elapsed().as_secs(), 15);
}

#[tokio::test(start_paused = true)]
async fn a_client_without_keep_alive_stays_and_one_without_connect_does_not() {
    let server = start().await;
    let mut quiet = server.connect().await;
    quiet.send(b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01q").await.expect(CONNACK).await;
    server.connect().await.expect_closed(CloseReason::FirstMessage).await;
    quiet.expect_nothing(Duration::from_secs(86_000)).await;
}

#[tokio::test(start_paused = true)]
async fn malformed_packets_close_the_connection_with_reason_bad_frame() {
    let server = start().await;
    for bytes in [
        &b"\x30\x80\x80\x80\x80\x01"[..], // a remaining length of five bytes
        b"\x82\x06\0\0\0\x01a\0",         // packet id 0
        b"\x32\x05\0\x01a\0\0",
        b"\x40\x02\0\0",
        b"\x30\x03\0\x01+", // a wildcard in a topic
        b"\x30\x03\0\x01#",
        b"\x30\x03\0\x01\0",           // NUL in a topic
        b"\x30\x03\0\x01\xff",         // no UTF-8
        b"\x30\x05\0\x03\xed\xa0\x80", // a surrogate
        b"\x30\x03\0\x05a",            // a text longer than its packet
        b"\x30\x01\0",                 // no topic
        b"\x32\x03\0\x01a",            // no packet id
        b"\x36\x05\0\x01a\0\x01",      // QoS 3
        b"\x80\x06\0\x01\0\x01a\0",    // reserved flags
        b"\xa0\x05\0\x01\0\x01a",
        b"\x41\x02\0\x01",
        b"\xc1\0",
        b"\xe1\0",
        b"\x82\x06\0\x01\0\x01a\x03", // the requested QoS
        b"\x82\x06\0\x01\0\x01a\x04",
        b"\x82\x05\0\x01\0\x01a",
        b"\x82\x02\0\x01", // no filter
        b"\xa2\x02\0\x01",
        b"\x82\x05\0\x01\0\0\0",      // an empty filter
        b"\x82\x08\0\x01\0\x03#/a\0", // a wildcard at a wrong place
        b"\x82\x07\0\x01\0\x02a#\0",
        b"\x40\x03\0\x01\0", // a wrong length
        b"\x40\x01\0",
        b"\xc0\x01\0",
        b"\xe0\x01\0",
        b"\0\0", // a reserved type
        b"\xf0\0",
    ] {
        join(&server, "client").await.send(bytes).await.expect_closed(CloseReason::BadFrame).await;
    }
    for bytes in [
        &b"\x30\x02\0\0"[..],     // an empty topic
        b"\x38\x03\0\x01a",       // DUP with QoS 0
        b"\x34\x05\0\x01a\0\x01", // QoS 2
        b"\x62\x02\0\x01",
        b"\x90\x03\0\x01\0", // a packet of a server
    ] {
        join(&server, "client").await.send(bytes).await.expect_closed(CloseReason::HandlerClosed).await;
    }
    let mut long = join(&server, "client").await;
    long.send(b"\x30\xff\xff\xff\x7f").await.expect_closed(CloseReason::FrameTooLarge).await;
}

#[tokio::test(start_paused = true)]
async fn a_filter_with_a_wildcard_inside_a_level_is_refused() {
    let server = start().await;
    let mut peer = join(&server, "client").await;
    for filter in ["+a", "a/+b"] {
        let packet = [&[0x82, 5 + filter.len() as u8, 0, 1, 0, filter.len() as u8], filter.as_bytes(), b"\0"].concat();
        peer.send(packet).await.expect(b"\x90\x03\0\x01\x80").await;
    }
    for filter in ["a+", "a/b+", "+a/b", "a/#/b", "a/+#", "#a"] {
        let packet = [&[0x82, 5 + filter.len() as u8, 0, 1, 0, filter.len() as u8], filter.as_bytes(), b"\0"].concat();
        join(&server, "other").await.send(packet).await.expect_closed(CloseReason::BadFrame).await;
    }
}

#[test]
fn the_broker_keeps_the_laws() {
    let packets = [
        connect("me", 0, b""),
        b"\x82\x06\0\x01\0\x01a\x01".to_vec(), // SUBSCRIBE a, QoS 1
        b"\x32\x06\0\x01a\0\x02x".to_vec(),    // PUBLISH to a, QoS 1
        b"\x40\x02\0\x01".to_vec(),            // PUBACK
        b"\xc0\0".to_vec(),                    // PINGREQ
        b"\xe0\0".to_vec(),                    // DISCONNECT
    ];
    testing::conformance(Broker::default)
        .framing(framing::custom(Codec))
        .encoded(packets)
        .set(|server| server.limits(Limits::default().frame(MAX_PACKET).outbox(MAX_QUEUED)))
        .waive(Law::TwoAtOnce, "a client with the same name takes the session over")
        .waive(Law::Pipelining, "DISCONNECT closes at once and discards what is not written")
        .waive(Law::NoReader, "a second CONNECT closes the connection")
        .waive(Law::Drain, "a published message is not the reply to a packet")
        .cases(40)
        .check();
}
