//! Drain (graceful shutdown): idle connections close immediately, pending replies are sent, the rest is aborted.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use futures_util::FutureExt;
use harness::unique;
use serde_json::json;
use switchboard::prelude::*;
use switchboard::server::ListenerSpec;
use switchboard::settings::DrainSettings;
use switchboard::transport::{Transports, memory};
use switchboard_handlers::Echo;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep};

use crate::support::{Probe, Spy, connect, limits, millis, secs, serve, serve_spied, serve_with, timeouts};

#[tokio::test(start_paused = true)]
async fn an_idle_connection_closes_immediately() {
    let served = serve(Probe::default()).await;
    let (mut new, mut used) = (served.connect().await, served.connect().await);
    used.send("x\n").await.expect("x\n").await;
    new.send("x\n").await.expect("x\n").await;
    sleep(secs(60)).await;
    let begun = Instant::now();
    let drained = served.running.drain().await;
    assert!(begun.elapsed() < millis(50), "{:?}", begun.elapsed());
    assert_eq!((drained.open, drained.cut), (2, 0));
    new.expect_end().await;
    used.expect_end().await;
    assert_eq!(served.probe.reasons(2).await, ["drain", "drain"]);
}

#[tokio::test(start_paused = true)]
async fn a_busy_connection_gets_its_reply_and_then_closes() {
    let served = serve(Probe::default()).await;
    let mut client = served.connect().await;
    client.send("sleep 20\n").await;
    served.probe.called("message", 1).await;
    let begun = Instant::now();
    let drained = served.running.drain().await;
    assert_eq!(begun.elapsed().as_secs(), 20);
    assert_eq!((drained.open, drained.cut), (1, 0));
    client.expect("slept\n").await.expect_end().await;
    assert_eq!(served.probe.reason().await, "drain");
}

