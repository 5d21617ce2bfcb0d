//! Metrics: correct counts under fixed names, kept over reloads, without peer addresses.

use std::time::Duration;

use harness::{TEST_TIMEOUT, unique};
use switchboard::metrics::{LATENCY_BOUNDS, Latency, Outcome};
use switchboard::prelude::*;
use switchboard::server::{ListenerReport, ListenerStatus, Readiness};
use switchboard::settings::Limits;
use switchboard::transport::memory;
use switchboard::{CloseReason, Phase, testing};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::changes::{at, keep, listener_set, made, mem, start};
use crate::support::{Probe, Spy, connect, limits, secs, serve, serve_spied, serve_with, timeouts};

fn closed(report: &ListenerReport) -> Vec<(&'static str, u64)> {
    report.closed.iter().filter(|(_, count)| *count > 0).map(|(reason, count)| (reason.as_str(), *count)).collect()
}

fn messages(report: &ListenerReport) -> Vec<(&'static str, u64)> {
    report.messages.iter().filter(|(_, count)| *count > 0).map(|(outcome, count)| (outcome.as_str(), *count)).collect()
}

/// The number of calls in the bucket with this upper bound.
fn in_bucket(latency: &Latency, bound: Duration) -> u64 {
    let at = LATENCY_BOUNDS.iter().position(|known| *known == bound).unwrap();
    latency.within[at] - at.checked_sub(1).map_or(0, |before| latency.within[before])
}

#[tokio::test(start_paused = true)]
async fn messages_are_counted_by_outcome_and_connections_by_close_reason() {
    let served = serve_with(Probe::default(), |server| {
        server.timeouts(timeouts(|timeouts| timeouts.message = secs(2))).limits(limits(|limits| limits.connections = 5))
    })
    .await;
    let mut stays = served.connect().await;
    stays.send("one\ntwo\nsleep 1\n").await.expect("one\ntwo\nslept\n").await;
    for message in ["error", "panic", "hang", "finish"] {
        let mut client = served.connect().await;
        client.send(format!("{message}\n")).await;
        client.rest().await;
    }
    served.probe.called("close", 4).await;
    let report = &served.running.report()[0];
    assert_eq!((report.open, report.accepted, report.sessions), (1, 5, 0));
    assert_eq!(messages(report), [("ok", 4), ("error", 1), ("panic", 1), ("timeout", 1)]);
    let wanted = [("handler_closed", 1), ("handler_error", 1), ("panic", 1), ("message_timeout", 1)];
    assert_eq!(closed(report), wanted);
    assert_eq!((report.bytes_in, report.bytes_out), (16 + 6 + 6 + 5 + 7, 14));
    // The three messages of one read are answered together, after one second.
    assert_eq!((report.latency.count, in_bucket(&report.latency, secs(1))), (4, 3));
    assert_eq!(in_bucket(&report.latency, LATENCY_BOUNDS[0]), 1); // finish
    drop(stays);
    served.probe.called("close", 5).await;
    let after = &served.running.report()[0];
    assert_eq!((after.open, after.bytes_in, after.bytes_out), (0, report.bytes_in, report.bytes_out));
}

