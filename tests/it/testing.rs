//! The test kit for handlers: peers in memory behave like those of a network, and each failure explains itself.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use switchboard::prelude::*;
use switchboard::settings::{Network, Rate, Rates, Timeouts};
use switchboard::testing::{self, DatagramPeer, Peer};
use switchboard::{Access, Address, ProxySettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{Probe, limits, millis, panic_text, secs, serve_in_kit, timeouts};

async fn serve(probe: &Probe) -> testing::Running {
    serve_in_kit(probe, |server| server).await
}

async fn serve_timeouts(change: impl FnOnce(&mut Timeouts)) -> testing::Running {
    serve_in_kit(&Probe::default(), |server| server.timeouts(timeouts(change))).await
}

fn source(n: u32) -> SocketAddr {
    let [a, b, c, d] = (0x0A00_0000 + n).to_be_bytes();
    ([a, b, c, d], 4000).into()
}

/// The text of the panic of an expectation that must fail.
async fn failure<T>(expectation: impl Future<Output = T>) -> String {
    let Err(panic) = AssertUnwindSafe(expectation).catch_unwind().await else { panic!("the expectation holds") };
    panic_text(&*panic)
}

/// Checks that a failure has this line first, then its place in this file, then the conversation.
#[track_caller]
fn check(failure: &str, first: &str, entries: &[&str]) {
    let lines: Vec<&str> = failure.lines().collect();
    assert_eq!(lines[0], first, "{failure}");
    assert!(lines[1].starts_with("at tests/it/testing.rs:"), "{failure}");
    assert_eq!(lines[2], "the conversation, with times since the peer was created:", "{failure}");
    let shown: Vec<String> = lines[3..].iter().map(|line| line.trim().to_owned()).collect();
    assert_eq!(shown, entries, "{failure}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_sends_and_expects_exact_bytes_in_order() {
    let server = serve(&Probe::default()).await;
    let mut peer = server.connect().await;
    peer.send("a\nb\n").await.expect("a").await.expect("\nb\n").await.expect("").await;
    peer.send("many c d\n").await;
    assert_eq!(peer.receive_until("\n").await, "c\n");
    peer.expect("d\n").await.expect_nothing(secs(1)).await;
    peer.half_close().expect_closed(CloseReason::PeerClosed).await;
    assert_eq!((server.closed(CloseReason::PeerClosed), server.open()), (1, 0));
}

#[tokio::test]
async fn the_kit_works_in_real_time() {
    let server = serve_timeouts(|t| t.idle = millis(1)).await;
    server.connect().await.expect_closed(CloseReason::Idle).await;
    let server = serve(&Probe::default()).await;
    let mut peer = server.connect().await;
    peer.send("a\n").await.expect("a\n").await.expect_nothing(millis(1)).await;
    peer.half_close().expect_closed(CloseReason::PeerClosed).await;
    let server = testing::Server::datagrams(Probe::default()).start().await;
    server.datagram_peer(source(1)).send("a").await.expect("a").await.expect_nothing(millis(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_connection_is_counted_when_the_expectation_returns() {
    let server = serve(&Probe::default()).await;
    for n in 1..=200 {
        let mut peer = server.connect().await;
        peer.send("finish a\n").await.expect("a\n").await.expect_closed(CloseReason::HandlerClosed).await;
        assert_eq!((server.closed(CloseReason::HandlerClosed), server.open()), (n, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn expectations_take_no_paused_time() {
    let server = serve(&Probe::default()).await;
    let begun = Instant::now();
    let mut peer = server.connect().await;
    peer.send("many a b\nfinish c\n").await.expect("a\nb\nc\n").await.expect_closed(CloseReason::HandlerClosed).await;
    assert_eq!(begun.elapsed(), secs(0));
}

#[tokio::test(start_paused = true)]
async fn every_failure_of_a_stream_shows_what_was_expected_what_came_and_the_conversation() {
    let server = serve(&Probe::default()).await;
    let mut peer = server.connect().await;
    peer.send("a\n").await;
    let unexpected = failure(peer.expect("A\n")).await;
    let entries = [r#"0.000 s  peer    "a\n""#, r#"0.000 s  server  "a\n""#];
    check(&unexpected, r#"expected "A\n", received "a\n"; byte 0 differs"#, &entries);

    // Different from the middle on, and longer than expected.
    let mut peer = server.connect().await;
    peer.send("many ab ac\n").await;
    let unexpected = failure(peer.expect("ab\nab")).await;
    let entries = [r#"0.000 s  peer    "many ab ac\n""#, r#"0.000 s  server  "ab\nac\n""#];
    check(&unexpected, r#"expected "ab\nab", received "ab\nac\n"; byte 4 differs"#, &entries);

    // Missing bytes.
    let mut peer = server.connect().await;
    sleep(millis(1500)).await;
    peer.send("\u{e9}\u{0}\nfinish\n").await;
    let missing = failure(peer.expect("\u{e9}\u{0}\n\n")).await;
    let first = r#"expected "\xc3\xa9\x00\n\n", received "\xc3\xa9\x00\n", then the end of the output; "#.to_owned()
        + "the server has closed the connection with reason handler_closed";
    let entries = [
        r#"1.500 s  peer    "\xc3\xa9\x00\nfinish\n""#,
        r#"1.500 s  server  "\xc3\xa9\x00\n""#,
        "1.500 s  server  ends its output",
    ];
    check(&missing, &first, &entries);

    // Closed too early.
    let mut peer = server.connect().await;
    peer.send("close\n").await;
    let early = failure(peer.expect("x")).await;
    let entries =
        [r#"0.000 s  peer    "close\n""#, "0.000 s  server  ends its output", "0.000 s  server  closes the connection"];
    let first = r#"expected "x", received the end of the output; "#.to_owned()
        + "the server has closed the connection with reason handler_closed";
    check(&early, &first, &entries);

    // Another close reason.
    let mut peer = server.connect().await;
    peer.send("error\n").await;
    let wrong = failure(peer.expect_closed(CloseReason::HandlerClosed)).await;
    let entries =
        [r#"0.000 s  peer    "error\n""#, "0.000 s  server  ends its output", "0.000 s  server  closes the connection"];
    let first = "expected the close reason handler_closed; the server has closed the connection with reason \
                 handler_error";
    check(&wrong, first, &entries);

    // Closed with unexpected bytes, read already or not.
    let mut peer = server.connect().await;
    peer.send("finish b\n").await.expect("b").await;
    let left = failure(peer.expect_closed(CloseReason::HandlerClosed)).await;
    assert_eq!(left.lines().next(), Some(r#"expected the close reason handler_closed, received "\n""#));
    let mut peer = server.connect().await;
    peer.send("finish b\n").await;
    let left = failure(peer.expect_closed(CloseReason::HandlerClosed)).await;
    assert_eq!(left.lines().next(), Some(r#"expected the close reason handler_closed, received "b\n""#));

    // Something instead of nothing.
    let mut peer = server.connect().await;
    peer.send("sleep 2\n").await;
    let something = failure(peer.expect_nothing(secs(3))).await;
    let entries = [r#"0.000 s  peer    "sleep 2\n""#, r#"2.000 s  server  "slept\n""#];
    check(&something, r#"expected nothing, received "slept\n""#, &entries);
    let mut peer = server.connect().await;
    let closed = failure(peer.send("finish\n").await.expect_nothing(secs(3))).await;
    let first = "expected nothing; the server has closed the connection with reason handler_closed";
    assert_eq!(closed.lines().next(), Some(first));
}

#[tokio::test(start_paused = true)]
async fn every_wait_of_a_stream_has_a_bound() {
    let server = serve_timeouts(|t| (t.idle, t.write) = (secs(0), secs(0))).await;
    let mut peer = server.connect().await;
    peer.send("none\n").await;
    let silence = failure(peer.expect("x")).await;
    let first = r#"expected "x", received nothing for 86400.000 s; the connection is open"#;
    check(&silence, first, &[r#"0.000 s  peer    "none\n""#]);

    peer.send("a\n").await;
    let silence = failure(peer.expect("a\nb")).await;
    let first = r#"expected "a\nb", received "a\n", then nothing for 86400.000 s; the connection is open"#;
    assert_eq!(silence.lines().next(), Some(first));

    let mut peer = server.connect().await;
    let open = failure(peer.expect_closed(CloseReason::Idle)).await;
    let first = "expected the close reason idle, received nothing for 86400.000 s; the connection is open";
    check(&open, first, &["(empty)"]);

    let open = failure(peer.receive_until("!")).await;
    let first = r#"expected bytes up to "!", received nothing for 86400.000 s; the connection is open"#;
    check(&open, first, &["(empty)"]);

    // The server does not read while it handles a message, except for a few bytes.
    let unread = failure(peer.send(format!("hang\n{}", "x".repeat(200_000)))).await;
    assert!(unread.starts_with("the server does not read the last "), "{unread}");
    assert!(unread.contains(r#"peer    "hang\nxxxxxxxx"#), "{unread}");

    let never = failure(server.until(|server| server.open() == 7)).await;
    assert!(never.starts_with("the condition is not true\nat tests/it/testing.rs:"), "{never}");
    assert!(never.ends_with("\nopen: 2, closed: []"), "{never}");
}

#[tokio::test(start_paused = true)]
async fn a_failure_shows_the_difference_in_long_data_and_only_the_last_entries() {
    let server = serve_in_kit(&Probe::default(), |server| server.limits(limits(|l| l.frame = 1 << 20))).await;
    let (sent, expected) = (format!("{}b\n", "a".repeat(300_000)), format!("{}c\n", "a".repeat(300_000)));
    let text = failure(server.connect().await.send(&sent).await.expect(expected)).await;
    let first = text.lines().next().unwrap();
    assert!(first.starts_with(r#"expected (299936 bytes) … "aaa"#), "{first}");
    assert!(first.ends_with("byte 300000 differs") && first.contains(r#"ac\n", received (299"#), "{first}");
    assert!(text.len() < 20_000, "{} bytes", text.len());
    let mut peer = server.connect().await;
    for n in 0..100 {
        peer.send(format!("{n}\n")).await.expect(format!("{n}\n")).await;
    }
    let text = failure(peer.send("x\n").await.expect("y")).await;
    assert!(text.contains("(138 older entries are omitted)") && !text.contains(r#""60\n""#), "{text}");
    assert!(text.contains(r#"server  "99\n""#), "{text}");
}

#[tokio::test(start_paused = true)]
async fn every_failure_of_datagrams_shows_what_was_expected_what_came_and_the_conversation() {
    let server = testing::Server::datagrams(Probe::default()).start().await;
    let (mut peer, mut other) = (server.datagram_peer(source(1)), server.datagram_peer(source(2)));
    other.send("other").await.expect("other").await;
    peer.send("many a b").await;
    let unexpected = failure(peer.expect("ab")).await;
    let entries = [r#"0.000 s  peer    "many a b""#, r#"0.000 s  server  "a""#, r#"0.000 s  server  "b""#];
    check(&unexpected, r#"expected the datagram "ab", received "a""#, &entries);
    check(&failure(peer.expect_nothing(secs(1))).await, r#"expected no datagram, received "b""#, &entries);
    let missing = failure(peer.expect("c")).await;
    check(&missing, r#"expected the datagram "c", received nothing for 86400.000 s"#, &entries);
    let missing = failure(peer.receive()).await;
    check(&missing, "expected a datagram, received nothing for 86400.000 s", &entries);
    let longer = failure(other.send("x\n").await.expect("x")).await;
    assert_eq!(longer.lines().next(), Some(r#"expected the datagram "x", received "x\n""#));
}

#[tokio::test(start_paused = true)]
async fn misuse_of_the_kit_fails_with_a_clear_text() {
    let streams = serve(&Probe::default()).await;
    let datagrams = testing::Server::datagrams(Probe::default()).start().await;
    let _peer = datagrams.datagram_peer(source(1));
    let text =
        |misuse: &dyn Fn()| panic_text(&*std::panic::catch_unwind(AssertUnwindSafe(misuse)).expect_err("a failure"));
    let wrong = text(&|| drop(streams.datagram_peer(source(1))));
    assert!(wrong.contains("testing::Server::datagrams"), "{wrong}");
    let twice = text(&|| drop(datagrams.datagram_peer(source(1))));
    assert_eq!(twice, "two datagram peers have the address 10.0.0.1:4000");
    let invalid = failure(serve_in_kit(&Probe::default(), |server| server.transport(NoTransport))).await;
    assert!(invalid.starts_with("the server cannot start: ") && invalid.contains("no such network"), "{invalid}");
}

/// A transport that cannot bind.
#[derive(Debug)]
struct NoTransport;

#[async_trait::async_trait]
impl switchboard::transport::Transport for NoTransport {
    fn schemes(&self) -> Vec<switchboard::transport::SchemeInfo> {
        vec![switchboard::transport::SchemeInfo::new("mem", "none", Kind::Stream)]
    }

    async fn bind(&self, _: switchboard::transport::Bind) -> std::io::Result<switchboard::transport::Listener> {
        Err(std::io::Error::other("no such network"))
    }
}

/// Checks that a server closes a peer with a reason after the peer has sent `text` and done `act`.
async fn closes(server: &testing::Running, reason: CloseReason, text: &str, act: impl AsyncFnOnce(&mut Peer)) {
    let mut peer = server.connect_from(source(1)).await;
    act(peer.send(text).await).await;
    let closed = server.closed(reason);
    peer.expect_closed(reason).await;
    assert_eq!(server.closed(reason), closed + 1, "{reason}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_sees_each_close_reason_that_the_server_records() {
    use CloseReason as R;
    let probe = Probe::default();
    let server = serve_in_kit(&probe, |server| server.limits(limits(|l| l.outbox = 1))).await;
    let too_large = "x".repeat(70_000);
    for (reason, text) in [
        (R::HandlerClosed, "close\n"),
        (R::HandlerError, "error\n"),
        (R::Panic, "panic\n"),
        (R::Idle, ""),
        (R::FrameTimeout, "unfinished"),
        (R::FrameTooLarge, &too_large),
    ] {
        closes(&server, reason, text, async |_| {}).await;
    }
    closes(&server, R::PeerClosed, "", async |peer| _ = peer.half_close()).await;
    closes(&server, R::IoError, "x\n", async |peer| _ = peer.reset()).await;
    closes(&server, R::WriteStalled, "", async |peer| _ = peer.stop_reading().send("x\n").await).await;
    closes(&server, R::Killed, "", async |_| {
        server.until(|server| server.connections().len() == 1).await;
        server.connections()[0].kill();
    })
    .await;
    let opened = probe.calls().iter().filter(|call| *call == "open").count();
    closes(&server, R::OutboxFull, "", async |peer| {
        peer.stop_reading();
        probe.called("open", opened + 1).await;
        while probe.pusher(opened).push_or_close("x").is_ok() {}
    })
    .await;
    closes(&serve_timeouts(|t| t.first_message = secs(1)).await, R::FirstMessage, "", async |_| {}).await;
    closes(&serve_timeouts(|t| t.lifetime = secs(1)).await, R::Lifetime, "", async |_| {}).await;
    closes(&serve_timeouts(|t| t.message = secs(1)).await, R::MessageTimeout, "hang\n", async |_| {}).await;
    let server = testing::Server::new(Probe::default()).framing(JsonLines::default()).start().await;
    closes(&server, R::BadFrame, "no json\n", async |_| {}).await;

    // Rejected before the handler is called.
    let networks = || ["10.0.0.0/8".parse::<Network>().unwrap()].into_iter().collect();
    let server = serve_in_kit(&probe, |server| server.access(Access::default().deny(networks()))).await;
    closes(&server, R::Denied, "", async |_| {}).await;
    let server = serve_in_kit(&probe, |server| server.limits(limits(|l| l.connections = 0))).await;
    closes(&server, R::Limit, "", async |_| {}).await;
    let rates = Rates::default().connections_per_source(Rate::per_minute(1)).burst(1);
    let server = serve_in_kit(&probe, |server| server.rates(rates)).await;
    let _first = server.connect_from(source(1)).await;
    closes(&server, R::Rate, "", async |_| {}).await;
    let server = serve_in_kit(&probe, |server| server.proxy(ProxySettings::default().trusted(networks()))).await;
    closes(&server, R::Handshake, "no header\n", async |_| {}).await;

    let server = serve(&probe).await;
    let mut peer = server.connect().await;
    peer.send("x\n").await.expect("x\n").await;
    let ((), drained) = tokio::join!(peer.expect_closed(R::Drain), server.drain());
    assert_eq!((drained.open, drained.cut), (1, 0));
    let server = serve(&probe).await;
    let mut peer = server.connect().await;
    peer.send("hang\n").await;
    let ((), drained) = tokio::join!(peer.expect_closed(R::DrainDeadline), server.drain());
    assert_eq!((drained.open, drained.cut), (1, 1));
    assert_eq!(failure(server.connect()).await, "the server has stopped listening");
}

#[tokio::test(start_paused = true)]
async fn a_reset_reaches_the_server_after_the_bytes_before_it() {
    for sent in ["", "a\nb\n", "sleep 1\n", "a\nunfinished"] {
        let probe = Probe::default();
        let server = serve(&probe).await;
        let mut peer = server.connect().await;
        peer.send(sent).await.reset().expect_closed(CloseReason::IoError).await;
        assert_eq!(probe.reason().await, "io_error", "{sent:?}");
        let messages = probe.calls().iter().filter(|call| call.starts_with("message")).count();
        assert_eq!(messages, sent.lines().count() - usize::from(sent.contains('u')), "{sent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_a_peer_closes_the_connection() {
    let server = serve(&Probe::default()).await;
    drop(server.connect().await);
    server.until(|server| server.closed(CloseReason::PeerClosed) == 1).await;
    let mut peer = server.connect().await;
    peer.send("many a b\n").await.expect("a\n").await;
    drop(peer);
    server.until(|server| server.closed(CloseReason::PeerClosed) == 2).await;
    // A reply that is not ready yet is lost.
    server.connect().await.send("sleep 1\n").await;
    server.until(|server| server.closed(CloseReason::PeerClosed) == 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_closes_with_unread_input_resets_the_connection() {
    let server = testing::Server::new(Probe::default()).framing(Lines::default()).window(500_000).start().await;
    let mut peer = server.connect().await;
    peer.send(format!("hang\n{}", "x\n".repeat(200_000))).await.expect_nothing(secs(1)).await;
    server.connections()[0].kill();
    let text = failure(peer.expect("x")).await;
    let first = r#"expected "x", received a reset; the server has closed the connection with reason killed"#;
    assert_eq!(text.lines().next(), Some(first));
    assert!(text.ends_with("server  resets the connection"), "{text}");
    peer.send("more").await;
    let text = failure(peer.expect("x")).await;
    assert!(text.ends_with("peer    4 bytes are not sent: the server has closed the connection"), "{text}");
    peer.expect_closed(CloseReason::Killed).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_reading_stalls_the_server_until_it_resumes() {
    let server = serve_timeouts(|t| (t.write, t.idle) = (secs(30), secs(0))).await;
    let mut peer = server.connect().await;
    peer.send("a\n").await.expect("a\n").await;
    peer.stop_reading().send("b\n").await.expect_nothing(secs(29)).await;
    peer.resume_reading().expect("b\n").await;
    // What has arrived before can still be read.
    peer.send("c\n").await.expect("c").await;
    peer.stop_reading().expect("\n").await.send("d\n").await;
    peer.expect_closed(CloseReason::WriteStalled).await;
}

#[tokio::test(start_paused = true)]
async fn a_window_of_one_byte_splits_every_read_and_write() {
    let probe = Probe::default();
    let server = testing::Server::new(probe.clone()).window(1).start().await; // raw: each read is a message
    let mut peer = server.connect().await;
    peer.send("abc").await.expect("abc").await;
    assert_eq!(probe.calls(), ["open", "message a", "message b", "message c"]);
    let server = testing::Server::new(probe.clone()).window(1).framing(Lines::default()).start().await;
    let mut peer = server.connect().await;
    peer.send("many hello you\n").await.expect("hello\nyou\n").await;
    // The peer reads while it sends, and while the test waits for another peer.
    let text = format!("{}\n", "x".repeat(1000));
    peer.send(text.repeat(100)).await;
    server.connect().await.expect_nothing(secs(60)).await;
    peer.expect(text.repeat(100)).await;
    // Zero counts as one.
    let server = testing::Server::new(probe).window(0).framing(Lines::default()).start().await;
    server.connect().await.send("a\n").await.expect("a\n").await;
}

#[tokio::test(start_paused = true)]
async fn thousands_of_sources_connect_and_each_counts_for_its_limit() {
    let set =
        |server: Server<Lines>| server.limits(limits(|l| (l.connections, l.connections_per_source) = (10_000, 1)));
    let server = serve_in_kit(&Probe::default(), set).await;
    let mut peers = Vec::new();
    for n in 0..5000 {
        peers.push(server.connect_from(source(n)).await);
    }
    for (n, peer) in peers.iter_mut().enumerate() {
        peer.send(format!("{n}\n")).await.expect(format!("{n}\n")).await;
    }
    assert_eq!(server.open(), 5000);
    server.connect_from(source(77)).await.expect_closed(CloseReason::Limit).await;
    assert_eq!((server.closed(CloseReason::Limit), server.open()), (1, 5000));
    for mut peer in peers {
        peer.half_close().expect_closed(CloseReason::PeerClosed).await;
    }
    assert_eq!((server.closed(CloseReason::PeerClosed), server.open()), (5000, 0));
}

#[tokio::test(start_paused = true)]
async fn datagram_peers_have_their_own_state_and_order() {
    let server = testing::Server::datagrams(Probe::default()).start().await;
    let mut peers: Vec<DatagramPeer> = (0..2000).map(|n| server.datagram_peer(source(n))).collect();
    for round in ["1", "2"] {
        for peer in &mut peers {
            peer.send("count").await;
        }
        for peer in &mut peers {
            assert_eq!(peer.receive().await, round);
        }
    }
    let mut peer = server.datagram_peer(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 4000));
    peer.send("").await.expect("").await.send("sleep 1").await.send("b").await;
    peer.expect_nothing(millis(999)).await.expect("slept").await.expect("b").await;
    drop(peer);
    // A datagram to a peer that is gone is lost. The limit of replies applies.
    let mut peer = server.datagram_peer(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 4000));
    peer.expect_nothing(secs(1)).await.send("big 1000").await.expect_nothing(secs(1)).await;
    assert_eq!(server.drain().await.cut, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_handler_is_tested_like_any_other() {
    struct Copy;
    impl StreamHandler for Copy {
        async fn serve(&self, _: Connection, mut stream: ByteStream) -> Result<()> {
            let mut bytes = [0; 1000];
            loop {
                match stream.read(&mut bytes).await? {
                    0 => return Ok(()),
                    count => stream.write_all(&bytes[..count]).await?,
                }
            }
        }
    }
    let server = testing::Server::new(Copy).window(7).start_stream().await;
    let mut peer = server.connect().await;
    peer.send("hello, you").await.expect("hello, you").await;
    peer.half_close().expect_closed(CloseReason::PeerClosed).await;
    server.connect().await.reset().expect_closed(CloseReason::IoError).await;
    server.connect().await.expect_closed(CloseReason::Idle).await;
}

#[tokio::test(start_paused = true)]
async fn a_context_collects_the_frames_that_a_handler_pushes() {
    let probe = Probe::default();
    let mut cx = testing::context(6);
    let reply = probe.message(&mut cx, "push a b".into()).await.unwrap();
    assert_eq!(testing::frames(reply).await.unwrap(), ["pushed"]);
    assert_eq!(cx.pushed(), ["a", "b"]);
    assert!(cx.pushed().is_empty());
    let reply = probe.message(&mut cx, "count".into()).await.unwrap();
    assert_eq!((testing::frames(reply).await.unwrap(), cx.state), (vec![Bytes::from("7")], 7));
    let reply = probe.message(&mut cx, "stream c d".into()).await.unwrap();
    assert_eq!(testing::frames(reply).await.unwrap(), ["c", "d"]);
    let reply = probe.message(&mut cx, "stream-error c".into()).await.unwrap();
    assert_eq!(testing::frames(reply).await.unwrap_err().to_string(), "enough");
    assert!(testing::frames::<Bytes>(Reply::none()).await.unwrap().is_empty());
    let reply = probe.message(&mut cx, "endless".into()).await.unwrap();
    assert_eq!(failure(testing::frames(reply)).await, "the stream of the reply has more than 65536 frames");
    let never = Reply::<Bytes>::stream(futures_util::stream::pending());
    assert_eq!(failure(testing::frames(never)).await, "the stream of the reply ends");

    let mut cx = testing::context_of(Kind::Datagram, source(1), 0);
    assert_eq!((cx.kind(), cx.peer()), (Kind::Datagram, &Address::Inet(source(1))));
    let reply = probe.message(&mut cx, "push a b".into()).await.unwrap();
    assert_eq!(testing::frames(reply).await.unwrap(), ["pushed"]);
    assert_eq!(cx.pushed(), ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn tasks_and_pushers_of_a_context_end_with_it() {
    let cx = testing::context::<_, Bytes>(());
    let (alive, mut ended) = watch::channel(());
    cx.spawn(async move {
        let _alive = alive;
        std::future::pending().await
    })
    .unwrap();
    let pusher = cx.pusher();
    pusher.try_push("a").unwrap();
    drop(cx);
    assert!(timeout(secs(60), ended.changed()).await.expect("the task ends").is_err());
    assert_eq!(pusher.push("b").await, Err(PushError::Closed));
}
