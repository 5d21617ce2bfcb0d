//! Layers: the order of the default stack, the built-in ones at both seams, and any tower layer that fits.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll};

use harness::unique;
use serde_json::json;
use switchboard::layer::{CatchPanic, OverRate};
use switchboard::prelude::*;
use switchboard::registry::BoxMessageService;
use switchboard::server::ListenerSpec;
use switchboard::settings::{Rate, Rates};
use switchboard::testing::{self, Peer};
use switchboard::transport::Transports;
use switchboard::{CloseReason, ListenerSet, Request};
use tokio::time::{Instant, sleep};
use tower::{Layer, Service};

use crate::support::{Probe, connect, millis, secs, serve_in_kit, timeouts};

type Log = Arc<Mutex<Vec<String>>>;

/// Records each call, and panics in the given method.
#[derive(Clone)]
struct Recorder<S = ()> {
    name: &'static str,
    panics: &'static str,
    log: Log,
    inner: S,
}

fn recorder(name: &'static str, log: &Log) -> Recorder {
    Recorder { name, panics: "", log: log.clone(), inner: () }
}

impl<S> Layer<S> for Recorder {
    type Service = Recorder<S>;
    fn layer(&self, inner: S) -> Recorder<S> {
        Recorder { name: self.name, panics: self.panics, log: self.log.clone(), inner }
    }
}

impl<S, R> Service<R> for Recorder<S>
where
    S: Service<R>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;
    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        assert_ne!(self.panics, "ready", "a layer panics in poll_ready");
        self.inner.poll_ready(cx)
    }
    fn call(&mut self, request: R) -> S::Future {
        self.log.lock().unwrap().push(self.name.to_owned());
        assert_ne!(self.panics, "call", "a layer panics in call");
        self.inner.call(request)
    }
}

fn rates(count: u32, burst: u32) -> Rates {
    let mut rates = Rates::default();
    (rates.messages_per_source, rates.burst) = (Rate::per_second(count), burst);
    rates
}

async fn connect_from(server: &testing::Running, peer: &str) -> Peer {
    server.connect_from(peer.parse::<SocketAddr>().unwrap()).await
}

#[tokio::test(start_paused = true)]
async fn the_first_added_layer_is_the_outermost_per_message_and_per_connection() {
    let log = Log::default();
    let server = serve_in_kit(&Probe::default(), |server| {
        let server = server.layer(recorder("c", &log)).connection_layer(recorder("a", &log));
        server.layer(recorder("d", &log)).connection_layer(recorder("b", &log))
    })
    .await;
    let mut client = server.connect().await;
    client.send("x\n").await.expect("x\n").await.send("y\n").await.expect("y\n").await;
    assert_eq!(*log.lock().unwrap(), ["a", "b", "c", "d", "c", "d"]);
}

#[tokio::test(start_paused = true)]
async fn the_default_layers_are_outside_added_layers() {
    // Waiting for the rate limit does not count against the message timeout. A delay of the handler does.
    let set = |server: Server<Lines>| server.timeouts(timeouts(|t| t.message = secs(1))).rates(rates(1, 1));
    let server = serve_in_kit(&Probe::default(), set).await;
    let mut client = connect_from(&server, "192.0.2.1:1").await;
    client.send("a\nb\nc\nd\n").await;
    let begun = Instant::now();
    client.expect("a\nb\nc\nd\n").await;
    assert!((2900..=3100).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    client.send("sleep 2\n").await.expect_closed(CloseReason::MessageTimeout).await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_layer_closes_the_connection_like_a_panic_in_the_handler() {
    for panics in ["call", "ready"] {
        let probe = Probe::default();
        let panicking = Recorder { panics, ..recorder("x", &Log::default()) };
        let server = serve_in_kit(&probe, |server| server.layer(panicking)).await;
        server.connect().await.send("a\n").await.expect_closed(CloseReason::Panic).await;
        server.connect().await.send("a\n").await.expect_closed(CloseReason::Panic).await;
        assert_eq!(probe.reasons(2).await, ["panic", "panic"], "close is called after a panic in {panics}");
    }
}

/// Panics on the message `boo`, outside of any future.
#[derive(Clone)]
struct PanickingLayer<S = ()>(S);

impl<S> Layer<S> for PanickingLayer {
    type Service = PanickingLayer<S>;
    fn layer(&self, inner: S) -> PanickingLayer<S> {
        PanickingLayer(inner)
    }
}

impl<S: Service<Request>> Service<Request> for PanickingLayer<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;
    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }
    fn call(&mut self, request: Request) -> S::Future {
        assert_ne!(request.message, "boo", "the layer panics");
        self.0.call(request)
    }
}

