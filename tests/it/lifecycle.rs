//! The life of a connection: greeting, replies of every kind, and each way to end with its close reason.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use harness::{Client, unique};
use switchboard::address::Endpoint;
use switchboard::prelude::*;
use switchboard::transport::Accepted;
use switchboard::transport::memory;
use switchboard::{TASKS_PER_CONNECTION, framing};
use switchboard_handlers::{Hello, HelloOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::codec::{Decoder, Encoder};
use tower::Service;

use crate::support::{
    MemClient, Probe, Served, Spy, connect, limits, millis, secs, serve, serve_spied, serve_with, timeouts,
};

#[tokio::test(start_paused = true)]
async fn the_greeting_is_sent_before_the_client_sends() {
    let served = serve(Probe::default().opening("many welcome !")).await;
    let mut client = served.connect().await;
    client.expect("welcome\n!\n").await.send("hi\n").await.expect("hi\n").await;
}

#[tokio::test(start_paused = true)]
async fn open_messages_and_close_are_called_in_order_and_open_and_close_once() {
    let served = serve(Probe::default()).await;
    let mut client = served.connect().await;
    client.send("a\nb\n").await.expect("a\nb\n").await.half_close().await.expect_end().await;
    assert_eq!(served.probe.reason().await, "peer_closed");
    assert_eq!(served.probe.calls(), ["open", "message a", "message b", "close peer_closed"]);
}

#[tokio::test(start_paused = true)]
async fn an_arc_of_a_handler_is_a_handler() {
    let (name, probe) = (unique("arc"), Probe::default());
    let server = Server::bind(format!("mem:{name}")).framing(Lines::default());
    let _running = server.start(Arc::new(probe.clone())).await.unwrap();
    connect(&name).await.send("a\n").await.expect("a\n").await.half_close().await.expect_end().await;
    assert_eq!(probe.reason().await, "peer_closed");
    assert_eq!(probe.calls(), ["open", "message a", "close peer_closed"]);
}

#[tokio::test(start_paused = true)]
async fn each_kind_of_reply_has_its_documented_effect() {
    let served = serve(Probe::default()).await;
    let mut client = served.connect().await;
    client.send("none\n").await.expect_silence(secs(1)).await;
    client.send("one\n").await.expect("one\n").await;
    client.send("many a b c\n").await.expect("a\nb\nc\n").await;
    client.send("many\n").await.expect_silence(secs(1)).await;
    client.send("stream a b\nafter\n").await;
    let begun = Instant::now();
    client.expect("a\n").await;
    assert_eq!(begun.elapsed(), secs(1), "each frame of a stream is sent immediately");
    client.expect("b\nafter\n").await;
    client.send("x\nfinish y z\nnever\n").await.expect("x\ny\nz\n").await.expect_end().await;
    assert_eq!(served.probe.reason().await, "handler_closed");
    assert!(!served.probe.calls().contains(&"message never".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn finish_writes_frames_that_were_queued_before() {
    let served = serve(Probe::default()).await;
    let mut client = served.connect().await;
    client.send("a\nfinish\n").await.expect("a\n").await.expect_end().await;
    let mut client = served.connect().await;
    client.send("a\nstream-finish b c\n").await.expect("a\nb\nc\n").await.expect_end().await;
    assert_eq!(served.probe.reasons(2).await, ["handler_closed", "handler_closed"]);
}

#[tokio::test(start_paused = true)]
async fn close_discards_queued_frames() {
    let served = serve(Probe::default()).await;
    let mut client = served.connect().await;
    client.send("a\nclose\nb\n").await.expect_end().await;
    assert_eq!(served.probe.reason().await, "handler_closed");
    let served = serve(Probe::default().opening("close")).await;
    served.connect().await.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn a_greeting_may_be_the_whole_conversation() {
    let served = serve(Probe::default().opening("finish bye")).await;
    let mut client = served.connect().await;
    client.send("ignored\n").await.expect("bye\n").await.expect_end().await;
    assert_eq!(served.probe.calls(), ["open", "close handler_closed"]);
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_client_gets_all_replies() {
    let served = serve(Probe::default()).await;
    let mut client = served.connect().await;
    client.send("sleep 3\nb\nstream c d\nsleep 1\nunended").await.half_close().await;
    client.expect("slept\nb\nc\nd\nslept\nunended\n").await.expect_end().await;
    assert_eq!(served.probe.reason().await, "peer_closed");
}

#[tokio::test(start_paused = true)]
async fn sixteen_pipelined_requests_are_answered_in_one_write() {
    let spy = Spy::default();
    let served = serve_spied(Probe::default(), &spy, |server| server).await;
    let mut client = served.connect().await;
    client.send("x\n".repeat(16)).await.expect("x\n".repeat(16)).await;
    assert_eq!(spy.writes.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn many_replies_and_pushes_of_one_call_are_one_write() {
    let spy = Spy::default();
    let served = serve_spied(Probe::default(), &spy, |server| server).await;
    let mut client = served.connect().await;
    client.send("push a b c\n").await.expect("a\nb\nc\npushed\n").await;
    client.send("many a b c\n").await.expect("a\nb\nc\n").await;
    assert_eq!(spy.writes.load(SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_panic_closes_only_its_connection() {
    for (probe, request, answer) in [
        (Probe::default(), "a\npanic\nb\n", "a\n"),
        (Probe::default(), "a\nstream-panic\nb\n", "a\nfirst\n"),
        (Probe::default().opening("panic"), "a\n", ""),
    ] {
        let served = serve(probe).await;
        let mut other = served.connect().await;
        let mut client = served.connect().await;
        client.send(request).await.expect(answer).await.expect_end().await;
        if request != "a\n" {
            assert_eq!(served.probe.reason().await, "panic");
            other.send("still here\n").await.expect("still here\n").await;
        } else {
            assert_eq!(served.probe.reasons(2).await, ["panic", "panic"]);
        }
        served.serves_the_next().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_close_affects_no_other_connection() {
    let served = serve(Probe::default().closing("panic")).await;
    let mut client = served.connect().await;
    client.send("finish bye\n").await.expect("bye\n").await.expect_end().await;
    served.serves_the_next().await;
    assert_eq!(served.probe.reasons(1).await[0], "handler_closed");
}

#[tokio::test(start_paused = true)]
async fn the_close_method_is_dropped_after_one_second() {
    let served = serve(Probe::default().closing("hang")).await;
    let mut client = served.connect().await;
    let begun = Instant::now();
    client.send("finish bye\n").await.expect("bye\n").await.expect_end().await;
    assert!(begun.elapsed() <= secs(2), "{:?}", begun.elapsed());
    served.serves_the_next().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_close_does_not_delay_the_last_reply() {
    let served = serve(Probe::default().closing("sleep 1")).await;
    let mut client = served.connect().await;
    let begun = Instant::now();
    client.send("finish bye\n").await.expect("bye\n").await;
    assert!(begun.elapsed() < millis(500), "the reply arrived after {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn earlier_replies_are_written_before_an_error_closes_the_connection() {
    let served = serve(Probe::default()).await;
    served.connect().await.send("a\nerror\nb\n").await.expect("a\n").await.expect_end().await;
    served.connect().await.send("stream-error a b\n").await.expect("a\nb\n").await.expect_end().await;
    assert_eq!(served.probe.reasons(2).await, ["handler_error", "handler_error"]);
    let served = serve(Probe::default().opening("error")).await;
    served.connect().await.expect_end().await;
    assert_eq!(served.probe.reason().await, "handler_error");
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_closes_with_idle_and_a_busy_one_stays_open() {
    let served = serve_with(Probe::default(), |server| server.timeouts(timeouts(|t| t.idle = secs(10)))).await;
    let mut client = served.connect().await;
    let begun = Instant::now();
    client.send("sleep 15\n").await.expect("slept\n").await;
    sleep(secs(8)).await;
    client.send("more\n").await.expect("more\n").await.expect_end().await;
    assert_eq!(begun.elapsed().as_secs(), 33);
    assert_eq!(served.probe.reason().await, "idle");
}

#[tokio::test(start_paused = true)]
async fn pushed_frames_reset_the_idle_timeout() {
    let served = serve_with(Probe::default(), |server| server.timeouts(timeouts(|t| t.idle = secs(10)))).await;
    let mut client = served.connect().await;
    served.probe.called("open", 1).await;
    for _ in 0..5 {
        sleep(secs(9)).await;
        served.probe.pusher(0).push("tick").await.unwrap();
        client.expect("tick\n").await;
    }
    client.expect_end().await;
    assert_eq!(served.probe.reason().await, "idle");
}

#[tokio::test(start_paused = true)]
async fn the_default_idle_timeout_is_five_minutes() {
    let served = serve(Probe::default()).await;
    let mut client = served.connect().await;
    client.expect_silence(secs(299)).await.expect_end().await;
    assert_eq!(served.probe.reason().await, "idle");
}

#[tokio::test(start_paused = true)]
async fn the_first_message_timeout_is_not_extended_by_single_bytes() {
    let set = |server: Server<Lines>| server.timeouts(timeouts(|t| t.first_message = secs(5)));
    let served = serve_with(Probe::default(), set).await;
    let (mut slow, mut good) = (served.connect().await, served.connect().await);
    good.send("in time\n").await.expect("in time\n").await;
    let begun = Instant::now();
    for _ in 0..4 {
        slow.send("x").await;
        sleep(secs(1)).await;
    }
    slow.expect_end().await;
    assert_eq!(begun.elapsed().as_secs(), 5);
    assert_eq!(served.probe.reason().await, "first_message");
    sleep(secs(60)).await;
    good.send("still here\n").await.expect("still here\n").await;
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_message_closes_with_frame_timeout() {
    let served = serve_with(Probe::default(), |server| server.timeouts(timeouts(|t| t.frame = secs(5)))).await;
    let mut client = served.connect().await;
    sleep(secs(60)).await;
    let begun = Instant::now();
    client.send("whole\nbeg").await.expect("whole\n").await;
    for _ in 0..4 {
        sleep(secs(1)).await;
        client.send("x").await;
    }
    client.expect_end().await;
    assert_eq!(begun.elapsed().as_secs(), 5);
    assert_eq!(served.probe.reason().await, "frame_timeout");
}

#[tokio::test(start_paused = true)]
async fn a_slow_call_closes_with_message_timeout() {
    let served = serve_with(Probe::default(), |server| server.timeouts(timeouts(|t| t.message = secs(5)))).await;
    let mut client = served.connect().await;
    client.send("a\nsleep 4\nsleep 6\nb\n").await.expect("a\nslept\n").await.expect_end().await;
    assert_eq!(served.probe.reason().await, "message_timeout");
    served.serves_the_next().await;
}

/// Replies `too slow` instead of returning an error.
#[derive(Clone)]
struct RecoverError<S = ()>(S);

impl<S> tower::Layer<S> for RecoverError {
    type Service = RecoverError<S>;
    fn layer(&self, inner: S) -> RecoverError<S> {
        RecoverError(inner)
    }
}

impl<S> Service<Request> for RecoverError<S>
where
    S: Service<Request, Response = Reply, Error = BoxError, Future: Send + 'static>,
{
    type Response = Reply;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Reply>>;
    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<()>> {
        self.0.poll_ready(cx)
    }
    fn call(&mut self, request: Request) -> Self::Future {
        let call = self.0.call(request);
        Box::pin(async { call.await.or_else(|_| Ok(Reply::send("too slow"))) })
    }
}

#[tokio::test(start_paused = true)]
async fn the_state_survives_a_dropped_call() {
    let name = unique("forgive");
    let server = Server::bind(format!("mem:{name}")).framing(Lines::default());
    let server = server.layer(RecoverError(())).layer(Timeout::new(secs(1)));
    let _running = server.start(Probe::default()).await.unwrap();
    let mut client = connect(&name).await;
    client.send("count\n").await.expect("1\n").await;
    client.send("count-and-hang\n").await.expect("too slow\n").await;
    client.send("count\n").await.expect("3\n").await;
    client.send("error\n").await.expect("too slow\n").await;
    client.send("count\n").await.expect("4\n").await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_closes_with_write_stalled() {
    let served = serve_with(Probe::default(), |server| server.timeouts(timeouts(|t| t.write = secs(5)))).await;
    let mut client = served.connect().await;
    client.send("endless\n").await;
    assert_eq!(served.probe.reason().await, "write_stalled");
    served.serves_the_next().await;
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_that_makes_progress_is_not_stalled() {
    let served = serve_with(Probe::default(), |server| server.timeouts(timeouts(|t| t.write = secs(5)))).await;
    let mut client = served.connect().await;
    client.send("big 300000\n").await;
    for _ in 0..10 {
        sleep(secs(4)).await;
        client.expect("x".repeat(30_000)).await;
    }
    client.expect("\n").await;
    client.send("and\n").await.expect("and\n").await;
}

/// Reads 300,000 bytes with a line end in 40 s.
async fn read_slowly(client: &mut MemClient) {
    for _ in 0..10 {
        sleep(secs(4)).await;
        client.expect("x".repeat(30_000)).await;
    }
    client.expect("\n").await;
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_message_starts_again_after_output_that_the_peer_had_to_read() {
    let served = serve_with(Probe::default(), |server| server.timeouts(timeouts(|t| t.frame = secs(15)))).await;
    for is_silent in [false, true] {
        let mut client = served.connect().await;
        client.send("big 300000\nbeg").await;
        read_slowly(&mut client).await;
        if is_silent {
            let begun = Instant::now();
            client.expect_end().await;
            // The last 64 KiB were written before the client read them.
            assert!((3..=7).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
        } else {
            client.send("un\n").await.expect("begun\n").await.half_close().await.expect_end().await;
        }
    }
    assert_eq!(served.probe.reasons(2).await, ["peer_closed", "frame_timeout"]);
}

#[tokio::test(start_paused = true)]
async fn the_first_message_is_read_after_output_that_the_peer_had_to_read() {
    let first_message = timeouts(|t| t.first_message = secs(5));
    let served = serve_with(Probe::default().opening("big 300000"), |server| server.timeouts(first_message)).await;
    let mut good = served.connect().await;
    good.send("hi\n").await;
    read_slowly(&mut good).await;
    good.expect("hi\n").await.half_close().await.expect_end().await;
    let mut silent = served.connect().await;
    read_slowly(&mut silent).await;
    silent.expect_end().await;
    assert_eq!(served.probe.reasons(2).await, ["peer_closed", "first_message"]);
}

#[tokio::test(start_paused = true)]
async fn input_counts_that_arrives_while_the_peer_reads_earlier_output() {
    let name = unique("input");
    let big = handler_fn(|cx: Context, message: Bytes| async move {
        cx.set_input_timeout(secs(2));
        Ok(Reply::send(if message == "big" { vec![b'x'; 300_000].into() } else { message }))
    });
    let server = Server::bind(format!("mem:{name}")).framing(Lines::default());
    let _running = server.start(big).await.unwrap();
    let mut good = connect(&name).await;
    good.send("first\n").await.expect("first\n").await.send("big\n").await;
    sleep(secs(4)).await;
    good.send("ping\n").await;
    read_slowly(&mut good).await;
    good.expect("ping\n").await;
    let mut silent = connect(&name).await;
    silent.send("first\n").await.expect("first\n").await.send("big\n").await;
    read_slowly(&mut silent).await;
    silent.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn a_delayed_flush_is_not_a_stalled_peer() {
    let spy = Spy { lazy_flush: true, ..Spy::default() };
    let served = serve_spied(Probe::default(), &spy, |server| server.timeouts(timeouts(|t| t.write = secs(5)))).await;
    let mut client = served.connect().await;
    client.send("a\n").await.expect("a\n").await;
    sleep(secs(20)).await;
    assert_eq!(served.probe.calls(), ["open", "message a"]);
    client.send("b\n").await.expect("b\n").await;
}

#[tokio::test(start_paused = true)]
async fn the_lifetime_ends_a_connection_at_a_message_boundary() {
    let served = serve_with(Probe::default(), |server| server.timeouts(timeouts(|t| t.lifetime = secs(10)))).await;
    let (mut idle, mut busy) = (served.connect().await, served.connect().await);
    let mut partial = served.connect().await;
    sleep(secs(9)).await;
    busy.send("sleep 5\nalso\n").await;
    partial.send("beg").await;
    idle.expect_end().await;
    partial.send("un\nnot this\n").await.expect("begun\n").await.expect_end().await;
    busy.expect("slept\nalso\n").await.expect_end().await;
    assert_eq!(served.probe.reasons(3).await, ["lifetime"; 3]);
}

#[tokio::test(start_paused = true)]
async fn earlier_replies_are_written_before_a_large_message_closes_the_connection() {
    let served = serve_with(Probe::default(), |server| server.limits(limits(|l| l.frame = 10))).await;
    served.connect().await.send("0123456789\n").await.expect("0123456789\n").await;
    served.connect().await.send("a\n01234567890\nb\n").await.expect("a\n").await.expect_end().await;
    assert_eq!(served.probe.reasons(1).await.last().unwrap(), "frame_too_large");
    served.serves_the_next().await;
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_the_framing_cannot_encode_is_a_handler_error() {
    let name = unique("json");
    let probe = Probe::default();
    let server = Server::bind(format!("mem:{name}")).framing(JsonLines::default());
    let _running = server.start(probe.clone()).await.unwrap();
    let mut client = connect(&name).await;
    client.send("1\n").await.expect("1\n").await; // unchanged: one JSON value
    let answer_nonsense = handler_fn(|_: Context, _: Bytes| async { Ok(Reply::send("no json")) });
    let name = unique("json");
    let server = Server::bind(format!("mem:{name}")).framing(JsonLines::default());
    let _running = server.start(answer_nonsense).await.unwrap();
    connect(&name).await.send("1\n").await.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn a_network_error_closes_with_io_error() {
    let spy = Spy::default();
    let served = serve_spied(Probe::default(), &spy, |server| server).await;
    let mut client = served.connect().await;
    client.send("a\n").await.expect("a\n").await;
    spy.broken.store(true, SeqCst);
    client.send("b\n").await.expect_end().await;
    assert_eq!(served.probe.reason().await, "io_error");
    spy.broken.store(false, SeqCst);
    served.serves_the_next().await;
}

#[tokio::test(start_paused = true)]
async fn a_disconnect_drops_the_running_call() {
    let spy = Spy::default();
    let served = serve_spied(Probe::default(), &spy, |server| server).await;
    let mut client = served.connect().await;
    client.send("hang\n").await;
    served.probe.called("message", 1).await;
    spy.broken.store(true, SeqCst);
    client.send("wakes the reader").await;
    assert_eq!(served.probe.reason().await, "io_error");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_server_aborts_open_connections() {
    let served = serve(Probe::default()).await;
    let (mut idle, mut busy) = (served.connect().await, served.connect().await);
    busy.send("hang\n").await;
    served.probe.called("message", 1).await;
    let Served { running, name, probe } = served;
    drop(running);
    idle.expect_end().await;
    busy.expect_end().await;
    assert_eq!(probe.reasons(2).await, ["killed", "killed"]);
    sleep(millis(1)).await;
    assert!(memory::connect(&name).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_closed_connection_reports_its_reason_and_exact_counts() {
    let served = serve(Probe::default()).await;
    let mut client = served.connect().await;
    client.send("abc\nde\n").await.expect("abc\nde\n").await;
    let connection = served.probe.connection(0);
    assert_eq!(connection.close_reason(), None);
    assert_eq!(connection.kind(), Kind::Stream);
    assert_eq!(connection.listener(), "main");
    client.send("finish bye\nunread").await.expect("bye\n").await.expect_end().await;
    drop(client);
    served.running.drain().await;
    assert_eq!(connection.close_reason(), Some(CloseReason::HandlerClosed));
    let counts = (connection.messages(), connection.bytes_in(), connection.bytes_out());
    assert_eq!(counts, (3, 7 + 11 + 6, 7 + 4));
}

/// Counts live instances.
struct LiveGuard(Arc<AtomicUsize>);

impl Drop for LiveGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

fn live(count: &Arc<AtomicUsize>) -> LiveGuard {
    count.fetch_add(1, SeqCst);
    LiveGuard(count.clone())
}

struct Spawner(Arc<AtomicUsize>);

impl Handler for Spawner {
    type State = ();
    async fn message(&self, cx: &mut Context, message: Bytes) -> Result<Reply> {
        if message == "panic" {
            cx.spawn(async { panic!("a task panics") })?;
            return Ok(Reply::send("spawned"));
        }
        let guard = live(&self.0);
        let spawned = cx.spawn(async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        });
        Ok(Reply::send(match spawned {
            Ok(()) => "spawned".to_owned(),
            Err(error) => error.to_string(),
        }))
    }
}

#[tokio::test(start_paused = true)]
async fn spawned_tasks_end_with_their_connection_and_are_bounded() {
    let (tasks, name) = (Arc::new(AtomicUsize::new(0)), unique("spawner"));
    let server = Server::bind(format!("mem:{name}")).framing(Lines::default());
    let running = server.start(Spawner(tasks.clone())).await.unwrap();
    let mut other = connect(&name).await;
    other.send("x\n").await.expect("spawned\n").await;
    let mut client = connect(&name).await;
    client.send("panic\n").await.expect("spawned\n").await;
    tokio::task::yield_now().await;
    for _ in 0..TASKS_PER_CONNECTION {
        client.send("x\n").await.expect("spawned\n").await;
    }
    client.send("x\n").await.expect("this connection already has 64 tasks running\n").await;
    assert_eq!(tasks.load(SeqCst), TASKS_PER_CONNECTION + 1);
    client.half_close().await.expect_end().await;
    while running.open() > 1 {
        sleep(millis(1)).await;
    }
    tokio::task::yield_now().await;
    assert_eq!(tasks.load(SeqCst), 1, "the tasks of the other connection still run");
    drop(other);
    running.drain().await;
    sleep(millis(1)).await;
    assert_eq!(tasks.load(SeqCst), 0);
}

/// Holds a counted instance that must be dropped with the state.
#[derive(Default)]
struct GuardedState(Option<LiveGuard>);

struct LeakProbe {
    live: Arc<AtomicUsize>,
    pushers: Arc<Mutex<Vec<Pusher>>>,
}

impl Handler for LeakProbe {
    type State = GuardedState;
    async fn open(&self, cx: &mut Context<GuardedState>) -> Result<Reply> {
        cx.state.0 = Some(live(&self.live));
        self.pushers.lock().unwrap().push(cx.pusher());
        let (pusher, guard) = (cx.pusher(), live(&self.live));
        cx.spawn(async move {
            let _guard = guard;
            let _ = pusher;
            std::future::pending::<()>().await;
        })?;
        Ok(Reply::none())
    }
    async fn message(&self, _: &mut Context<GuardedState>, message: Bytes) -> Result<Reply> {
        let _guard = live(&self.live);
        match &*message {
            b"hang" => std::future::pending().await,
            b"panic" => panic!("requested"),
            b"close" => Ok(Reply::close()),
            _ => Ok(Reply::send(message)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_closed_connection_is_freed_even_if_a_pusher_exists() {
    let (count, pushers, name) = (Arc::new(AtomicUsize::new(0)), Arc::default(), unique("leak_probe"));
    let handler = Arc::new(());
    let watched: Weak<()> = Arc::downgrade(&handler);
    let leak_probe = LeakProbe { live: count.clone(), pushers: Arc::clone(&pushers) };
    let server = Server::bind(format!("mem:{name}")).framing(Lines::default());
    let running = server.timeouts(timeouts(|t| t.message = secs(3))).start(leak_probe).await.unwrap();
    for message in ["a\n", "a\nhang\n", "a\npanic\n", "a\nclose\n", "b\nc\n"] {
        let mut client = connect(&name).await;
        client.send(message).await.half_close().await;
        client.rest().await;
    }
    let mut client = connect(&name).await;
    client.send("x\n").await.expect("x\n").await;
    drop(client);
    let drained = timeout(secs(60), running.drain()).await.expect("a stored pusher does not delay the drain");
    assert_eq!(drained.cut, 0);
    drop(handler);
    sleep(secs(1)).await;
    assert_eq!(count.load(SeqCst), 0, "states, tasks and calls are dropped");
    assert!(watched.upgrade().is_none());
    let pushers: Vec<Pusher> = std::mem::take(&mut *pushers.lock().unwrap());
    assert_eq!(pushers.len(), 6);
    for pusher in pushers {
        assert_eq!(pusher.push("too late").await, Err(PushError::Closed));
    }
}

/// A codec that panics on a message that begins with `!`.
struct PanickingCodec;

impl Decoder for PanickingCodec {
    type Item = Bytes;
    type Error = framing::FrameError;
    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, Self::Error> {
        assert!(!buffer.starts_with(b"!"), "the codec panics");
        Ok(if buffer.is_empty() { None } else { Some(buffer.split().freeze()) })
    }
}

impl Encoder<Bytes> for PanickingCodec {
    type Error = framing::FrameError;
    fn encode(&mut self, frame: Bytes, buffer: &mut BytesMut) -> Result<(), Self::Error> {
        buffer.extend_from_slice(&frame);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_codec_closes_the_connection_and_its_pushers_return_errors() {
    let (name, probe) = (unique("moody"), Probe::default());
    let server = Server::bind(format!("mem:{name}")).framing(framing::custom(|_| PanickingCodec));
    let _running = server.start(probe.clone()).await.unwrap();
    let mut client = connect(&name).await;
    client.send("a").await.expect("a").await.send("!").await.expect_end().await;
    let mut next = connect(&name).await;
    next.send("a").await.expect("a").await;
    assert_eq!(probe.connection(0).close_reason(), Some(CloseReason::Panic));
    assert_eq!(probe.pusher(0).try_push("x").unwrap_err().reason, PushError::Closed);
    assert_eq!(probe.reason().await, "panic", "close is called once for every close reason");
}

#[tokio::test(start_paused = true)]
async fn hello_implements_the_protocol_of_the_socket_tutorial() {
    let name = unique("hello");
    let _running = Server::bind(format!("mem:{name}")).start(Hello::default()).await.unwrap();
    let mut client = connect(&name).await;
    client.expect("welcome!").await;
    for name in ["Michael", "Tracy", "Sarah"] {
        client.send(name).await.expect(format!("hello, {name}!")).await;
    }
    client.send("exit").await.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn hello_with_a_delay_delays_no_other_client() {
    let name = unique("hello");
    let hello = Hello::new(HelloOptions { delay: secs(1), ..HelloOptions::default() });
    let _running = Server::bind(format!("mem:{name}")).framing(Lines::default()).start(hello).await.unwrap();
    let begun = Instant::now();
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = connect(&name).await;
        client.expect("welcome!\n").await.send("you\n").await;
        clients.push(client);
    }
    for client in &mut clients {
        client.expect("hello, you!\n").await;
    }
    assert!(begun.elapsed() < millis(1500), "{:?}", begun.elapsed());
}

struct RawEcho;

impl StreamHandler for RawEcho {
    async fn serve(&self, connection: Connection, mut stream: ByteStream) -> Result<()> {
        let mut byte = [0];
        loop {
            let mut drain = connection.drain();
            tokio::select! {
                read = stream.read(&mut byte) => if read? == 0 { return Ok(()) },
                () = drain.draining() => {
                    stream.write_all(b"bye").await?;
                    return Ok(());
                }
            }
            match byte[0] {
                b'p' => panic!("requested"),
                b'e' => return Err("requested".into()),
                b'q' => return Ok(()),
                _ => stream.write_all(&byte).await?,
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_handler_owns_the_bytes_with_the_same_limits() {
    let name = unique("tunnel");
    let server = Server::bind(format!("mem:{name}")).limits(limits(|l| l.connections = 2));
    let running = server.timeouts(timeouts(|t| t.idle = secs(5))).start_stream(RawEcho).await.unwrap();
    for (request, answer) in [("xp", "x"), ("xe", "x"), ("xq", "x"), ("x", "x")] {
        let mut client = connect(&name).await;
        client.send(request).await.expect(answer).await.expect_end().await; // the last connection reaches the idle timeout
    }
    let (mut one, mut two) = (connect(&name).await, connect(&name).await);
    one.send("x").await.expect("x").await;
    two.send("x").await.expect("x").await;
    connect(&name).await.expect_end().await;
    let drained = running.drain().await;
    one.expect("bye").await.expect_end().await;
    two.expect("bye").await.expect_end().await;
    assert_eq!((drained.open, drained.cut), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn the_maximum_duration_is_accepted_as_a_timeout() {
    let forever = timeouts(|t| {
        (t.first_message, t.frame, t.idle) = (Duration::MAX, Duration::MAX, Duration::MAX);
        (t.message, t.write, t.lifetime) = (Duration::MAX, Duration::MAX, Duration::MAX);
    });
    let served = serve_with(Probe::default(), |server| server.timeouts(forever)).await;
    served.connect().await.send("sleep 100000\n").await.half_close().await;
    let mut client = served.connect().await;
    client.send("sleep 10\n").await.expect("slept\n").await;
    let name = unique("tunnel");
    let _running = Server::bind(format!("mem:{name}")).timeouts(forever).start_stream(RawEcho).await.unwrap();
    connect(&name).await.send("x").await.expect("x").await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_delays_no_other_client_and_has_a_timeout() {
    use async_trait::async_trait;
    use std::io;
    use switchboard::transport::{Bind, Listener, SchemeInfo, Transport};
    use switchboard::transport::{BoxIo, StreamListener};

    /// The memory transport, where the first handshake hangs, the second fails and the third panics.
    struct HandshakeTransport;
    struct HandshakeListener(Box<dyn StreamListener>, usize);

    #[async_trait]
    impl Transport for HandshakeTransport {
        fn schemes(&self) -> Vec<SchemeInfo> {
            vec![SchemeInfo::new("shaking", "memory with a handshake", Kind::Stream)]
        }
        async fn bind(&self, bind: Bind) -> io::Result<Listener> {
            let name = bind.endpoint.to_string().replace("shaking:", "");
            match memory::Memory.bind(Bind::new(Endpoint::Memory(name), bind.options)).await? {
                Listener::Stream(inner) => Ok(Listener::Stream(Box::new(HandshakeListener(inner, 0)))),
                _ => unreachable!(),
            }
        }
    }

    #[async_trait]
    impl StreamListener for HandshakeListener {
        async fn accept(&mut self) -> io::Result<Option<Accepted>> {
            let Some(accepted) = self.0.accept().await? else { return Ok(None) };
            self.1 += 1;
            let nth = self.1;
            Ok(Some(accepted.then(move |io: BoxIo, _| async move {
                match nth {
                    1 => std::future::pending().await,
                    2 => Err(io::Error::other("no")),
                    3 => panic!("a handshake panics"),
                    _ => Ok(io),
                }
            })))
        }
        fn endpoint(&self) -> Endpoint {
            self.0.endpoint()
        }
    }

    let (name, probe) = (unique("shaking"), Probe::default());
    let server = Server::bind(format!("shaking:{name}")).transport(HandshakeTransport);
    let running = server.framing(Lines::default()).start(probe.clone()).await.unwrap();
    let begun = Instant::now();
    let (mut hanging, mut failing) = (connect(&name).await, connect(&name).await);
    let mut panicking = Client(memory::connect(&name).await.unwrap());
    let mut good = connect(&name).await;
    good.send("hi\n").await.expect("hi\n").await;
    failing.expect_end().await;
    panicking.expect_end().await;
    assert_eq!(running.open(), 2, "the failed and the panicked handshake are closed");
    hanging.expect_end().await;
    assert_eq!(begun.elapsed().as_secs(), 10);
    assert_eq!(probe.calls(), ["open", "message hi"]);
}

#[tokio::test(start_paused = true)]
async fn the_message_timeout_applies_to_open() {
    /// Its greeting never completes.
    struct Stuck;
    impl Handler for Stuck {
        type State = ();
        async fn open(&self, _: &mut Context) -> Result<Reply> {
            std::future::pending().await
        }
        async fn message(&self, _: &mut Context, _: Bytes) -> Result<Reply> {
            Ok(Reply::none())
        }
    }
    let name = unique("stuck");
    let server = Server::bind(format!("mem:{name}")).timeouts(timeouts(|t| t.message = secs(3)));
    let _running = server.start(Stuck).await.unwrap();
    let begun = Instant::now();
    connect(&name).await.expect_end().await;
    assert_eq!(begun.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_stream_handler_can_return_bad_frame_or_frame_too_large() {
    /// Rejects every connection with the given error.
    struct Rejecting(framing::FrameError, Arc<Mutex<Vec<Connection>>>);
    impl StreamHandler for Rejecting {
        async fn serve(&self, connection: Connection, _: ByteStream) -> Result<()> {
            self.1.lock().unwrap().push(connection);
            Err(match self.0 {
                framing::FrameError::TooLarge { limit } => framing::FrameError::TooLarge { limit }.into(),
                _ => framing::FrameError::Malformed("requested").into(),
            })
        }
    }
    let cases = [
        (framing::FrameError::TooLarge { limit: 1 }, CloseReason::FrameTooLarge),
        (framing::FrameError::Malformed("requested"), CloseReason::BadFrame),
    ];
    for (error, reason) in cases {
        let (name, seen) = (unique("rejecting"), Arc::default());
        let rejecting = Rejecting(error, Arc::clone(&seen));
        let _running = Server::bind(format!("mem:{name}")).start_stream(rejecting).await.unwrap();
        connect(&name).await.expect_end().await;
        sleep(secs(1)).await;
        assert_eq!(seen.lock().unwrap()[0].close_reason(), Some(reason));
    }
}
