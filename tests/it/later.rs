//! Later replies: ordered and unordered, in progress at the end of input, at a drain and at the deadlines.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use harness::{Client, TEST_TIMEOUT, unique};
use switchboard::layer::Concurrency;
use switchboard::metrics::Outcome;
use switchboard::prelude::*;
use switchboard::settings::Limits;
use switchboard::testing;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{MemClient, connect, limits, secs, timeouts};

/// A handler whose messages say when and how it answers: `later 3 text`.
#[derive(Clone)]
struct Slow {
    /// `pool` takes the only permit for some seconds.
    pool: Arc<Semaphore>,
    /// Futures that exist.
    futures: Arc<AtomicUsize>,
    closed: Arc<watch::Sender<Vec<CloseReason>>>,
    /// Each message, when it is handled.
    messages: Arc<Mutex<Vec<String>>>,
}

impl Default for Slow {
    fn default() -> Self {
        Self {
            pool: Arc::new(Semaphore::new(1)),
            futures: Arc::default(),
            closed: Arc::new(watch::Sender::default()),
            messages: Arc::default(),
        }
    }
}

/// Counts a future while it exists.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Slow {
    async fn work(self, what: String, seconds: u64, text: String) -> Result<Reply> {
        let _counted = Counted::new(&self.futures);
        let _permit = if what.contains("pool") { Some(self.pool.acquire().await?) } else { None };
        sleep(secs(seconds)).await;
        Ok(match () {
            () if what.contains("error") => return Err("requested".into()),
            () if what.contains("panic") => panic!("requested"),
            () if what.contains("none") => Reply::none(),
            () if what.contains("close") => Reply::close(),
            () if what.contains("finish") => Reply::send(text).then_finish(),
            () if what.contains("stream") => {
                let words: Vec<_> = text.split('-').map(|word| Ok(Bytes::copy_from_slice(word.as_bytes()))).collect();
                Reply::stream(stream::iter(words).then(|word| async {
                    sleep(secs(1)).await;
                    word
                }))
            }
            () if what.contains("many") => Reply::many(text.split('-').map(str::to_owned)),
            () if what.contains("nested") => Reply::later(async move {
                sleep(secs(seconds)).await;
                Ok(Reply::send(text))
            }),
            () => Reply::send(text),
        })
    }

    fn reasons(&self) -> Vec<CloseReason> {
        self.closed.borrow().clone()
    }

    async fn reason(&self) -> CloseReason {
        let mut closed = self.closed.subscribe();
        timeout(TEST_TIMEOUT, closed.wait_for(|closed| !closed.is_empty())).await.expect("it closes").unwrap()[0]
    }
}

impl Handler for Slow {
    type State = u64;

    async fn message(&self, cx: &mut Context<u64>, message: Bytes) -> Result<Reply> {
        cx.state += 1;
        let message = message.escape_ascii().to_string();
        self.messages.lock().unwrap().push(message.clone());
        let mut words = message.split(' ');
        let (what, seconds) = (words.next().unwrap_or("").to_owned(), words.next().and_then(|word| word.parse().ok()));
        let (seconds, text) = (seconds.unwrap_or(0), words.next().unwrap_or("").to_owned());
        let work = self.clone().work(what.clone(), seconds, text);
        Ok(match &*what {
            _ if what.starts_with("then-finish") => Reply::later(work).then_finish(),
            _ if what.starts_with("later") => Reply::later(work),
            _ if what.starts_with("unordered") => Reply::unordered(work),
            "number" => Reply::send(cx.state.to_string()),
            _ => work.await?,
        })
    }

    async fn close(&self, _: &mut Context<u64>, reason: CloseReason) {
        assert_eq!(self.futures.load(SeqCst), 0, "the futures of a connection end before close");
        self.closed.send_modify(|closed| closed.push(reason));
    }
}

async fn start(handler: &Slow, set: impl FnOnce(Server<Lines>) -> Server<Lines>) -> (Running, MemClient) {
    let name = unique("later");
    let server = Server::bind(format!("mem:{name}")).framing(Lines::default());
    let running = set(server).start(handler.clone()).await.unwrap();
    let client = connect(&name).await;
    (running, client)
}