#[tokio::test(start_paused = true)]
async fn replies_before_a_panic_in_a_layer_are_written() {
    let server = serve_in_kit(&Probe::default(), |server| server.layer(PanickingLayer(()))).await;
    let mut client = server.connect().await;
    client.send("a\nboo\nb\n").await.expect("a\n").await.expect_closed(CloseReason::Panic).await;
    server.connect().await.send("a\n").await.expect("a\n").await;
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_connection_layer_closes_only_that_connection() {
    let log = Log::default();
    let panicking = Recorder { panics: "call", ..recorder("x", &log) };
    let set = |server: Server<Lines>| server.connection_layer(CatchPanic).connection_layer(panicking);
    let server = serve_in_kit(&Probe::default(), set).await;
    server.connect().await.expect_closed(CloseReason::Panic).await;
    server.connect().await.expect_closed(CloseReason::Panic).await;
    assert_eq!((server.open(), log.lock().unwrap().len()), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn messages_over_the_rate_are_delayed_and_not_lost() {
    let server = serve_in_kit(&Probe::default(), |server| server.rates(rates(10, 0))).await;
    let mut client = connect_from(&server, "192.0.2.1:1").await;
    let mut same = connect_from(&server, "192.0.2.1:2").await;
    let mut other = connect_from(&server, "192.0.2.2:1").await;
    let mut unnamed = server.connect().await;
    let begun = Instant::now();
    client.send("x\n".repeat(30)).await.expect("x\n".repeat(10)).await;
    assert!(begun.elapsed() < millis(100), "the burst of one second is not delayed: {:?}", begun.elapsed());
    other.send("y\n".repeat(10)).await.expect("y\n".repeat(10)).await;
    unnamed.send("z\n".repeat(1000)).await.expect("z\n".repeat(1000)).await;
    assert!(begun.elapsed() < millis(100), "another source is not delayed: {:?}", begun.elapsed());
    client.expect("x\n".repeat(20)).await;
    assert!((1900..=2100).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    same.send("w\n").await.expect("w\n").await;
    assert!(begun.elapsed() > millis(2000), "all connections of a source share its rate");
    client.half_close().expect_closed(CloseReason::PeerClosed).await;
}

#[tokio::test(start_paused = true)]
async fn addresses_of_one_ipv6_network_are_one_source() {
    let server = serve_in_kit(&Probe::default(), |server| server.rates(rates(1, 1))).await;
    let mut one = connect_from(&server, "[2001:db8::1]:1").await;
    let mut two = connect_from(&server, "[2001:db8::2]:1").await;
    let mut far = connect_from(&server, "[2001:db8:0:1::1]:1").await;
    let begun = Instant::now();
    one.send("x\n").await.expect("x\n").await;
    far.send("x\n").await.expect("x\n").await;
    assert!(begun.elapsed() < millis(100));
    two.send("x\n").await.expect("x\n").await;
    assert!(begun.elapsed() > millis(900), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_same_rate_layer_rejects_connections() {
    let rate = RatePerSource::new(Rate::per_second(1), 2);
    let server = serve_in_kit(&Probe::default(), |server| server.connection_layer(rate)).await;
    let (mut one, mut two) = (connect_from(&server, "192.0.2.1:1").await, connect_from(&server, "192.0.2.1:2").await);
    connect_from(&server, "192.0.2.1:3").await.expect_closed(CloseReason::Rate).await;
    one.send("x\n").await.expect("x\n").await;
    two.send("x\n").await.expect("x\n").await;
    connect_from(&server, "192.0.2.2:1").await.send("x\n").await.expect("x\n").await;
    sleep(secs(1)).await;
    connect_from(&server, "192.0.2.1:4").await.send("x\n").await.expect("x\n").await;
    assert_eq!(OverRate.to_string(), "the source exceeded its rate limit");
}

#[tokio::test(start_paused = true)]
async fn concurrency_limits_calls_over_all_connections_and_all_calls_complete() {
    let server = serve_in_kit(&Probe::default(), |server| server.layer(Concurrency::new(2))).await;
    let begun = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = server.connect().await;
        client.send("sleep 1\n").await;
        clients.push(client);
    }
    for client in &mut clients {
        client.expect("slept\n").await;
    }
    assert_eq!(begun.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn concurrency_per_connection_delays_further_connections() {
    let server = serve_in_kit(&Probe::default(), |server| server.connection_layer(Concurrency::new(1))).await;
    let mut first = server.connect().await;
    first.send("x\n").await.expect("x\n").await;
    let mut second = server.connect().await;
    second.send("y\n").await.expect_nothing(secs(5)).await;
    drop(first);
    second.expect("y\n").await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_waits_in_a_layer_drains() {
    let set = |server: Server<Lines>| server.drain_deadline(secs(5)).connection_layer(Concurrency::new(1));
    let server = serve_in_kit(&Probe::default(), set).await;
    let mut first = server.connect().await;
    first.send("sleep 2\n").await;
    let _second = server.connect().await;
    sleep(secs(1)).await;
    let begun = Instant::now();
    assert_eq!(server.drain().await.cut, 0);
    assert!(begun.elapsed() < secs(3), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_waits_in_a_layer_is_aborted_at_the_deadline() {
    let set = |server: Server<Lines>| server.drain_deadline(secs(5)).connection_layer(Concurrency::new(1));
    let server = serve_in_kit(&Probe::default(), set).await;
    let mut first = server.connect().await;
    first.send("hang\n").await;
    let mut second = server.connect().await;
    sleep(secs(1)).await;
    let drained = server.drain().await;
    first.expect_closed(CloseReason::DrainDeadline).await;
    second.expect_closed(CloseReason::DrainDeadline).await;
    assert_eq!((drained.open, drained.cut, server.open()), (2, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn the_timeout_layer_limits_the_duration_of_a_connection() {
    let server = serve_in_kit(&Probe::default(), |server| server.connection_layer(Timeout::new(secs(5)))).await;
    let mut client = server.connect().await;
    let begun = Instant::now();
    client.send("x\n").await.expect("x\n").await.expect_closed(CloseReason::MessageTimeout).await;
    assert_eq!((begun.elapsed().as_secs(), server.open()), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn built_in_tower_layers_work() {
    let server = serve_in_kit(&Probe::default(), |server| {
        server
            .layer(tower::limit::ConcurrencyLimitLayer::new(1))
            .layer(tower::timeout::TimeoutLayer::new(secs(3)))
            .layer(tower::layer::util::Identity::new())
    })
    .await;
    let mut client = server.connect().await;
    client.send("x\nsleep 2\n").await.expect("x\nslept\n").await;
    client.send("sleep 4\n").await.expect_closed(CloseReason::HandlerError).await;
    let limit = tower::limit::RateLimitLayer::new(1, secs(1));
    let server = serve_in_kit(&Probe::default(), |server| server.layer(limit)).await;
    let begun = Instant::now();
    server.connect().await.send("a\nb\nc\n").await.expect("a\nb\nc\n").await;
    assert!(begun.elapsed() >= secs(2));
}

#[tokio::test(start_paused = true)]
async fn named_layers_are_applied_in_the_listed_order() {
    let (log, probe, calls) = (Log::default(), Probe::default(), Arc::new(AtomicUsize::new(0)));
    let mut registry = Registry::new();
    let theirs = probe.clone();
    registry.handler("probe", move |_: NoOptions| Ok(theirs.clone()));
    for name in ["one", "two"] {
        let log = log.clone();
        registry.layer(name, move |_: NoOptions| Ok(recorder(name, &log)));
    }
    let built = calls.clone();
    registry.layer("stock", move |_: NoOptions| {
        built.fetch_add(1, SeqCst);
        Ok(tower::limit::ConcurrencyLimitLayer::new(5))
    });
    let name = unique("named");
    let mut spec = ListenerSpec::new("first", format!("mem:{name}").parse().unwrap()).framing(Lines::default());
    let options = [("two", json!({})), ("stock", json!({})), ("concurrency", json!({"limit": 2})), ("one", json!({}))];
    for (name, options) in options {
        spec.layers.push(registry.layer_entry(name).unwrap().build(options).unwrap());
    }
    let handler = registry.handler_entry("probe").unwrap().build(json!({})).unwrap();
    let mut listeners = ListenerSet::new(Transports::default());
    listeners.listen(spec, &handler);
    let _running = listeners.start().await.unwrap();
    let begun = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = connect(&name).await;
        client.send("sleep 1\n").await;
        clients.push(client);
    }
    for client in &mut clients {
        client.expect("slept\n").await;
    }
    assert_eq!(begun.elapsed().as_secs(), 2, "two concurrent calls");
    assert_eq!(log.lock().unwrap()[..2], ["two", "one"]);
    assert_eq!(calls.load(SeqCst), 1);
    assert_eq!(probe.connection(0).listener(), "first");
}

#[test]
fn invalid_options_of_a_layer_or_handler_are_reported_with_their_key() {
    let mut registry = Registry::new();
    registry.handler("probe", |_: NoOptions| Ok(Probe::default()));
    registry.layer("boxed", |_: NoOptions| Ok(tower::layer::layer_fn(|inner: BoxMessageService| inner)));
    let entry = registry.layer_entry("concurrency").unwrap();
    let error = entry.check_options(&json!({"limit": "many"})).unwrap_err();
    assert_eq!(error.path, ["limit"]);
    assert!(entry.check_options(&json!({"limits": 1})).unwrap_err().message.contains("limits"));
    assert!(entry.build(json!({"limit": 0})).unwrap_err().to_string().contains("at least 1"));
    let error = registry.handler_entry("probe").unwrap().check_options(&json!({"x": 1})).unwrap_err();
    assert!(error.message.contains('x'), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_in_an_outer_layer_holds_no_inner_permit() {
    // One message per hour and source, around one call at a time. A source that waits must not block others.
    let hourly = RatePerSource::new(Rate::per_hour(1), 1);
    let server = serve_in_kit(&Probe::default(), |server| server.layer(hourly).layer(Concurrency::new(1))).await;
    let mut patient = server.connect_from(([192, 0, 2, 1], 1)).await;
    patient.send("a\n").await.expect("a\n").await.send("b\n").await.expect_nothing(secs(1)).await;
    for n in 2..20 {
        server.connect_from(([192, 0, 2, n], 1)).await.send("x\n").await.expect("x\n").await;
    }
}