#[tokio::test(start_paused = true)]
async fn messages_whose_replies_are_not_ready_when_the_connection_closes_are_counted_as_dropped() {
    let handler = || {
        handler_fn(|_: Context, message: Bytes| async move {
            match &*message {
                b"wait" => std::future::pending().await,
                b"later" => Ok(Reply::later(std::future::pending())),
                b"fails" => Ok(Reply::later(async { Err("no such thing".into()) })),
                b"finish" => Ok(Reply::later(async { Ok(Reply::send("bye").then_finish()) })),
                _ => Ok(Reply::send(message)),
            }
        })
    };
    let count = async |input: &str, close: fn(&mut testing::Peer)| {
        let server = testing::Server::new(handler()).framing(Lines::default()).start().await;
        let mut client = server.connect().await;
        client.send(input).await.expect("hello\n").await;
        close(&mut client);
        server.until(|server| server.open() == 0).await;
        messages(&server.report()[0])
    };
    let reset = |client: &mut testing::Peer| {
        client.reset();
    };
    assert_eq!(count("hello\n", reset).await, [("ok", 1)]);
    assert_eq!(count("hello\nwait\n", reset).await, [("ok", 1), ("dropped", 1)]);
    // The reply to the last message waits for the reply before it.
    assert_eq!(count("hello\nlater\nlater\nhello\n", reset).await, [("ok", 1), ("dropped", 3)]);
    // A later reply that fails, or that ends the connection, drops the replies behind it.
    let wait = |_: &mut testing::Peer| ();
    assert_eq!(count("hello\nfails\nlater\nlater\n", wait).await, [("ok", 1), ("error", 1), ("dropped", 2)]);
    assert_eq!(count("hello\nfinish\nlater\n", wait).await, [("ok", 2), ("dropped", 1)]);
}

#[tokio::test(start_paused = true)]
async fn rejected_connections_are_counted_by_reason() {
    let served = serve_with(Probe::default(), |server| server.limits(limits(|limits| limits.connections = 1))).await;
    let mut first = served.connect().await;
    first.send("hi\n").await.expect("hi\n").await;
    for _ in 0..3 {
        served.connect().await.expect_end().await;
    }
    let report = &served.running.report()[0];
    assert_eq!(
        report.rejected,
        [(CloseReason::Limit, 3), (CloseReason::Denied, 0), (CloseReason::Rate, 0), (CloseReason::Banned, 0)]
    );
    assert_eq!((report.accepted, closed(report)), (1, vec![]));
}

#[tokio::test(start_paused = true)]
async fn counts_continue_over_reloads_that_change_the_listener() {
    let (name, probe) = (unique("metrics"), Probe::default());
    let running = start(mem(&name), &probe).await;
    let mut client = connect(&name).await;
    client.send("one\n").await.expect("one\n").await;
    let mut spec = mem(&name);
    spec.limits = Limits::default();
    spec.limits.connections = 7;
    keep(&running, spec).await.unwrap();
    client.send("two\n").await.expect("two\n").await;
    // The listener moves to another address and drains its old connections. It stays one listener in the report.
    let moved = unique("metrics");
    keep(&running, mem(&moved)).await.unwrap();
    client.expect_end().await;
    connect(&moved).await.send("three\n").await.expect("three\n").await;
    let reports = running.report();
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert_eq!((reports[0].accepted, reports[0].latency.count), (2, 3));
    assert_eq!(reports[0].endpoint.to_string(), format!("mem:{moved}"));
}

#[tokio::test]
async fn datagrams_are_counted() {
    let probe = Probe::default();
    let mut spec = at("main", "udp://127.0.0.1:0");
    spec.limits.frame = 10;
    let mut one = listener_set();
    one.listen(spec, &made(&probe));
    let running = one.start().await.unwrap();
    for _ in 0..2 {
        timeout(TEST_TIMEOUT, running.heartbeat()).await.unwrap();
    }
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(("127.0.0.1", running.address().unwrap().port().unwrap())).await.unwrap();
    let mut answer = [0; 100];
    for message in ["far too long", "error", "panic", "wait", "hello"] {
        client.send(message.as_bytes()).await.unwrap();
    }
    probe.gate.add_permits(1);
    for wanted in ["waited", "hello"] {
        let count = timeout(TEST_TIMEOUT, client.recv(&mut answer)).await.unwrap().unwrap();
        assert_eq!(&answer[..count], wanted.as_bytes());
    }
    // The counters are updated after each receive batch.
    let report = timeout(TEST_TIMEOUT, async {
        loop {
            let report = running.report().remove(0);
            if report.bytes_out == 11 && report.latency.count == 2 {
                return report;
            }
            tokio::task::yield_now().await;
        }
    });
    let report = report.await.unwrap();
    assert_eq!(messages(&report), [("ok", 2), ("error", 1), ("panic", 1), ("dropped", 1)]);
    assert_eq!((report.sessions, report.bytes_in, report.open), (1, 19, 0));
}

