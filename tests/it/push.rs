//! Pushed messages: in order, in a bounded queue, and without delay for other connections.

use std::sync::Mutex;
use std::sync::atomic::Ordering::SeqCst;

use futures_util::FutureExt;
use harness::Client;
use switchboard::prelude::*;
use switchboard::testing::{self, Peer};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Probe, Spy, limits, secs, serve, serve_in_kit, serve_spied, serve_with, timeouts};

/// A server whose outboxes hold this many frames, its first client, and the pusher to it.
async fn with_outbox(frames: usize) -> (testing::Running, Peer, Pusher) {
    let probe = Probe::default();
    let server = serve_in_kit(&probe, |server| server.limits(limits(|l| l.outbox = frames))).await;
    let client = server.connect().await;
    probe.called("open", 1).await;
    (server, client, probe.pusher(0))
}

/// Stops reading, pushes until every buffer is full, and returns the number of frames.
async fn fill(client: &mut Peer, pusher: &Pusher) -> usize {
    client.stop_reading();
    let mut frames = 0;
    while let Ok(pushed) = timeout(secs(1), pusher.push(vec![b'x'; 1000])).await {
        pushed.unwrap();
        frames += 1;
    }
    frames
}

#[tokio::test(start_paused = true)]
async fn pushes_are_sent_in_order() {
    let (_server, mut client, pusher) = with_outbox(256).await;
    for n in 0..1000 {
        pusher.push(n.to_string()).await.unwrap();
        if n % 100 == 0 {
            client.send("x\n").await;
        }
    }
    let mut replies = 0;
    for n in 0..1000 {
        let mut next = client.receive_until("\n").await;
        while next == "x\n" {
            replies += 1;
            next = client.receive_until("\n").await;
        }
        assert_eq!(next, format!("{n}\n"));
    }
    client.half_close().expect("x\n".repeat(10 - replies)).await.expect_closed(CloseReason::PeerClosed).await;
}

#[tokio::test(start_paused = true)]
async fn frames_pushed_before_a_reply_are_sent_before_it() {
    let served = serve(Probe::default()).await;
    let mut client = served.connect().await;
    client.send("push a b\nx\npush c\n").await.expect("a\nb\npushed\nx\nc\npushed\n").await;
}

