//! Start and stop of handlers: each runs once, start before the listeners are bound, stop after the last connection.
//! A failure, a panic and a timeout have their documented outcome.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use futures_util::stream;
use harness::{Client, TEST_TIMEOUT, unique};
use switchboard::metrics::{Counter, MetricValue};
use switchboard::prelude::*;
use switchboard::registry::{HandlerInstance, LayerInstance};
use switchboard::server::{ListenerSpec, ReloadError};
use switchboard::settings::DrainSettings;
use switchboard::transport::{Accepted, Bind, Listener, SchemeInfo, StreamListener, Transport};
use switchboard::{Drained, Endpoint, Phase};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::codec::LinesCodec;

use crate::changes::{at, lines, listener_set, mem};
use crate::support::{Spy, connect, secs};

/// What `start` or `stop` does.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Ok,
    Error,
    Panic,
    PanicAtOnce,
    Hang,
    Sleep(u64),
}

const FAILURES: [(Step, &str); 4] = [
    (Step::Error, "the database is closed"),
    (Step::Panic, "panicked: the database is gone"),
    (Step::PanicAtOnce, "panicked: at once"),
    (Step::Hang, "did not st"),
];

impl Step {
    fn run(self) -> impl Future<Output = Result<()>> + Send {
        if self == Self::PanicAtOnce {
            panic!("at once");
        }
        async move {
            match self {
                Self::Ok | Self::PanicAtOnce => Ok(()),
                Self::Error => Err("the database is closed".into()),
                Self::Panic => panic!("the database is gone"),
                Self::Hang => pending().await,
                Self::Sleep(seconds) => {
                    tokio::time::sleep(secs(seconds)).await;
                    Ok(())
                }
            }
        }
    }
}

/// The recorded calls of all handlers of a test.
#[derive(Clone, Default)]
struct CallLog(Arc<watch::Sender<Vec<String>>>);

impl CallLog {
    fn add(&self, call: String) {
        self.0.send_modify(|calls| calls.push(call));
    }

    fn all(&self) -> Vec<String> {
        self.0.borrow().clone()
    }

    /// Waits until a call has been recorded.
    async fn wait(&self, call: &str) {
        let mut calls = self.0.subscribe();
        let found = calls.wait_for(|calls| calls.iter().any(|known| known == call));
        let found = timeout(TEST_TIMEOUT, found).await.map(drop);
        assert!(found.is_ok(), "{call} is not in {:?}", self.all());
    }
}

/// A handler of every kind that records its calls.
#[derive(Clone)]
struct Staged {
    name: &'static str,
    calls: CallLog,
    start: Step,
    stop: Step,
    metric: Option<&'static str>,
    counter: Arc<std::sync::OnceLock<Counter>>,
}

impl Staged {
    fn new(name: &'static str, calls: &CallLog) -> Self {
        let (start, stop) = (Step::Ok, Step::Ok);
        Self { name, calls: calls.clone(), start, stop, metric: None, counter: Arc::default() }
    }

    fn starting(self, start: Step) -> Self {
        Self { start, ..self }
    }

    fn stopping(self, stop: Step) -> Self {
        Self { stop, ..self }
    }

    fn counting(self, metric: &'static str) -> Self {
        Self { metric: Some(metric), ..self }
    }

    fn made(&self) -> HandlerInstance {
        HandlerInstance::new(self.clone()).named(self.name)
    }

    fn record(&self, call: &str) {
        self.calls.add(format!("{call} {}", self.name));
    }

    fn started(&self, cx: &StartContext) -> impl Future<Output = Result<()>> + Send {
        self.record("start");
        let counter = self.metric.map(|name| cx.metrics().counter(name, "Messages."));
        let step = self.start.run();
        async move {
            if let Some(counter) = counter {
                let _ = self.counter.set(counter?);
            }
            step.await
        }
    }

    fn stopped(&self) -> impl Future<Output = Result<()>> + Send {
        self.record("stop");
        self.stop.run()
    }
}