#[tokio::test(start_paused = true)]
async fn open_connections_can_be_listed_and_closed() {
    let served = serve(Probe::default()).await;
    let (mut one, mut two) = (served.connect().await, served.connect().await);
    one.send("1\n").await.expect("1\n").await;
    two.send("2\n").await.expect("2\n").await;
    let there = served.running.connections();
    assert_eq!(there.len(), 2);
    let first = served.probe.connection(0);
    assert!(there.iter().any(|connection| connection.id() == first.id()));
    assert!(served.running.kill(first.id()) && !served.running.kill(u64::MAX));
    assert_eq!(served.probe.reason().await, "killed");
    one.rest().await;
    two.send("still\n").await.expect("still\n").await;
    assert!(!served.running.kill(first.id()));
    assert_eq!(served.running.drain().await.cut, 0); // the connection was killed before the drain
}

#[tokio::test(start_paused = true)]
async fn a_server_is_ready_while_all_listeners_accept_and_no_drain_is_announced() {
    let spy = Spy::default();
    let served = serve_spied(Probe::default(), &spy, |server| server).await;
    assert_eq!((served.running.readiness(), served.running.phase()), (Readiness::Ready, Phase::Running));
    // The listener is re-bound immediately, and after the next failure with a delay.
    let state = || served.running.report()[0].state;
    spy.accept_errors.lock().unwrap().extend([9, 9]); // EBADF
    drop(memory::connect(&served.name).await.unwrap());
    let breaks = async {
        while state() != ListenerStatus::Down {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(TEST_TIMEOUT, breaks).await.unwrap();
    assert_eq!(served.running.readiness(), Readiness::NotReady("listener main is down".into()));
    let mut answers = Box::pin(served.running.heartbeat());
    assert!(futures_util::poll!(&mut answers).is_pending());
    let errors = served.running.report()[0].accept_errors.clone();
    assert!(errors.contains(&("listener", 2)), "{errors:?}");
    let again = async {
        while state() != ListenerStatus::Listening {
            tokio::time::sleep(secs(1)).await;
        }
    };
    timeout(TEST_TIMEOUT, again).await.unwrap();
    assert_eq!(served.running.readiness(), Readiness::Ready);
    timeout(TEST_TIMEOUT, answers).await.expect("what listens again answers");
    let mut busy = served.connect().await;
    busy.send("wait\n").await;
    served.probe.called("message", 1).await;
    let mut drain = Box::pin(served.running.drain());
    assert!(futures_util::poll!(&mut drain).is_pending());
    assert_eq!(
        (state(), served.running.readiness()),
        (ListenerStatus::Draining, Readiness::NotReady("draining".into()))
    );
    served.probe.gate.add_permits(1);
    assert_eq!(drain.await.cut, 0);
}

#[test]
fn the_metric_names_are_fixed() {
    let outcomes: Vec<_> = Outcome::ALL.iter().map(|outcome| outcome.as_str()).collect();
    assert_eq!(outcomes, ["ok", "error", "panic", "timeout", "dropped"]);
    let reasons: Vec<_> = CloseReason::ALL.iter().map(|reason| reason.as_str()).collect();
    let promised = "peer_closed, handler_closed, handler_error, panic, idle, first_message, handshake, message_timeout, \
        write_stalled, lifetime, frame_too_large, frame_timeout, bad_frame, outbox_full, denied, limit, rate, banned, \
        starttls_injection, drain, drain_deadline, killed, io_error";
    assert_eq!(reasons.join(", "), promised);
}