#[tokio::test(start_paused = true)]
async fn one_call_can_push_more_frames_than_the_outbox_holds() {
    let (_server, mut client, _) = with_outbox(2).await;
    let words: Vec<_> = (0..50).map(|n| n.to_string()).collect();
    client.send(format!("push {}\n", words.join(" "))).await;
    client.expect(format!("{}\npushed\n", words.join("\n"))).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_outbox_makes_a_pusher_wait_until_the_peer_reads() {
    let (_server, mut client, pusher) = with_outbox(4).await;
    let frames = fill(&mut client, &pusher).await;
    assert_eq!(pusher.try_push("no room").unwrap_err().reason, PushError::Full);
    let mut waiting = Box::pin(pusher.push("last"));
    assert!(waiting.as_mut().now_or_never().is_none());
    client.resume_reading();
    for _ in 0..frames {
        client.expect([&[b'x'; 1000][..], b"\n"].concat()).await;
    }
    waiting.await.unwrap();
    client.expect("last\n").await;
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_push_is_not_queued_and_uses_no_capacity() {
    let (_server, mut client, pusher) = with_outbox(1).await;
    let frames = fill(&mut client, &pusher).await;
    for _ in 0..10 {
        assert!(pusher.push("given up").now_or_never().is_none());
    }
    client.resume_reading();
    for _ in 0..frames {
        client.expect([&[b'x'; 1000][..], b"\n"].concat()).await;
    }
    pusher.push("after").await.unwrap();
    client.expect("after\n").await;
}

#[tokio::test(start_paused = true)]
async fn only_the_slow_reader_of_a_broadcast_is_disconnected() {
    let probe = Probe::default();
    let server = serve_in_kit(&probe, |server| server.limits(limits(|l| l.outbox = 4))).await;
    let (mut stalled, mut good) = (server.connect().await, server.connect().await);
    stalled.send("x\n").await.expect("x\n").await.stop_reading();
    good.send("y\n").await.expect("y\n").await;
    let (to_deaf, to_good) = (probe.pusher(0), probe.pusher(1));
    let mut rejected = None;
    for _ in 0..1000 {
        if let Err(error) = to_deaf.push_or_close(vec![b'x'; 1000]) {
            rejected.get_or_insert(error);
        }
        to_good.push_or_close("tick").unwrap();
        good.expect("tick\n").await;
    }
    assert_eq!(rejected, Some(PushError::Full));
    stalled.expect_closed(CloseReason::OutboxFull).await;
    assert_eq!(to_deaf.push_or_close("x"), Err(PushError::Closed));
    good.send("z\n").await.expect("z\n").await;
}

/// Pushes each line to every client that has sent `join`.
#[derive(Default)]
struct Fanout(Mutex<Vec<Pusher>>);

impl Handler for Fanout {
    type State = ();

    async fn message(&self, cx: &mut Context, line: Bytes) -> Result<Reply> {
        let mut members = self.0.lock().unwrap();
        if line == "join" {
            members.push(cx.pusher());
            return Ok(Reply::send("joined"));
        }
        for member in &*members {
            let _ = member.push_or_close(line.clone());
        }
        Ok(Reply::none())
    }
}

#[tokio::test]
async fn a_burst_of_one_client_closes_no_client_that_reads_on_a_single_thread() {
    // Many short lines per read, and fewer long ones per read than a burst has.
    for (count, width) in [(5000, 1), (1000, 700)] {
        burst((0..count).map(|number| format!("{number:0width$}\n")).collect()).await;
    }
}

async fn burst(lines: String) {
    let server = Server::bind("tcp://127.0.0.1:0").framing(Lines::default()).start(Fanout::default()).await.unwrap();
    let at = server.addresses()[0].1.to_string();
    let at = at.strip_prefix("tcp://").unwrap().to_owned();
    let mut members = Vec::new();
    for _ in 0..3 {
        let mut member = Client(TcpStream::connect(&at).await.unwrap());
        member.send("join\n").await.expect("joined\n").await;
        members.push(member);
    }
    let mut sender = Client(TcpStream::connect(&at).await.unwrap());
    sender.send(&lines).await;
    for mut member in members {
        member.expect(&lines).await; // the outbox holds 256 frames
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiting_push_fails_when_the_connection_closes() {
    let (_server, mut client, pusher) = with_outbox(1).await;
    fill(&mut client, &pusher).await;
    let waiting = tokio::spawn({
        let pusher = pusher.clone();
        async move { pusher.push("x").await }
    });
    drop(client);
    assert_eq!(timeout(secs(1), waiting).await.unwrap().unwrap(), Err(PushError::Closed));
    assert_eq!(pusher.push("x").await, Err(PushError::Closed));
    assert_eq!(pusher.try_push("x").unwrap_err().reason, PushError::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_push_fails_when_a_layer_closes_the_connection() {
    let probe = Probe::default();
    let set = |server: Server<Lines>| server.limits(limits(|l| l.outbox = 1)).connection_layer(Timeout::new(secs(30)));
    let server = serve_in_kit(&probe, set).await;
    let mut client = server.connect().await;
    probe.called("open", 1).await;
    let pusher = probe.pusher(0);
    fill(&mut client, &pusher).await;
    let pushed = timeout(secs(300), pusher.push("x")).await;
    assert_eq!(pushed.expect("the push does not wait forever"), Err(PushError::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_pusher_does_not_keep_the_connection_open() {
    let (server, client, pusher) = with_outbox(256).await;
    drop(client);
    server.until(|server| server.closed(CloseReason::PeerClosed) == 1 && server.open() == 0).await;
    assert_eq!(pusher.connection().close_reason(), Some(CloseReason::PeerClosed));
}

#[tokio::test(start_paused = true)]
async fn frames_pushed_before_the_close_are_written_if_the_peer_still_reads() {
    let served = serve(Probe::default()).await;
    let mut client = served.connect().await;
    client.send("push a b\nfinish c\n").await.expect("a\nb\npushed\nc\n").await.expect_end().await;
    let mut client = served.connect().await;
    served.probe.called("open", 2).await;
    let pusher = served.probe.pusher(1);
    for n in 0..100 {
        pusher.try_push(n.to_string()).unwrap();
    }
    client.half_close().await;
    let all: String = (0..100).map(|n| format!("{n}\n")).collect();
    client.expect(all).await.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn a_push_that_the_framing_cannot_encode_is_a_handler_error() {
    let probe = Probe::default();
    let server = testing::Server::new(probe.clone()).framing(JsonLines::default()).start().await;
    let mut client = server.connect().await;
    probe.called("open", 1).await;
    probe.pusher(0).push("1").await.unwrap();
    probe.pusher(0).push("no json").await.unwrap();
    client.expect("1\n").await.expect_closed(CloseReason::HandlerError).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_uses_bounded_memory_and_delays_no_other_peer() {
    let spy = Spy::default();
    let served = serve_spied(Probe::default(), &spy, |server| server).await;
    let mut stalled = served.connect().await;
    // The server stops reading when the reply buffers are full, so the requests stay in the buffers of the client.
    let requests = "big 60000\n".repeat(100_000);
    let sent = timeout(secs(5), tokio::io::AsyncWriteExt::write_all(&mut stalled.0, requests.as_bytes())).await;
    assert!(sent.is_err(), "the server stops reading while the peer does not read");
    let handled = served.probe.calls().len();
    assert!(handled < 10, "{handled} calls for a peer that does not read");
    assert!(spy.written.load(SeqCst) <= 128 * 1024);
    let mut good = served.connect().await;
    good.send("x\n").await.expect("x\n").await;
}

#[tokio::test(start_paused = true)]
async fn the_reply_queue_exceeds_64_kib_by_at_most_one_reply() {
    let spy = Spy::default();
    let served = serve_spied(Probe::default(), &spy, |server| server).await;
    let mut stalled = served.connect().await;
    stalled.send("big 30000\nbig 60000\nbig 60000\nbig 60000\n").await;
    served.probe.called("message big 60000", 2).await;
    let most = spy.most_offered.load(SeqCst);
    assert!((90_002..=64 * 1024 + 60_001).contains(&most), "{most} bytes in one write");
}

#[tokio::test(start_paused = true)]
async fn an_endless_stream_delays_no_pushes_or_clients_and_ends_with_its_peer() {
    let served = serve_with(Probe::default(), |server| server.timeouts(timeouts(|t| t.write = secs(5)))).await;
    let mut client = served.connect().await;
    client.send("endless\n").await.expect([&[b'x'; 1000][..], b"\n"].concat()).await;
    served.serves_the_next().await;
    drop(client);
    served.probe.reasons(2).await;
    assert_eq!(served.running.drain().await.cut, 0);
}