impl<T: From<String> + Send + 'static> Handler<T> for Staged {
    type State = ();

    fn start(&self, cx: &StartContext) -> impl Future<Output = Result<()>> + Send {
        self.started(cx)
    }

    async fn message(&self, _: &mut Context<(), T>, _: T) -> Result<Reply<T>> {
        if let Some(counter) = self.counter.get() {
            counter.add(1);
        }
        Ok(Reply::send(T::from(self.name.to_owned())))
    }

    async fn close(&self, _: &mut Context<(), T>, _: CloseReason) {
        self.record("close");
    }

    fn stop(&self) -> impl Future<Output = Result<()>> + Send {
        self.stopped()
    }
}

impl StreamHandler for Staged {
    async fn serve(&self, _: Connection, mut stream: ByteStream) -> Result<()> {
        stream.write_all(format!("{}\n", self.name).as_bytes()).await?;
        let _ = stream.read(&mut [0]).await;
        self.record("close");
        Ok(())
    }

    fn start(&self, cx: &StartContext) -> impl Future<Output = Result<()>> + Send {
        self.started(cx)
    }

    fn stop(&self) -> impl Future<Output = Result<()>> + Send {
        self.stopped()
    }
}

/// A set with these listeners in memory.
fn set(listeners: &[(&ListenerSpec, &HandlerInstance)]) -> ListenerSet {
    let mut set = listener_set();
    for (spec, handler) in listeners {
        set.listen((*spec).clone(), handler);
    }
    set
}

fn spec() -> (ListenerSpec, String) {
    let name = unique("stages");
    (lines(mem(&name)), name)
}