#[tokio::test(start_paused = true)]
async fn messages_sent_before_the_drain_are_answered() {
    let served = serve(Probe::default()).await;
    let mut client = served.connect().await;
    client.send("sleep 2\na\nsleep 2\nb\nc\n").await;
    served.probe.called("message", 1).await;
    assert_eq!(served.running.drain().await.cut, 0);
    client.expect("slept\na\nslept\nb\nc\n").await.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn thousands_of_messages_sent_before_the_drain_are_answered() {
    let served = serve(Probe::default()).await;
    let mut client = served.connect().await;
    client.send("sleep 2\n").await;
    served.probe.called("message", 1).await;
    client.send("x\n".repeat(30_000)).await; // 60 kB, mostly still unread
    let (drained, ()) = tokio::join!(served.running.drain(), async {
        client.expect("slept\n").await.expect("x\n".repeat(30_000)).await.expect_end().await;
    });
    assert_eq!(drained.cut, 0);
}

#[tokio::test(start_paused = true)]
async fn an_unread_message_counts_as_in_progress() {
    let served = serve(Probe::default()).await;
    let mut client = served.connect().await;
    client.send("x\n").await.expect("x\n").await;
    client.send("y\n").await;
    served.running.drain().await;
    client.expect("y\n").await.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn a_partial_message_counts_as_in_progress() {
    let served = serve(Probe::default()).await;
    let mut client = served.connect().await;
    client.send("x\nbeg").await.expect("x\n").await;
    let (drained, ()) = tokio::join!(served.running.drain(), async {
        sleep(secs(5)).await;
        client.send("un\nnot this\n").await.expect("begun\n").await.expect_end().await;
    });
    assert_eq!((drained.open, drained.cut), (1, 0));
    assert!(!served.probe.calls().contains(&"message not this".to_owned()));
    assert_eq!(served.probe.reason().await, "drain");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_stays_partial_ends_at_the_frame_timeout() {
    let served = serve_with(Probe::default(), |server| server.timeouts(timeouts(|t| t.frame = secs(3)))).await;
    let mut client = served.connect().await;
    client.send("beg").await;
    sleep(secs(1)).await;
    assert_eq!(served.running.drain().await.cut, 0);
    client.expect_end().await;
    assert_eq!(served.probe.reason().await, "frame_timeout");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_continues_to_send_slow_messages_cannot_delay_the_drain() {
    let served = serve(Probe::default()).await;
    let mut client = served.connect().await;
    client.send("sleep 1\n".repeat(3)).await;
    served.probe.called("message", 1).await;
    let continues = async {
        loop {
            client.send("sleep 1\n").await;
            sleep(millis(500)).await;
        }
    };
    tokio::select! {
        drained = served.running.drain() => assert_eq!(drained.cut, 0),
        () = continues => {}
    }
    assert_eq!(served.probe.reason().await, "drain");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_continues_to_send_cannot_delay_the_drain() {
    let served = serve(Probe::default()).await;
    let mut client = served.connect().await;
    client.send("x\n").await.expect("x\n").await;
    let begun = Instant::now();
    let (drained, ()) = tokio::join!(served.running.drain(), async {
        for _ in 0..100 {
            if client.0.write_all(b"more\n").await.is_err() {
                break;
            }
            sleep(millis(10)).await;
        }
    });
    assert_eq!(drained.cut, 0);
    assert!(begun.elapsed() < secs(2), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn connections_after_the_start_of_the_drain_are_refused() {
    let served = serve(Probe::default()).await;
    let mut busy = served.connect().await;
    busy.send("sleep 5\n").await;
    served.probe.called("message", 1).await;
    let (_, ()) = tokio::join!(served.running.drain(), async {
        sleep(secs(1)).await;
        assert!(memory::connect(&served.name).await.is_err());
    });
    busy.expect("slept\n").await;
}

#[tokio::test(start_paused = true)]
async fn clients_connected_before_the_drain_are_greeted_and_answered() {
    let served = serve(Probe::default().opening("many hi")).await;
    let mut early = served.connect().await;
    early.send("x\n").await; // not yet accepted
    let drained = served.running.drain().await;
    early.expect("hi\nx\n").await.expect_end().await;
    assert_eq!(drained.cut, 0);
    assert_eq!(drained.open, 1, "the client connected before the listener closed");
}

#[tokio::test]
async fn every_client_in_the_kernel_backlog_is_answered() {
    let server = Server::bind("tcp://127.0.0.1:0").framing(Lines::default()).start(Echo).await.unwrap();
    let port = server.address().unwrap().port().unwrap();
    // Blocks on purpose: the single-threaded runtime accepts no connection meanwhile.
    let clients: Vec<_> = (0..400)
        .map(|_| {
            let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
            client.write_all(b"x\n").unwrap();
            client
        })
        .collect();
    let drained = server.drain().await;
    let mut answered = 0;
    for mut client in clients {
        client.set_read_timeout(Some(harness::TEST_TIMEOUT)).unwrap();
        let mut answer = [0; 2];
        answered += usize::from(client.read_exact(&mut answer).is_ok());
    }
    assert_eq!((answered, drained.cut), (400, 0));
}

#[tokio::test(start_paused = true)]
async fn connections_open_at_the_deadline_are_aborted_and_counted_exactly() {
    let served = serve_with(Probe::default(), |server| server.drain_deadline(secs(10))).await;
    let mut clients = Vec::new();
    for message in ["hang\n", "hang\n", "sleep 5\n", "x\n"] {
        let mut client = served.connect().await;
        client.send(message).await;
        clients.push(client);
    }
    served.probe.called("message", 4).await;
    let begun = Instant::now();
    let drained = served.running.drain().await;
    assert_eq!((drained.open, drained.cut), (4, 2));
    assert_eq!(begun.elapsed().as_secs(), 10);
    assert_eq!(served.probe.reasons(4).await, ["drain", "drain", "drain_deadline", "drain_deadline"]);
    for client in &mut clients {
        client.rest().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_abort_handle_ends_a_drain_immediately() {
    let served = serve(Probe::default()).await;
    let mut client = served.connect().await;
    client.send("hang\n").await;
    served.probe.called("message", 1).await;
    let abort_handle = served.running.abort_handle();
    let begun = Instant::now();
    let (drained, ()) = tokio::join!(served.running.drain(), async {
        sleep(secs(2)).await;
        abort_handle.abort();
    });
    assert_eq!((drained.open, drained.cut), (1, 1));
    assert_eq!(begun.elapsed().as_secs(), 2);
    client.expect_end().await;
    assert_eq!(served.probe.reason().await, "killed");
}

#[tokio::test(start_paused = true)]
async fn a_close_method_that_does_not_return_is_aborted_at_the_deadline() {
    let served = serve_with(Probe::default().closing("hang"), |server| server.drain_deadline(secs(3))).await;
    let mut client = served.connect().await;
    client.send("hang\n").await;
    served.probe.called("message", 1).await;
    let begun = Instant::now();
    let drained = served.running.drain().await;
    assert_eq!((drained.open, drained.cut), (1, 1));
    assert!(begun.elapsed() <= secs(5), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_aborted_at_the_deadline() {
    let served = serve_with(Probe::default(), |server| server.drain_deadline(secs(3))).await;
    let mut client = served.connect().await;
    client.send("big 1000000\n").await;
    served.probe.called("message", 1).await;
    sleep(secs(1)).await;
    let drained = served.running.drain().await;
    assert_eq!((drained.open, drained.cut), (1, 1));
    assert_eq!(served.probe.connection(0).close_reason(), Some(CloseReason::DrainDeadline));
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_frames_finishes_during_a_drain() {
    let served = serve(Probe::default()).await;
    let mut client = served.connect().await;
    client.send("stream a b c d\n").await.expect("a\n").await;
    assert_eq!(served.running.drain().await.cut, 0);
    client.expect("b\nc\nd\n").await.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_sees_the_drain_and_can_still_push() {
    let served = serve(Probe::default()).await;
    let mut client = served.connect().await;
    client.send("drain?\nsleep 5\ndrain?\npush a b\n").await.expect("false\n").await;
    served.probe.called("message sleep", 1).await;
    let signal = served.probe.connection(0).drain();
    assert!(!signal.is_draining() && signal.deadline().is_none());
    let (_, ()) = tokio::join!(served.running.drain(), async {
        sleep(secs(1)).await;
        let left = signal.deadline().unwrap() - Instant::now();
        assert_eq!(left.as_secs(), 29);
        served.probe.pusher(0).push("pushed before the reply").await.unwrap();
    });
    client.expect("pushed before the reply\nslept\ntrue\na\nb\npushed\n").await.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn listeners_accept_during_the_announcement_and_the_deadline_starts_after_it() {
    let probe = Probe::default();
    let mut registry = Registry::new();
    let theirs = probe.clone();
    registry.handler("probe", move |_: NoOptions| Ok(theirs.clone()));
    let (one, two) = (unique("one"), unique("two"));
    let mut listeners = ListenerSet::new(Transports::default());
    let mut drain = DrainSettings::default();
    (drain.announce, drain.deadline) = (secs(5), secs(10));
    listeners.drain_settings(drain);
    for name in [&one, &two] {
        let handler = registry.handler_entry("probe").unwrap().build(json!({})).unwrap();
        listeners.listen(ListenerSpec::new(name, format!("mem:{name}").parse().unwrap()), &handler);
    }
    let running = listeners.start().await.unwrap();
    let begun = Instant::now();
    let (drained, ()) = tokio::join!(running.drain(), async {
        sleep(secs(4)).await;
        connect(&one).await.send("x").await.expect("x").await;
        let mut client = connect(&two).await;
        client.send("hang").await;
        client.expect_end().await;
    });
    assert_eq!(begun.elapsed().as_secs(), 15);
    assert_eq!((drained.open, drained.cut), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_repeated_or_dropped_drain_call_changes_nothing() {
    let served = serve(Probe::default()).await;
    let mut client = served.connect().await;
    client.send("sleep 5\n").await;
    served.probe.called("message", 1).await;
    assert!(served.running.drain().now_or_never().is_none()); // requested, but not awaited
    sleep(secs(1)).await;
    let (one, two) = tokio::join!(served.running.drain(), served.running.drain());
    assert_eq!((one.cut, two.cut), (0, 0));
    client.expect("slept\n").await.expect_end().await;
    assert_eq!(served.running.drain().await.cut, 0);
}

#[tokio::test(start_paused = true)]
async fn the_maximum_drain_deadline_is_accepted() {
    let served = serve_with(Probe::default(), |server| server.drain_deadline(Duration::MAX)).await;
    let mut client = served.connect().await;
    client.send("sleep 500\n").await;
    served.probe.called("message", 1).await;
    assert_eq!(served.running.drain().await.cut, 0);
    client.expect("slept\n").await;
}

#[tokio::test(start_paused = true)]
async fn a_server_without_free_descriptors_drains() {
    let spy = Spy::default();
    spy.accept_errors.lock().unwrap().extend(std::iter::repeat_n(24, 1_000_000)); // EMFILE
    let served = serve_spied(Probe::default(), &spy, |server| server.limits(limits(|l| l.connections = 1))).await;
    sleep(secs(10)).await;
    let begun = Instant::now();
    served.running.drain().await;
    assert!(begun.elapsed() < secs(1));
}