#[tokio::test(start_paused = true)]
async fn replies_are_written_in_the_order_of_the_messages() {
    for (sent, expected) in [
        ("later 3 a\nlater 1 b\nlater 2 c\n", "a\nb\nc\n"),
        ("later 3 a\nnow 0 b\nlater 1 c\nnow 0 d\n", "a\nb\nc\nd\n"),
        ("later 1 a\nnow 3 b\nlater 0 c\n", "a\nb\nc\n"),
        ("later 2 a\nlater-none 1 b\nlater 0 c\n", "a\nc\n"),
        ("later-many 2 a-b\nlater-stream 1 c-d\nlater 0 e\n", "a\nb\nc\nd\ne\n"),
        ("later-nested 2 a\nlater 1 b\n", "a\nb\n"),
        ("now-stream 0 a-b\nlater 0 c\nnow-stream 0 d-e\nnow 0 f\n", "a\nb\nc\nd\ne\nf\n"),
        ("unordered 3 a\nunordered 1 b\nunordered 2 c\nnow 0 d\n", "d\nb\nc\na\n"),
        ("unordered 3 a\nlater 2 b\nnow 0 c\nunordered 1 d\n", "d\nb\nc\na\n"),
        ("unordered-stream 1 a-b-c\nunordered 2 d\n", "a\nb\nc\nd\n"),
        ("unordered-many 2 a-b\nunordered 1 c\n", "c\na\nb\n"),
        ("number\nlater 1 a\nnumber\nunordered 0 b\nnumber\n", "1\nb\na\n3\n5\n"),
    ] {
        let handler = Slow::default();
        let (_running, mut client) = start(&handler, |server| server).await;
        client.send(sent).await.expect(expected).await.half_close().await.expect_end().await;
        assert_eq!(handler.reasons(), [CloseReason::PeerClosed], "{sent}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_half_closed_client_gets_later_replies() {
    for what in ["later", "unordered", "later-nested", "later-stream", "unordered-stream", "later-many"] {
        let (_running, mut client) = start(&Slow::default(), |server| server).await;
        client.send(format!("{what} 5 a\n{what} 5 a")).await.half_close().await;
        client.expect("a\na\n").await.expect_end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_later_replies_and_a_deadline_aborts_them() {
    for what in ["later", "unordered", "later-stream"] {
        let (running, mut client) = start(&Slow::default(), |server| server).await;
        client.send(format!("{what} 20 a\n{what} 10 b\nnow 0 c\n")).await;
        sleep(secs(1)).await;
        let begun = Instant::now();
        let drained = running.drain().await;
        assert_eq!((drained.open, drained.cut), (1, 0), "{what}");
        assert!((19..=23).contains(&begun.elapsed().as_secs()), "{what}: {:?}", begun.elapsed());
        client.expect(if what == "unordered" { "c\nb\na\n" } else { "a\nb\nc\n" }).await.expect_end().await;
        let handler = Slow::default();
        let (running, mut client) = start(&handler, |server| server).await;
        client.send(format!("{what} 31 a\n")).await;
        sleep(Duration::from_millis(1)).await;
        assert_eq!(running.drain().await.cut, 1);
        client.expect_end().await;
        assert_eq!(handler.reason().await, CloseReason::DrainDeadline);
    }
}

#[tokio::test(start_paused = true)]
async fn the_idle_timeout_and_the_lifetime_wait_for_later_replies() {
    for what in ["later", "unordered"] {
        let handler = Slow::default();
        let (_running, mut client) = start(&handler, |server| server).await;
        client.send(format!("{what} 7200 a\n")).await;
        sleep(secs(7200)).await;
        client.expect("a\n").await;
        sleep(secs(299)).await;
        assert_eq!(handler.reasons(), [], "the idle timeout begins after the reply");
        client.expect_end().await;
        assert_eq!(handler.reason().await, CloseReason::Idle);

        // A reply without a frame ends the work, too.
        let (_running, mut client) = start(&Slow::default(), |server| server).await;
        client.send(format!("{what}-none 7200 a\n")).await;
        sleep(secs(7300)).await;
        client.send("now 0 b\n").await.expect("b\n").await;

        let lifetime = timeouts(|timeouts| timeouts.lifetime = secs(10));
        let handler = Slow::default();
        let (_running, mut client) = start(&handler, |server| server.timeouts(lifetime)).await;
        client.send(format!("{what} 50 a\n")).await.expect("a\n").await.expect_end().await;
        assert_eq!(handler.reason().await, CloseReason::Lifetime);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_later_reply_closes_the_connection_with_its_reason_after_the_earlier_replies() {
    for (what, reason, outcome) in [
        ("later-error 5 x", CloseReason::HandlerError, Outcome::Error),
        ("later-panic 5 x", CloseReason::Panic, Outcome::Panic),
        ("later 100 x", CloseReason::MessageTimeout, Outcome::Timeout),
        ("unordered-error 5 x", CloseReason::HandlerError, Outcome::Error),
        ("unordered-panic 5 x", CloseReason::Panic, Outcome::Panic),
        ("unordered 100 x", CloseReason::MessageTimeout, Outcome::Timeout),
    ] {
        let handler = Slow::default();
        let message = timeouts(|timeouts| timeouts.message = secs(30));
        let (running, mut client) = start(&handler, |server| server.timeouts(message)).await;
        let first = if what.starts_with("later") { 20 } else { 2 };
        client.send(format!("later {first} a\n{what}\nlater 200 b\nunordered 200 c\n")).await;
        client.expect("a\n").await.expect_end().await;
        assert_eq!(handler.reason().await, reason, "{what}");
        let mut outcomes = running.report()[0].messages.clone();
        outcomes.retain(|(_, count)| *count > 0);
        assert_eq!(outcomes, [(Outcome::Ok, 1), (outcome, 1), (Outcome::Dropped, 2)], "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_connection_by_an_error_waits_for_the_replies_to_earlier_messages() {
    for (sent, reason) in [
        ("later 5 a\nunordered 3 b\nnow-error 0 x\nnow 0 y\n", CloseReason::HandlerError),
        ("later 5 a\nunordered 3 b\nnow-panic 0 x\n", CloseReason::Panic),
        (&format!("later 5 a\nunordered 3 b\n{}", "x".repeat(200)), CloseReason::FrameTooLarge),
        ("later 5 a\nunordered 3 b\nnow-finish 0 \n", CloseReason::HandlerClosed),
        ("later 35 a\nunordered 3 b\npartial", CloseReason::FrameTimeout),
    ] {
        let handler = Slow::default();
        let (_running, mut client) = start(&handler, |server| server.limits(limits(|limits| limits.frame = 100))).await;
        client.send(sent).await;
        let expected = if sent.contains("finish") { "b\na\n\n" } else { "b\na\n" };
        client.expect(expected).await.expect_end().await;
        assert_eq!(handler.reason().await, reason, "{sent}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_finishes_drops_the_ordered_replies_behind_it_and_waits_for_unordered_ones() {
    let handler = Slow::default();
    let (_running, mut client) = start(&handler, |server| server).await;
    client.send("later-finish 5 bye\nlater 1 never\nunordered 9 a\nnow 0 never\n").await;
    client.expect("bye\na\n").await.expect_end().await;
    assert_eq!(handler.reason().await, CloseReason::HandlerClosed);

    // Known before the future starts: no further message is handled.
    let handler = Slow::default();
    let (_running, mut client) = start(&handler, |server| server).await;
    client.send("unordered 9 a\nthen-finish 5 bye\nnow 0 never\n").await;
    client.expect("bye\na\n").await.expect_end().await;
    assert_eq!(handler.messages.lock().unwrap().len(), 2);

    let handler = Slow::default();
    let (_running, mut client) = start(&handler, |server| server).await;
    client.send("later-close 5 bye\nlater 1 never\nunordered 9 never\n").await.expect_end().await;
    assert_eq!(handler.reason().await, CloseReason::HandlerClosed);
}

#[tokio::test(start_paused = true)]
async fn a_disconnected_client_ends_its_futures() {
    let handler = Slow::default();
    let (running, mut client) = start(&handler, |server| server).await;
    client.send("later 1000 a\nunordered 1000 b\n").await;
    sleep(secs(1)).await;
    assert_eq!(handler.futures.load(SeqCst), 2);
    running.connections().into_iter().for_each(|connection| connection.kill());
    assert_eq!(handler.reason().await, CloseReason::Killed);
    assert_eq!(handler.futures.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn at_the_limit_in_flight_the_server_stops_reading_and_no_deadline_of_input_applies() {
    for what in ["later", "unordered"] {
        let handler = Slow::default();
        let (_running, mut client) =
            start(&handler, |server| server.limits(limits(|limits| limits.in_flight = 4))).await;
        let line = format!("{what} 100 a\n");
        client.send(line.repeat(12) + "half of a mess").await;
        sleep(secs(50)).await;
        assert_eq!(handler.messages.lock().unwrap().len(), 4, "{what}");
        sleep(secs(60)).await;
        assert_eq!(handler.messages.lock().unwrap().len(), 8, "{what}");
        sleep(secs(200)).await;
        client.send("age\n").await.expect("a\n".repeat(13)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn messages_in_flight_have_at_most_the_bytes_of_the_largest_message() {
    let handler = Slow::default();
    let (_running, mut client) = start(&handler, |server| server.limits(limits(|limits| limits.frame = 1000))).await;
    let large = format!("later 100 a {}\n", "x".repeat(490));
    client.send(large.repeat(6)).await;
    sleep(secs(1)).await;
    assert_eq!(handler.messages.lock().unwrap().len(), 2);
    sleep(secs(300)).await;
    client.expect("a\n".repeat(6)).await;
}

#[tokio::test(start_paused = true)]
async fn immediate_replies_behind_a_later_one_count_in_flight() {
    let handler = Slow::default();
    let (_running, mut client) = start(&handler, |server| server).await;
    let numbers = "number\n".repeat(5_000);
    client.send(format!("later 100 a\n{numbers}")).await;
    sleep(secs(50)).await;
    assert_eq!(handler.messages.lock().unwrap().len(), 16);
    let expected: String = (2..=5_001).map(|number| format!("{number}\n")).collect();
    client.expect(format!("a\n{expected}")).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_and_a_later_reply_can_wait_for_the_same_resource() {
    let (_running, mut client) = start(&Slow::default(), |server| server).await;
    // The permit is in the later reply while the call waits for it, and in the call while a later reply waits.
    client.send("later-pool 2 a\nnow-pool 2 b\nunordered-pool 1 c\nnow-pool 1 d\n").await;
    client.expect("a\nb\n").await;
    client.half_close().await;
    let rest = client.rest().await;
    assert!(rest == b"c\nd\n" || rest == b"d\nc\n", "{}", rest.escape_ascii());
}

#[tokio::test(start_paused = true)]
async fn later_replies_progress_while_the_client_does_not_read() {
    let handler = Slow::default();
    let (_running, mut client) = start(&handler, |server| server.limits(limits(|limits| limits.frame = 1 << 20))).await;
    let filler = "x".repeat(400_000); // more than the buffers hold
    client.send(format!("unordered-pool 5 a\nnow 0 {filler}\n")).await;
    sleep(secs(10)).await;
    assert_eq!(handler.pool.available_permits(), 1, "the permit is returned although nothing is read");
    client.expect(format!("{filler}\na\n")).await;
}

#[tokio::test(start_paused = true)]
async fn a_concurrency_layer_keeps_its_permit_until_the_later_reply_is_ready() {
    for what in ["later", "unordered"] {
        let handler = Slow::default();
        let name = unique("concurrency");
        let server = Server::bind(format!("mem:{name}")).framing(Lines::default()).layer(Concurrency::new(1));
        let _running = server.start(handler.clone()).await.unwrap();
        let (mut one, mut two) = (connect(&name).await, connect(&name).await);
        one.send(format!("{what} 10 a\n")).await;
        sleep(secs(1)).await;
        let begun = Instant::now();
        two.send("now 0 b\n").await.expect("b\n").await;
        assert_eq!(begun.elapsed().as_secs(), 9, "{what}");
        one.expect("a\n").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_greeting_can_be_later() {
    struct Greeting;
    impl Handler for Greeting {
        type State = ();

        async fn open(&self, _: &mut Context) -> Result<Reply> {
            Ok(Reply::later(async {
                sleep(secs(5)).await;
                Ok(Reply::send("welcome"))
            }))
        }

        async fn message(&self, _: &mut Context, message: Bytes) -> Result<Reply> {
            Ok(Reply::send(message))
        }
    }
    let name = unique("greeting");
    let running = Server::bind(format!("mem:{name}")).framing(Lines::default()).start(Greeting).await.unwrap();
    connect(&name).await.send("a\n").await.expect("welcome\na\n").await.half_close().await.expect_end().await;
    let report = &running.report()[0];
    assert_eq!(report.messages.iter().map(|(_, count)| count).sum::<u64>(), 1);
}

/// Replies to `NUMBER` with the same number after a short, different time.
#[derive(Clone, Copy)]
struct Numbers {
    is_ordered: bool,
}

impl Handler for Numbers {
    type State = ();

    async fn message(&self, _: &mut Context, message: Bytes) -> Result<Reply> {
        let number: u64 = std::str::from_utf8(&message)?.trim().parse()?;
        let work = async move {
            for _ in 0..number % 7 {
                tokio::task::yield_now().await;
            }
            if number.is_multiple_of(50) {
                sleep(Duration::from_millis(number % 3)).await;
            }
            Ok(Reply::send(number.to_string()))
        };
        Ok(match number % 5 {
            0 => Reply::send(number.to_string()),
            _ if self.is_ordered => Reply::later(work),
            _ => Reply::unordered(work),
        })
    }
}

const REQUESTS: u64 = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_requests_over_one_connection_lose_and_double_nothing() {
    for is_ordered in [true, false] {
        let server = Server::bind("tcp://127.0.0.1:0").framing(Lines::default());
        let running = server.start(Numbers { is_ordered }).await.unwrap();
        let mut stream = TcpStream::connect(running.socket_addr().unwrap()).await.unwrap();
        let (read, mut write) = stream.split();
        let send = async {
            for number in 0..REQUESTS {
                write.write_all(format!("{number}\n").as_bytes()).await.unwrap();
            }
            write.shutdown().await.unwrap();
        };
        let receive = async {
            let mut lines = BufReader::new(read).lines();
            let mut numbers = Vec::new();
            while let Some(line) = lines.next_line().await.unwrap() {
                numbers.push(line.parse::<u64>().unwrap());
            }
            numbers
        };
        let ((), mut numbers) = timeout(TEST_TIMEOUT, async { tokio::join!(send, receive) }).await.unwrap();
        if !is_ordered {
            numbers.sort_unstable();
        }
        assert!(numbers.iter().copied().eq(0..REQUESTS), "{is_ordered}: {} replies", numbers.len());
        assert_eq!(running.drain().await.cut, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_datagrams_with_sixteen_in_flight_lose_and_double_nothing() {
    for is_ordered in [true, false] {
        let running = Server::bind("udp://127.0.0.1:0").start(Numbers { is_ordered }).await.unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(running.socket_addr().unwrap()).await.unwrap();
        let (mut sent, mut received, mut buffer) = (0, BTreeSet::new(), [0; 100]);
        while (received.len() as u64) < REQUESTS {
            while sent < REQUESTS && sent - (received.len() as u64) < 16 {
                client.send(sent.to_string().as_bytes()).await.unwrap();
                sent += 1;
            }
            let count = timeout(TEST_TIMEOUT, client.recv(&mut buffer)).await.expect("no reply is lost").unwrap();
            let number: u64 = std::str::from_utf8(&buffer[..count]).unwrap().parse().unwrap();
            assert!(!is_ordered || number == received.len() as u64, "{number} is out of order");
            assert!(received.insert(number), "{number} is answered twice");
        }
        assert_eq!(running.drain().await.cut, 0);
    }
}

/// Drains a server while clients send requests, and checks that every client gets a reply to each request that the
/// server has read, in order.
async fn drain_under_load(is_ordered: bool) {
    let server = Server::bind("tcp://127.0.0.1:0").framing(Lines::default()).drain_deadline(TEST_TIMEOUT);
    let running = server.start(Numbers { is_ordered }).await.unwrap();
    let address = running.socket_addr().unwrap();
    let client = |client: Client<TcpStream>| async move {
        let (read, mut write) = client.0.into_split();
        let send = tokio::spawn(async move {
            let mut number = 1;
            // The client sends until the server closes the connection.
            while write.write_all(format!("{number:0200}\n").as_bytes()).await.is_ok() {
                number += 1;
            }
        });
        let mut lines = BufReader::new(read).lines();
        let mut numbers = Vec::new();
        while let Ok(Some(line)) = lines.next_line().await {
            numbers.push(line.parse::<u64>().unwrap());
        }
        send.await.unwrap();
        numbers
    };
    let mut connected = Vec::new();
    for _ in 0..8 {
        let mut client = Client(TcpStream::connect(address).await.unwrap());
        client.send("0\n").await.expect("0\n").await; // the server has accepted it before the drain
        connected.push(client);
    }
    let clients: Vec<_> = connected.into_iter().map(|connected| tokio::spawn(client(connected))).collect();
    while running.report()[0].bytes_in < 100_000 {
        tokio::task::yield_now().await;
    }
    let drained = running.drain().await;
    assert_eq!((drained.open, drained.cut), (8, 0));
    let read = running.report()[0].messages.iter().map(|(_, count)| count).sum::<u64>();
    let mut replies = 0;
    for client in clients {
        let mut numbers = timeout(TEST_TIMEOUT, client).await.unwrap().unwrap();
        if !is_ordered {
            numbers.sort_unstable();
        }
        assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "{is_ordered}: {} replies", numbers.len());
        replies += numbers.len() as u64 + 1;
    }
    assert_eq!(replies, read, "each message that the server handled has its reply");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_drain_under_load_with_four_workers_loses_no_reply() {
    drain_under_load(true).await;
    drain_under_load(false).await;
}

#[tokio::test]
async fn a_drain_under_load_with_one_worker_loses_no_reply() {
    drain_under_load(true).await;
    drain_under_load(false).await;
}

async fn datagrams(handler: &Slow, set: impl FnOnce(&mut Limits)) -> testing::Running {
    testing::Server::datagrams(handler.clone()).set(|server| server.limits(limits(set))).start().await
}

const PEER: ([u8; 4], u16) = ([192, 0, 2, 1], 4000);
const OTHER: ([u8; 4], u16) = ([192, 0, 2, 2], 4000);

#[tokio::test(start_paused = true)]
async fn datagrams_are_answered_in_order_or_when_ready() {
    for (sent, expected) in [
        (&["later 3 a", "later 1 b", "later 2 c"][..], &["a", "b", "c"][..]),
        (&["later 3 a", "now 0 b", "later 1 c", "now 0 d"], &["a", "b", "c", "d"]),
        (&["unordered 3 a", "unordered 1 b", "now 0 d"], &["d", "b", "a"]),
        (
            &["later-many 2 a-b", "later-stream 1 c-d", "later 0 e", "now-stream 0 f-g"],
            &["a", "b", "c", "d", "e", "f", "g"],
        ),
        (&["later 2 a", "later-none 1 b", "later-error 1 c", "later-panic 0 d", "later 0 e"], &["a", "e"]),
        (&["unordered-nested 2 a", "later 3 b"], &["b", "a"]),
    ] {
        let server = datagrams(&Slow::default(), |_| {}).await;
        let (mut peer, mut other) = (server.datagram_peer(PEER), server.datagram_peer(OTHER));
        for datagram in sent {
            peer.send(datagram).await;
        }
        // Another peer is not delayed.
        other.send("now 0 other").await.expect("other").await;
        for datagram in expected {
            peer.expect(datagram).await;
        }
        peer.expect_nothing(secs(10)).await.send("number").await.expect((sent.len() + 1).to_string()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_datagram_peer_has_a_limit_in_flight_and_its_further_messages_wait_in_order() {
    for what in ["later", "unordered"] {
        let handler = Slow::default();
        let server = datagrams(&handler, |limits| limits.in_flight = 4).await;
        let mut peer = server.datagram_peer(PEER);
        for nth in 0..10 {
            peer.send(format!("{what} 10 {nth}")).await;
        }
        sleep(secs(5)).await;
        assert_eq!(handler.messages.lock().unwrap().len(), 4, "{what}");
        for nth in 0..10 {
            peer.expect(nth.to_string()).await;
        }
        peer.send("now 0 x").await.expect("x").await;
    }
}

#[tokio::test(start_paused = true)]
async fn replies_of_a_removed_datagram_peer_never_reach_another_one() {
    for end in ["now-finish 0 bye", "unordered-finish 2 bye", "unordered-close 2 bye", "now-close 0 bye"] {
        let server = datagrams(&Slow::default(), |limits| limits.sessions = 1).await;
        let (mut peer, mut other) = (server.datagram_peer(PEER), server.datagram_peer(OTHER));
        peer.send("unordered 5 late").await.send(end).await;
        if end.contains("finish") {
            peer.expect("bye").await;
        } else {
            sleep(secs(3)).await;
        }
        // The table has one place, which the other peer gets.
        other.send("number").await.expect("1").await.send("unordered 9 own").await;
        other.expect("own").await.expect_nothing(secs(10)).await;
        peer.expect_nothing(secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_messages_of_a_removed_datagram_peer_end_with_it_and_count_as_dropped() {
    let in_flight = ["unordered 500 a", "later 500 b", "unordered-stream 1 c-d-e-f-g"];
    for (last, ok, dropped) in [
        (&["now-close 0"][..], 1, 3), // while the stream is being sent
        (&["unordered-close 2"], 2, 2),
        (&["unordered-finish 2 x", "later 500 queued", "now 500 queued"], 2, 4),
    ] {
        let handler = Slow::default();
        let server = datagrams(&handler, |limits| limits.in_flight = 4).await;
        let mut peer = server.datagram_peer(PEER);
        for message in in_flight {
            peer.send(message).await;
        }
        sleep(secs(3)).await;
        for message in last {
            peer.send(message).await;
        }
        sleep(secs(20)).await;
        assert_eq!(handler.futures.load(SeqCst), 0, "{last:?}: futures of the removed peer run on");
        let mut outcomes = server.report()[0].messages.clone();
        outcomes.retain(|(_, count)| *count > 0);
        assert_eq!(outcomes, [(Outcome::Ok, ok), (Outcome::Dropped, dropped)], "{last:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_datagram_peer_with_later_replies_is_not_evicted() {
    let server = datagrams(&Slow::default(), |limits| limits.sessions = 2).await;
    let mut busy = server.datagram_peer(PEER);
    busy.send("unordered 50 a").await;
    for n in 0..100 {
        server.datagram_peer(([192, 0, 2, 3], 1000 + n)).send("now 0 x").await.expect("x").await;
    }
    busy.expect("a").await.send("number").await.expect("2").await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_later_replies_to_datagrams() {
    let server = datagrams(&Slow::default(), |_| {}).await;
    let mut peer = server.datagram_peer(PEER);
    peer.send("later 20 a").await.send("unordered 5 b").await.send("later 1 c").await;
    sleep(secs(1)).await;
    assert_eq!(server.drain().await.cut, 0);
    peer.expect("b").await.expect("a").await.expect("c").await;

    let server = datagrams(&Slow::default(), |_| {}).await;
    let mut peer = server.datagram_peer(PEER);
    peer.send("later 100 a").await;
    sleep(secs(1)).await;
    assert_eq!(server.drain().await.cut, 1);
}

#[tokio::test(start_paused = true)]
async fn a_datagram_peer_that_a_later_reply_removes_during_a_call_is_removed_after_the_call() {
    for end in ["unordered-finish 2 bye", "later-finish 2 bye", "unordered-close 2 bye"] {
        let server = datagrams(&Slow::default(), |_| {}).await;
        let (mut peer, mut other) = (server.datagram_peer(PEER), server.datagram_peer(OTHER));
        peer.send(end).await.send("now 5 late").await.send("now 0 queued").await;
        sleep(secs(3)).await;
        if end.contains("finish") {
            peer.expect("bye").await;
        }
        // The other peer must not get the place of the removed one.
        other.send("number").await.expect("1").await;
        other.expect_nothing(secs(10)).await.send("number").await.expect("2").await;
        peer.expect_nothing(secs(1)).await.send("number").await.expect("1").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_later_stream_that_does_not_fit_into_the_limits_is_dropped_alone() {
    let server = datagrams(&Slow::default(), |_| {}).await;
    let mut peer = server.datagram_peer(PEER);
    let pad = "x".repeat(60_000);
    // The second stream waits for the first one, and other peers fill the limit of 16 MiB meanwhile.
    peer.send("unordered-stream 0 a-b").await.send(format!("unordered-stream 0 c-d {pad}")).await;
    peer.expect("a").await;
    for n in 0..300 {
        server.datagram_peer(([192, 0, 2, 3], 1000 + n)).send(format!("unordered 100 x {pad}")).await;
    }
    peer.expect("b").await.expect_nothing(secs(10)).await.send("number").await.expect("3").await;
    peer.send("unordered-stream 0 e").await.expect("e").await;
}