/// The start of a server, by the way that the developer uses.
async fn start_by(way: usize, handler: Staged, name: &str) -> Result<Running> {
    let server = Server::bind(format!("mem:{name}"));
    let codec = || framing::custom(LinesCodec::new_with_max_length);
    let typed = HandlerInstance::typed(handler.clone(), codec());
    match way {
        0 => server.framing(Lines::default()).start(handler).await,
        1 => server.framing(Lines::default()).start(Arc::new(handler)).await,
        2 => server.framing(codec()).start(handler).await,
        3 => server.start_stream(handler).await,
        4 => server.start_stream(Arc::new(handler)).await,
        5 => server.framing(Lines::default()).layer(Trace::messages()).start(handler).await,
        6 => server.connection_layer(tower::layer::util::Identity::new()).framing(codec()).start(handler).await,
        7 => Ok(set(&[(&mem(name), &HandlerInstance::stream(handler))]).start().await?),
        8 => Ok(set(&[(&mem(name), &typed)]).start().await?),
        _ => Ok(set(&[(&lines(mem(name)), &HandlerInstance::new(handler))]).start().await?),
    }
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_handler_starts_before_and_stops_after_its_connections() {
    for way in 0..10 {
        let (calls, name) = (CallLog::default(), unique("ways"));
        let running = start_by(way, Staged::new("it", &calls), &name).await.unwrap();
        assert_eq!(calls.all(), ["start it"], "{way}");
        let mut client = connect(&name).await;
        client.send("hi\n").await.expect("it\n").await;
        let drain = async { running.drain().await };
        let (drained, ()) = tokio::join!(drain, async { drop(client.rest().await) });
        assert_eq!((drained.cut, drained.stop_failures), (0, 0), "{way}");
        let all = calls.all();
        assert!(all == ["start it", "close it", "stop it"] || all == ["start it", "stop it"], "{way}: {all:?}");
        assert_eq!(all.last().unwrap(), "stop it");
        assert_eq!(running.drain().await.stop_failures, 0);
        assert_eq!(calls.all(), all, "{way}: a second drain stops nothing");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_is_an_error_that_names_the_handler_and_nothing_is_bound() {
    for (step, text) in FAILURES {
        for way in 0..10 {
            let (calls, name) = (CallLog::default(), unique("failures"));
            let begun = Instant::now();
            let error = start_by(way, Staged::new("it", &calls).starting(step), &name).await.unwrap_err().to_string();
            assert!(error.contains("handler main cannot start") && error.contains(text), "{way} {step:?}: {error}");
            assert_eq!(calls.all(), ["start it"], "{way} {step:?}: a failed start is not followed by stop");
            assert!(begun.elapsed() <= secs(31), "{way} {step:?}");
            assert!(switchboard::transport::memory::connect(&name).await.is_err(), "{way} {step:?}: nothing listens");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_listener_is_bound_before_every_handler_has_started() {
    let (calls, spy, name) = (CallLog::default(), Spy::default(), unique("order"));
    let mut listeners = listener_set();
    listeners.transports().add(spy.clone());
    let (one, two) = (Staged::new("one", &calls), Staged::new("two", &calls).starting(Step::Error));
    listeners.listen(at("main", &format!("spy:{name}")), &one.made());
    listeners.listen(at("more", &format!("mem:{name}")), &two.made());
    let error = listeners.start().await.unwrap_err().to_string();
    assert_eq!(error, "handler two cannot start: the database is closed");
    assert_eq!(spy.binds.load(SeqCst), 0);
    assert_eq!(calls.all(), ["start one", "start two", "stop one"]);
}

#[tokio::test(start_paused = true)]
async fn a_handler_of_several_listeners_starts_and_stops_once() {
    let calls = CallLog::default();
    let ((main, name), (mut more, second)) = (spec(), spec());
    more.name = "more".to_owned();
    let handler = Staged::new("it", &calls).made();
    let running = set(&[(&main, &handler), (&more, &handler)]).start().await.unwrap();
    for name in [name, second] {
        connect(&name).await.send("hi\n").await.expect("it\n").await;
    }
    running.drain().await;
    let hooks: Vec<_> = calls.all().into_iter().filter(|call| !call.starts_with("close")).collect();
    assert_eq!(hooks, ["start it", "stop it"]);
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_cannot_be_bound_stops_the_handlers() {
    for stop in [Step::Ok, Step::Sleep(5), Step::Error, Step::Hang] {
        let calls = CallLog::default();
        let (taken, _) = spec();
        let _other = set(&[(&taken, &Staged::new("other", &CallLog::default()).made())]).start().await.unwrap();
        let (free, _) = spec();
        let (one, two) = (Staged::new("one", &calls).stopping(stop), Staged::new("two", &calls));
        let begun = Instant::now();
        let listeners = set(&[(&free, &one.made()), (&taken, &two.made())]);
        let error = listeners.start().await.unwrap_err().to_string();
        assert!(error.contains("cannot listen on mem:"), "{error}");
        let mut all = calls.all();
        all[2..].sort_unstable();
        assert_eq!(all, ["start one", "start two", "stop one", "stop two"]);
        assert!(begun.elapsed() <= secs(32), "{stop:?}: {:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_of_the_addresses_starts_no_handler() {
    let (calls, (main, _)) = (CallLog::default(), spec());
    set(&[(&main, &Staged::new("it", &calls).made())]).try_bind().await.unwrap();
    assert!(calls.all().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_failed_stop_is_counted_and_bounded_by_the_drain_deadline() {
    let deadlines = [(0, 2), (1, 2), (30, 30)];
    for (step, _) in FAILURES {
        for (deadline, longest) in deadlines {
            let (calls, (main, _)) = (CallLog::default(), spec());
            let (bad, good) = (Staged::new("bad", &calls).stopping(step), Staged::new("good", &calls));
            let (mut more, _) = spec();
            more.name = "more".to_owned();
            let mut listeners = set(&[(&main, &bad.made()), (&more, &good.made())]);
            let mut settings = DrainSettings::default();
            settings.deadline = secs(deadline);
            listeners.drain_settings(settings);
            let running = listeners.start().await.unwrap();
            let begun = Instant::now();
            let Drained { cut, stop_failures, .. } = running.drain().await;
            assert_eq!((cut, stop_failures), (0, 1), "{step:?}");
            let took = begun.elapsed();
            assert!(took < secs(longest + 1), "{step:?} {took:?}");
            assert!(step != Step::Hang || took >= secs(longest), "{step:?} {took:?}");
            assert!(calls.all().contains(&"stop good".to_owned()));
        }
    }
    // A stop that takes a while is within the time.
    let (calls, (main, _)) = (CallLog::default(), spec());
    let running = set(&[(&main, &Staged::new("slow", &calls).stopping(Step::Sleep(20)).made())]).start().await.unwrap();
    assert!(running.drain().await.is_complete());
}

#[tokio::test(start_paused = true)]
async fn a_second_stop_request_leaves_two_seconds_for_stop() {
    for (step, failures) in [(Step::Hang, 1), (Step::Sleep(1), 0)] {
        let (calls, (main, _)) = (CallLog::default(), spec());
        let running = set(&[(&main, &Staged::new("it", &calls).stopping(step).made())]).start().await.unwrap();
        let begun = Instant::now();
        let drained = running.serve_until(stream::iter([(), ()])).await;
        assert_eq!((drained.cut, drained.stop_failures), (0, failures));
        assert!(begun.elapsed() < secs(3), "{:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_replaced_handler_stops_after_its_last_connection_and_the_new_one_starts_first() {
    let (calls, (main, name)) = (CallLog::default(), spec());
    let (old, new) = (Staged::new("old", &calls).made(), Staged::new("new", &calls).made());
    let running = set(&[(&main, &old)]).start().await.unwrap();
    let mut client = connect(&name).await;
    client.send("hi\n").await.expect("old\n").await;
    running.reload(set(&[(&main, &new)])).await.unwrap();
    connect(&name).await.send("hi\n").await.expect("new\n").await;
    client.send("hi\n").await.expect("old\n").await;
    assert!(!calls.all().contains(&"stop old".to_owned()), "a connection uses it: {:?}", calls.all());
    drop(client);
    calls.wait("stop old").await;
    let all = calls.all();
    let place = |call: &str| all.iter().position(|known| known == call).unwrap();
    assert!(place("start new") < place("close old") && place("close old") < place("stop old"), "{all:?}");
    // An unchanged handler is neither started nor stopped.
    running.reload(set(&[(&main, &new)])).await.unwrap();
    assert_eq!(running.drain().await.stop_failures, 0);
    let count = |call: &str| calls.all().iter().filter(|known| *known == call).count();
    assert_eq!(["start old", "stop old", "start new", "stop new"].map(count), [1; 4]);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_returns_while_its_connections_are_open_keeps_running() {
    let (calls, (main, name)) = (CallLog::default(), spec());
    let (one, two) = (Staged::new("one", &calls).made(), Staged::new("two", &calls).made());
    let running = set(&[(&main, &one)]).start().await.unwrap();
    let mut client = connect(&name).await;
    client.send("hi\n").await.expect("one\n").await;
    for handler in [&two, &one, &two, &one] {
        running.reload(set(&[(&main, handler)])).await.unwrap();
    }
    client.send("hi\n").await.expect("one\n").await;
    drop(client);
    calls.wait("close one").await;
    connect(&name).await.send("hi\n").await.expect("one\n").await;
    assert!(!calls.all().contains(&"stop one".to_owned()), "{:?}", calls.all());
    // After its stop, an instance can start again.
    running.reload(set(&[(&main, &two)])).await.unwrap();
    calls.wait("stop one").await;
    running.reload(set(&[(&main, &one)])).await.unwrap();
    assert_eq!(calls.all().iter().filter(|call| *call == "start one").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_reload_with_a_failed_start_is_rejected_and_changes_nothing() {
    for (step, text) in FAILURES {
        let calls = CallLog::default();
        let ((main, name), (mut more, _)) = (spec(), spec());
        more.name = "more".to_owned();
        let old = Staged::new("old", &calls).counting("messages_total");
        let running = set(&[(&main, &old.made())]).start().await.unwrap();
        let good = Staged::new("good", &calls).counting("good_total");
        let bad = Staged::new("bad", &calls).counting("bad_total").starting(step);
        let error = running.reload(set(&[(&more, &good.made()), (&main, &bad.made())])).await.unwrap_err();
        assert!(matches!(error, ReloadError::Start(_)), "{error}");
        let error = error.to_string();
        assert!(error.contains("handler bad cannot start") && error.contains(text), "{error}");
        calls.wait("stop good").await;
        connect(&name).await.send("hi\n").await.expect("old\n").await;
        assert!(!calls.all().contains(&"stop old".to_owned()) && !calls.all().contains(&"stop bad".to_owned()));
        while running.handler_metrics().len() > 1 {
            tokio::task::yield_now().await; // the task of the stopped handler ends
        }
        assert_eq!(running.handler_metrics()[0].name, "messages_total");
        assert!(running.drain().await.is_complete());
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_whose_listener_cannot_be_bound_stops_its_new_handlers() {
    let calls = CallLog::default();
    let ((main, name), (mut taken, _)) = (spec(), spec());
    let _other = set(&[(&taken, &Staged::new("other", &CallLog::default()).made())]).start().await.unwrap();
    taken.name = "more".to_owned();
    let old = Staged::new("old", &calls).made();
    let running = set(&[(&main, &old)]).start().await.unwrap();
    let new = Staged::new("new", &calls).made();
    running.reload(set(&[(&main, &old), (&taken, &new)])).await.unwrap_err();
    calls.wait("stop new").await;
    connect(&name).await.send("hi\n").await.expect("old\n").await;
    assert!(!calls.all().contains(&"stop old".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_drain_cancels_a_reload_that_waits_for_a_start() {
    let (calls, (main, _)) = (CallLog::default(), spec());
    let (old, new) = (Staged::new("old", &calls), Staged::new("new", &calls).starting(Step::Hang));
    let good = Staged::new("good", &calls);
    let running = set(&[(&main, &old.made())]).start().await.unwrap();
    let ((mut more, _), begun) = (spec(), Instant::now());
    more.name = "more".to_owned();
    let reload = running.reload(set(&[(&more, &good.made()), (&main, &new.made())]));
    let drain = async {
        calls.wait("start new").await;
        running.drain().await
    };
    let (reloaded, drained) = tokio::join!(reload, drain);
    assert!(matches!(reloaded.unwrap_err(), ReloadError::Draining));
    assert!(drained.is_complete() && begun.elapsed() < secs(1));
    let mut stops: Vec<_> = calls.all().into_iter().filter(|call| call.starts_with("stop")).collect();
    stops.sort_unstable();
    assert_eq!(stops, ["stop good", "stop old"]);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_start_and_a_dropped_server_stop_their_handlers() {
    let (calls, (main, _), (mut more, _)) = (CallLog::default(), spec(), spec());
    more.name = "more".to_owned();
    let (one, two) = (Staged::new("one", &calls), Staged::new("two", &calls).starting(Step::Hang));
    let listeners = set(&[(&main, &one.made()), (&more, &two.made())]);
    let handlers = listeners.handlers();
    tokio::select! {
        _ = listeners.bind() => panic!("the second handler hangs"),
        () = calls.wait("start two") => {}
    }
    assert_eq!(handlers.stop(secs(30), pending()).await, 0);
    assert_eq!(calls.all(), ["start one", "start two", "stop one"]);

    drop(set(&[(&main, &Staged::new("bound", &calls).made())]).bind().await.unwrap());
    calls.wait("stop bound").await;

    let (main, name) = spec();
    let running = set(&[(&main, &Staged::new("served", &calls).made())]).start().await.unwrap();
    let mut client = connect(&name).await;
    client.send("hi\n").await.expect("served\n").await;
    drop(running);
    client.expect_end().await;
    calls.wait("stop served").await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_stop_after_a_reload_is_counted_at_the_drain() {
    for (step, _) in FAILURES {
        let (calls, (main, _)) = (CallLog::default(), spec());
        let (old, new) = (Staged::new("old", &calls).stopping(step), Staged::new("new", &calls));
        let running = set(&[(&main, &old.made())]).start().await.unwrap();
        running.reload(set(&[(&main, &new.made())])).await.unwrap();
        calls.wait("stop old").await;
        assert_eq!(running.drain().await.stop_failures, 1, "{step:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn connections_behind_layers_keep_a_replaced_handler_running() {
    let (calls, (mut main, name)) = (CallLog::default(), spec());
    main.layers = vec![LayerInstance::new(Trace::messages())];
    let (old, new) = (Staged::new("old", &calls).made(), Staged::new("new", &calls).made());
    let running = set(&[(&main, &old)]).start().await.unwrap();
    let mut client = connect(&name).await;
    client.send("hi\n").await.expect("old\n").await;
    running.reload(set(&[(&main, &new)])).await.unwrap();
    connect(&name).await.send("hi\n").await.expect("new\n").await;
    client.send("hi\n").await.expect("old\n").await;
    assert!(!calls.all().contains(&"stop old".to_owned()));
    drop(client);
    calls.wait("stop old").await;
    // The same for a stream handler.
    let (calls, (main, name)) = (CallLog::default(), spec());
    let running = set(&[(&main, &HandlerInstance::stream(Staged::new("old", &calls)))]).start().await.unwrap();
    let mut client = connect(&name).await;
    client.expect("old\n").await;
    running.reload(set(&[(&main, &HandlerInstance::stream(Staged::new("new", &calls)))])).await.unwrap();
    connect(&name).await.expect("new\n").await;
    assert!(!calls.all().contains(&"stop old".to_owned()));
    client.half_close().await.expect_end().await;
    calls.wait("stop old").await;
}

#[tokio::test]
async fn a_replaced_datagram_handler_stops() {
    let calls = CallLog::default();
    let spec = at("main", "udp://127.0.0.1:0");
    let running = set(&[(&spec, &Staged::new("old", &calls).made())]).start().await.unwrap();
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(running.socket_addr().unwrap()).await.unwrap();
    for name in ["old", "new"] {
        // A datagram that the old dispatcher has received may still be answered by it.
        let mut reply = [0; 3];
        while reply != name.as_bytes() {
            socket.send(b"hi").await.unwrap();
            timeout(TEST_TIMEOUT, socket.recv(&mut reply)).await.unwrap().unwrap();
        }
        if name == "old" {
            running.reload(set(&[(&spec, &Staged::new("new", &calls).made())])).await.unwrap();
        }
    }
    calls.wait("stop old").await;
    assert!(running.drain().await.is_complete());
    calls.wait("stop new").await;
}

#[tokio::test(start_paused = true)]
async fn metrics_continue_after_a_reload_and_end_with_the_last_instance() {
    let (calls, (main, name)) = (CallLog::default(), spec());
    let counting = || Staged::new("it", &calls).counting("messages_total").made();
    let running = set(&[(&main, &counting())]).start().await.unwrap();
    let count = || match running.handler_metrics()[0].samples[0].value {
        MetricValue::Counter(count) => count,
        ref other => panic!("{other:?}"),
    };
    for expected in 1..4 {
        connect(&name).await.send("hi\n").await.expect("it\n").await;
        assert_eq!(count(), expected);
        running.reload(set(&[(&main, &counting())])).await.unwrap();
    }
    let read = running.handler_metrics();
    assert_eq!((read.len(), read[0].samples.len(), &*read[0].samples[0].handler), (1, 1, "it"));
    running.reload(set(&[(&main, &Staged::new("it", &calls).made())])).await.unwrap();
    let waited = timeout(TEST_TIMEOUT, async {
        while !running.handler_metrics().is_empty() {
            tokio::task::yield_now().await;
        }
    });
    waited.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_drain_signal_of_a_handler_begins_with_the_drain() {
    struct Watcher(CallLog);
    impl Handler for Watcher {
        type State = ();
        async fn start(&self, cx: &StartContext) -> Result<()> {
            let (calls, mut drain) = (self.0.clone(), cx.drain());
            assert_eq!((cx.name(), drain.phase()), ("main", Phase::Running));
            tokio::spawn(async move {
                drain.draining().await;
                calls.add("draining".to_owned());
            });
            Ok(())
        }
        async fn message(&self, _: &mut Context, _: Bytes) -> Result<Reply> {
            Ok(Reply::none())
        }
        async fn stop(&self) -> Result<()> {
            self.0.wait("draining").await;
            self.0.add("stop".to_owned());
            Ok(())
        }
    }
    let calls = CallLog::default();
    let running = Server::bind(format!("mem:{}", unique("signal"))).start(Watcher(calls.clone())).await.unwrap();
    assert!(running.drain().await.is_complete());
    assert_eq!(calls.all(), ["draining", "stop"]);
}

#[tokio::test(start_paused = true)]
async fn serve_until_stops_the_handler_and_returns_its_failures() {
    let (calls, name) = (CallLog::default(), unique("until"));
    let server = Server::bind(format!("mem:{name}")).framing(Lines::default());
    let handler = Staged::new("it", &calls).stopping(Step::Error);
    let drained = server.serve_until(handler, std::future::ready(())).await.unwrap();
    assert_eq!((drained.cut, drained.stop_failures, drained.is_complete()), (0, 1, false));
    assert_eq!(calls.all(), ["start it", "stop it"]);
}

#[tokio::test(start_paused = true)]
async fn two_servers_with_one_instance_start_and_stop_it_once() {
    let (calls, (one, name), (two, _)) = (CallLog::default(), spec(), spec());
    let handler = Staged::new("it", &calls).made();
    let (first, second) =
        (set(&[(&one, &handler)]).start().await.unwrap(), set(&[(&two, &handler)]).start().await.unwrap());
    assert!(second.drain().await.is_complete());
    let mut client: Client<_> = connect(&name).await;
    client.send("hi\n").await.expect("it\n").await;
    assert_eq!(calls.all(), ["start it"]);
    drop(client);
    assert!(first.drain().await.is_complete());
    assert_eq!(calls.all().last().unwrap(), "stop it");
}

/// A transport without any client.
struct NoClients;

#[async_trait::async_trait]
impl Transport for NoClients {
    fn schemes(&self) -> Vec<SchemeInfo> {
        vec![SchemeInfo::new("none", "no clients", Kind::Stream)]
    }

    async fn bind(&self, _: Bind) -> std::io::Result<Listener> {
        Ok(Listener::Stream(Box::new(Self)))
    }
}

#[async_trait::async_trait]
impl StreamListener for NoClients {
    async fn accept(&mut self) -> std::io::Result<Option<Accepted>> {
        Ok(None)
    }

    fn endpoint(&self) -> Endpoint {
        "none:it".parse().unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_by_itself_stops_its_handler() {
    for (stop, failures) in [(Step::Ok, 0), (Step::Error, 1), (Step::Hang, 1)] {
        let calls = CallLog::default();
        let server = Server::bind("none:it").transport(NoClients);
        let handler = Staged::new("it", &calls).stopping(stop);
        let drained = server.framing(Lines::default()).serve_until(handler, pending()).await.unwrap();
        assert_eq!(drained.stop_failures, failures, "{stop:?}");
        assert_eq!(calls.all(), ["start it", "stop it"]);
    }
}
