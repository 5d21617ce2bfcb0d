//! How a connection ends: the last message of the handler, a close by a task, and timeouts that the handler changes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::{Client, TEST_TIMEOUT, unique};
use switchboard::layer::{CallLayer, CallOutput, LayerService, PollCall};
use switchboard::prelude::*;
use switchboard::registry::HandlerInstance;
use switchboard::server::{ListenerSet, ListenerSpec};
use switchboard::settings::DrainSettings;
use switchboard::tower::Layer;
use switchboard::transport::Transports;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::support::{MemClient, connect, limits, millis, secs, timeouts};

/// Sends `bye REASON` as its last message, and records each close.
#[derive(Clone, Default)]
struct Polite {
    closed: Arc<watch::Sender<Vec<CloseReason>>>,
    pusher: Arc<Mutex<Option<Pusher>>>,
}

impl Polite {
    async fn reason(&self) -> CloseReason {
        let mut closed = self.closed.subscribe();
        timeout(TEST_TIMEOUT, closed.wait_for(|closed| !closed.is_empty())).await.expect("it closes").unwrap()[0]
    }

    fn pusher(&self) -> Pusher {
        self.pusher.lock().unwrap().clone().unwrap()
    }
}

impl Handler for Polite {
    type State = u32;

    async fn open(&self, cx: &mut Context<u32>) -> Result<Reply> {
        *self.pusher.lock().unwrap() = Some(cx.pusher());
        Ok(Reply::none())
    }

    async fn message(&self, cx: &mut Context<u32>, message: Bytes) -> Result<Reply> {
        cx.state += 1;
        let text = message.escape_ascii().to_string();
        let (what, number) = text.split_once(' ').unwrap_or((&text, "0"));
        let number = secs(number.parse().unwrap_or(0));
        Ok(match what {
            "error" => return Err("requested".into()),
            "panic" => panic!("requested"),
            "sleep" => {
                sleep(number).await;
                Reply::send("slept")
            }
            "later" => Reply::later(async move {
                sleep(number).await;
                Ok(Reply::send("later"))
            }),
            "push" => {
                cx.pusher().push("pushed").await?;
                Reply::none()
            }
            "finish" => Reply::finish(),
            "task-finish" => {
                let pusher = cx.pusher();
                cx.spawn(async move {
                    sleep(number).await;
                    pusher.push("last").await.unwrap();
                    pusher.finish();
                    assert_eq!(pusher.try_push("more").unwrap_err().reason, PushError::Closed);
                })?;
                Reply::send("started")
            }
            "task-close" => {
                let connection = cx.connection().clone();
                cx.spawn(async move {
                    sleep(number).await;
                    connection.close();
                })?;
                Reply::send("started")
            }
            "idle" => {
                cx.set_idle_timeout(number);
                Reply::none()
            }
            "input" => {
                cx.set_input_timeout(number);
                Reply::none()
            }
            "frame" => {
                cx.set_frame_timeout(number);
                Reply::none()
            }
            _ => Reply::send(message),
        })
    }

    fn closing(&self, cx: &mut Context<u32>, reason: CloseReason) -> Option<Bytes> {
        Some(format!("bye {} {reason}", cx.state).into())
    }

    async fn close(&self, _: &mut Context<u32>, reason: CloseReason) {
        self.closed.send_modify(|closed| closed.push(reason));
    }
}

async fn start(handler: &Polite, set: impl FnOnce(Server<Lines>) -> Server<Lines>) -> (Running, MemClient) {
    let name = unique("closing");
    let server = Server::bind(format!("mem:{name}")).framing(Lines::default());
    let running = set(server).start(handler.clone()).await.unwrap();
    let client = connect(&name).await;
    (running, client)
}

#[tokio::test(start_paused = true)]
async fn a_client_that_can_read_gets_the_last_message_after_everything_else() {
    for (sent, expected, reason) in [
        ("push\nx\n", "pushed\nx\nbye 2 idle\n", CloseReason::Idle),
        ("", "bye 0 first_message\n", CloseReason::FirstMessage),
        ("x\npartial", "x\nbye 1 frame_timeout\n", CloseReason::FrameTimeout),
        ("x\nerror\n", "x\nbye 2 handler_error\n", CloseReason::HandlerError),
        ("push\npanic\n", "pushed\nbye 2 panic\n", CloseReason::Panic),
        ("sleep 50\n", "bye 1 message_timeout\n", CloseReason::MessageTimeout),
        ("later 5\nlater 50\n", "later\nbye 2 message_timeout\n", CloseReason::MessageTimeout),
        (&("x\n".to_owned() + &"y".repeat(200)), "x\nbye 1 frame_too_large\n", CloseReason::FrameTooLarge),
        ("later 20\npartial", "later\nbye 1 frame_timeout\n", CloseReason::FrameTimeout),
    ] {
        let handler = Polite::default();
        let (_running, mut client) = start(&handler, |server| {
            server.limits(limits(|limits| limits.frame = 100)).timeouts(timeouts(|timeouts| {
                timeouts.first_message = secs(20);
                timeouts.frame = secs(10);
                timeouts.message = secs(30);
                timeouts.idle = secs(40);
            }))
        })
        .await;
        client.send(sent).await.expect(expected).await.expect_end().await;
        assert_eq!(handler.reason().await, reason, "{sent}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_a_lifetime_and_a_kill_send_the_last_message() {
    let handler = Polite::default();
    let (running, mut client) = start(&handler, |server| server).await;
    client.send("x\n").await.expect("x\n").await;
    assert_eq!(running.drain().await.cut, 0);
    client.expect("bye 1 drain\n").await.expect_end().await;

    let lifetime = timeouts(|timeouts| timeouts.lifetime = secs(5));
    let (_running, mut client) = start(&Polite::default(), |server| server.timeouts(lifetime)).await;
    client.send("sleep 10\n").await.expect("slept\nbye 1 lifetime\n").await.expect_end().await;

    // Both abort the message in progress.
    let (running, mut client) = start(&Polite::default(), |server| server.drain_deadline(secs(5))).await;
    client.send("sleep 100\n").await;
    sleep(secs(1)).await;
    assert_eq!(running.drain().await.cut, 1);
    client.expect("bye 1 drain_deadline\n").await.expect_end().await;

    let (running, mut client) = start(&Polite::default(), |server| server).await;
    client.send("push\nsleep 100\n").await;
    sleep(secs(1)).await;
    running.connections()[0].kill();
    client.expect("pushed\nbye 2 killed\n").await.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_or_a_handler_that_ends_the_connection_gets_no_last_message() {
    for (sent, expected, reason) in
        [("x\n", "x\n", CloseReason::PeerClosed), ("x\nfinish\n", "x\n", CloseReason::HandlerClosed)]
    {
        let handler = Polite::default();
        let (_running, mut client) = start(&handler, |server| server).await;
        client.send(sent).await.half_close().await.expect(expected).await.expect_end().await;
        assert_eq!(handler.reason().await, reason);
    }
}

#[tokio::test(start_paused = true)]
async fn a_killed_client_that_does_not_read_is_closed_within_a_second() {
    let handler = Polite::default();
    let (running, mut client) = start(&handler, |server| server.limits(limits(|limits| limits.frame = 1 << 20))).await;
    client.send("z".repeat(300_000) + "\nx\n").await;
    sleep(secs(1)).await;
    let begun = Instant::now();
    running.connections()[0].kill();
    assert_eq!(handler.reason().await, CloseReason::Killed);
    while running.open() > 0 {
        sleep(millis(10)).await;
    }
    assert!(begun.elapsed() < secs(1), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_closed_connection_holds_no_input_while_it_waits_for_the_client() {
    /// Keeps its message, which is a slice of the read buffer.
    #[derive(Clone, Default)]
    struct Keep(Arc<Mutex<Bytes>>);
    impl Handler for Keep {
        type State = ();

        async fn message(&self, _: &mut Context, message: Bytes) -> Result<Reply> {
            *self.0.lock().unwrap() = message.clone();
            match &message[..] {
                b"finish" => Ok(Reply::finish()),
                b"error" => Err("requested".into()),
                _ => Ok(Reply::send("reply")),
            }
        }
    }
    for sent in ["x\nfinish\nnext\n", "x\nerror\nnext\n", "x\nfinish\npartial"] {
        let (name, handler) = (unique("closing"), Keep::default());
        let server = Server::bind(format!("mem:{name}")).framing(Lines::default());
        let running = server.start(handler.clone()).await.unwrap();
        let mut client = connect(&name).await;
        client.send(sent).await.expect("reply\n").await.expect_end().await;
        assert_eq!(running.open(), 1, "{sent}");
        assert!(handler.0.lock().unwrap().is_unique(), "{sent}: the connection holds its read buffer");
    }
}

#[tokio::test(start_paused = true)]
async fn an_aborted_connection_ends_at_once_and_keeps_no_frames() {
    #[derive(Clone)]
    struct Slow {
        pusher: Arc<Mutex<Option<Pusher>>>,
        frame: Arc<Bytes>,
    }
    impl Handler for Slow {
        type State = ();

        async fn open(&self, cx: &mut Context) -> Result<Reply> {
            for _ in 0..10 {
                cx.pusher().push(Bytes::clone(&self.frame)).await?;
            }
            *self.pusher.lock().unwrap() = Some(cx.pusher());
            Ok(Reply::none())
        }

        async fn message(&self, _: &mut Context, message: Bytes) -> Result<Reply> {
            Ok(Reply::send(message))
        }

        async fn close(&self, _: &mut Context, _: CloseReason) {
            sleep(millis(900)).await;
        }
    }
    let frame = Arc::new(Bytes::from(vec![b'x'; 100_000]));
    let (name, handler) = (unique("closing"), Slow { pusher: Arc::default(), frame });
    let running = Server::bind(format!("mem:{name}")).framing(Lines::default()).start(handler.clone()).await.unwrap();
    let mut client = connect(&name).await;
    sleep(secs(1)).await;
    let begun = Instant::now();
    running.connections()[0].kill();
    client.rest().await;
    assert!(begun.elapsed() < millis(500), "the connection waits for the handler: {:?}", begun.elapsed());
    while running.open() > 0 {
        sleep(millis(10)).await;
    }
    assert!(handler.pusher.lock().unwrap().is_some());
    assert!(handler.frame.is_unique(), "frames wait for a client that has gone");
}

#[tokio::test(start_paused = true)]
async fn a_stream_handler_that_panics_lets_the_client_read_its_last_reply() {
    struct Panics;
    impl StreamHandler for Panics {
        async fn serve(&self, _: Connection, mut stream: ByteStream) -> Result<()> {
            stream.write_all(b"error\n").await?;
            panic!("requested");
        }
    }
    let name = unique("closing");
    let running = Server::bind(format!("mem:{name}")).start_stream(Panics).await.unwrap();
    let mut client = connect(&name).await;
    client.send("unread").await.expect("error\n").await.expect_end().await;
    assert_eq!(running.open(), 1, "it reads what is left, and the client is not reset");
    while running.open() > 0 {
        sleep(millis(10)).await;
    }
    let closed = &running.report()[0].closed;
    assert!(closed.contains(&(CloseReason::Panic, 1)), "{closed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_closing_changes_nothing_else() {
    struct Rude;
    impl Handler for Rude {
        type State = ();

        async fn message(&self, _: &mut Context, message: Bytes) -> Result<Reply> {
            Ok(Reply::send(message))
        }

        fn closing(&self, _: &mut Context, _: CloseReason) -> Option<Bytes> {
            panic!("no last message")
        }
    }
    let name = unique("closing");
    let idle = timeouts(|timeouts| timeouts.idle = secs(10));
    let server = Server::bind(format!("mem:{name}")).framing(Lines::default()).timeouts(idle);
    let running = server.start(Rude).await.unwrap();
    connect(&name).await.send("x\n").await.expect("x\n").await.expect_end().await;
    let closed = &running.report()[0].closed;
    assert!(closed.contains(&(CloseReason::Idle, 1)), "{closed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_last_message_reaches_each_of_fifty_clients_in_fifty_drains() {
    for round in 0..50 {
        let server = Server::bind("tcp://127.0.0.1:0").framing(Lines::default());
        let running = server.start(Polite::default()).await.unwrap();
        let mut clients = Vec::new();
        for _ in 0..50 {
            clients.push(Client(TcpStream::connect(running.socket_addr().unwrap()).await.unwrap()));
        }
        for (number, client) in clients.iter_mut().enumerate() {
            if number % 3 > 0 {
                client.send("x\n").await.expect("x\n").await;
            }
            if number % 3 == 2 {
                client.send("y\n").await; // unread by the client, and perhaps by the server
            }
        }
        assert_eq!(running.drain().await.cut, 0);
        for (number, client) in clients.iter_mut().enumerate() {
            let rest = client.rest().await;
            let expected = ["bye 0 drain\n", "bye 1 drain\n", "y\nbye 2 drain\n"][number % 3];
            assert_eq!(rest.escape_ascii().to_string(), expected.as_bytes().escape_ascii().to_string(), "{round}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_can_finish_or_close_its_connection() {
    for (sent, expected) in [("task-finish 5\n", "started\nlast\n"), ("task-close 5\n", "started\n")] {
        let handler = Polite::default();
        let (_running, mut client) = start(&handler, |server| server).await;
        let begun = Instant::now();
        client.send(sent).await.expect(expected).await.expect_end().await;
        assert_eq!(begun.elapsed().as_secs(), 5);
        assert_eq!(handler.reason().await, CloseReason::HandlerClosed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_in_progress_outlasts_finish_and_not_close() {
    let handler = Polite::default();
    let (_running, mut client) = start(&handler, |server| server).await;
    client.send("later 8\nsleep 5\nnever\n").await;
    sleep(secs(1)).await;
    handler.pusher().try_push("pushed").unwrap();
    handler.pusher().finish();
    client.expect("pushed\nlater\nslept\n").await.expect_end().await;
    assert_eq!(handler.reason().await, CloseReason::HandlerClosed);

    let handler = Polite::default();
    let (running, mut client) = start(&handler, |server| server).await;
    client.send("later 8\nsleep 5\nnever\n").await;
    sleep(secs(1)).await;
    running.connections()[0].close();
    client.expect_end().await;
    assert_eq!(handler.reason().await, CloseReason::HandlerClosed);
    running.connections().iter().for_each(Connection::close); // none is left
}

#[tokio::test(start_paused = true)]
async fn a_finished_connection_keeps_its_reason_during_a_drain() {
    let handler = Polite::default();
    let (running, mut client) = start(&handler, |server| server).await;
    client.send("sleep 5\n").await;
    sleep(secs(1)).await;
    handler.pusher().finish();
    assert_eq!(running.drain().await.cut, 0);
    client.expect("slept\n").await.expect_end().await;
    assert_eq!(handler.reason().await, CloseReason::HandlerClosed);
}

#[tokio::test(start_paused = true)]
async fn the_handler_changes_the_idle_timeout_of_a_connection() {
    for (seconds, closes_after) in [(10, Some(10)), (1000, Some(1000)), (0, None)] {
        let handler = Polite::default();
        let (_running, mut client) = start(&handler, |server| server).await;
        client.send("x\n").await.expect("x\n").await;
        sleep(secs(50)).await; // the timer is armed
        client.send(format!("idle {seconds}\n")).await;
        let begun = Instant::now();
        match closes_after {
            None => sleep(secs(100_000)).await,
            Some(seconds) => {
                sleep(secs(seconds - 1)).await;
                assert!(handler.closed.borrow().is_empty(), "{seconds}");
                assert_eq!(handler.reason().await, CloseReason::Idle);
                assert_eq!(begun.elapsed().as_secs(), seconds);
            }
        }
        assert_eq!(handler.closed.borrow().is_empty(), closes_after.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn output_restarts_the_idle_timeout_and_not_the_input_timeout() {
    for (command, pushes) in [("idle 10", true), ("input 10", false), ("input 5\nidle 10", true), ("input 0", true)] {
        let handler = Polite::default();
        let (_running, mut client) = start(&handler, |server| server).await;
        client.send(format!("x\n{command}\n")).await.expect("x\n").await;
        for second in (6..60).step_by(6) {
            sleep(secs(6)).await;
            if !pushes && second > 6 {
                break;
            }
            handler.pusher().push("pushed").await.unwrap();
            client.expect("pushed\n").await;
        }
        assert_eq!(handler.closed.borrow().is_empty(), pushes, "{command}");
        if !pushes {
            assert_eq!(handler.reason().await, CloseReason::Idle);
            client.expect("bye 2 idle\n").await.expect_end().await;
            continue;
        }
        // Input restarts both.
        client.send("y\n").await.expect("y\n").await;
        sleep(secs(6)).await;
        client.send("input 10\nz\n").await.expect("z\n").await;
        sleep(secs(9)).await;
        client.send("z\n").await.expect("z\n").await;
        sleep(secs(9)).await;
        assert!(handler.closed.borrow().is_empty(), "{command}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_handler_changes_the_frame_timeout_of_a_connection() {
    let handler = Polite::default();
    let (_running, mut client) = start(&handler, |server| server).await;
    client.send("frame 600\nidle 10000\npart").await;
    sleep(secs(500)).await;
    client.send("ial\n").await.expect("partial\n").await;
    client.send("frame 5\n").await.send("part").await;
    sleep(secs(4)).await;
    assert!(handler.closed.borrow().is_empty());
    client.expect("bye 4 frame_timeout\n").await.expect_end().await;
}

#[tokio::test(start_paused = true)]
async fn a_push_that_fails_returns_its_frame() {
    let handler = Polite::default();
    let set = |server: Server<Lines>| server.limits(limits(|limits| (limits.outbox, limits.frame) = (2, 1 << 20)));
    let (_running, mut client) = start(&handler, set).await;
    client.send("z".repeat(300_000) + "\n").await; // fills the buffers
    sleep(secs(1)).await;
    let pusher = handler.pusher();
    pusher.try_push("one").unwrap();
    pusher.try_push("two").unwrap();
    let error = pusher.try_push("three").unwrap_err();
    assert_eq!((error.reason, &*error.frame), (PushError::Full, &b"three"[..]));
    assert_eq!(error.to_string(), "the outbox is full");
    drop(client);
    handler.reason().await;
    let error = pusher.try_push("four").unwrap_err();
    assert_eq!((error.reason, &*error.frame), (PushError::Closed, &b"four"[..]));
}

/// Attaches the number of calls to the connection.
#[derive(Clone)]
struct CountCalls;

#[derive(Clone, Copy, Debug, PartialEq)]
struct CallCount(u32);

impl<In> CallLayer<Request<In>> for CountCalls {
    type Call = Self;

    fn begin(&self, request: &Request<In>) -> Self {
        let extensions = request.connection().extensions();
        let CallCount(calls) = extensions.get().unwrap_or(CallCount(0));
        extensions.insert(CallCount(calls + 1));
        Self
    }
}

impl PollCall for CountCalls {
    fn poll_call<T: CallOutput>(
        &mut self,
        call: std::pin::Pin<&mut impl Future<Output = Result<T>>>,
        cx: &mut std::task::Context,
    ) -> std::task::Poll<Result<T>> {
        call.poll(cx)
    }
}

impl<S> Layer<S> for CountCalls {
    type Service = LayerService<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        LayerService::new(inner, self.clone())
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_and_a_handler_share_values_through_the_connection() {
    let handler = handler_fn(|cx: Context, _: Bytes| async move {
        let extensions = cx.extensions();
        assert_eq!(extensions.insert("text"), None);
        assert_eq!((extensions.get(), extensions.remove::<&str>()), (Some("text"), Some("text")));
        assert_eq!(extensions.get::<&str>(), None);
        Ok(Reply::send(format!("{:?} {extensions:?}", extensions.get::<CallCount>())))
    });
    let name = unique("extensions");
    let server = Server::bind(format!("mem:{name}")).framing(Lines::default()).layer(CountCalls);
    let _running = server.start(handler).await.unwrap();
    for _ in 0..2 {
        let mut client = connect(&name).await;
        client.send("x\ny\n").await.expect("Some(CallCount(1)) {\"it::closing::CallCount\"}\n").await;
        client.expect("Some(CallCount(2)) {\"it::closing::CallCount\"}\n").await;
    }
}

#[tokio::test(start_paused = true)]
async fn connections_of_a_removed_listener_get_the_last_message() {
    let (one, two) = (unique("one"), unique("two"));
    let handler = HandlerInstance::new(Polite::default());
    let set = |names: &[&String]| {
        let mut listeners = ListenerSet::new(Transports::default());
        listeners.drain_settings(DrainSettings::default().deadline(Duration::from_secs(5)));
        for name in names {
            let mut spec = ListenerSpec::new(name.as_str(), format!("mem:{name}").parse().unwrap());
            spec.framing = framing::AnyFraming::new(Lines::default());
            listeners.listen(spec, &handler);
        }
        listeners
    };
    let running = set(&[&one, &two]).start().await.unwrap();
    let mut client = connect(&two).await;
    client.send("x\n").await.expect("x\n").await;
    let _ = running.reload(set(&[&one])).await.unwrap();
    client.expect("bye 1 drain\n").await.expect_end().await;
}
