//! Shared test helpers: a handler that each message controls, and a transport that counts calls and injects errors.

use std::any::Any;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use harness::{Client, TEST_TIMEOUT, unique};
use switchboard::address::Endpoint;
use switchboard::handler::HandlerLayer;
use switchboard::prelude::*;
use switchboard::settings::{Limits, SocketOptions, Timeouts};
use switchboard::testing;
use switchboard::transport::{Accepted, BoxIo, StreamListener};
use switchboard::transport::{Bind, Listener, SchemeInfo, Transport, memory};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

pub(crate) type MemClient = Client<DuplexStream>;

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The message of a panic.
pub(crate) fn panic_text(panic: &dyn Any) -> String {
    let formatted = panic.downcast_ref::<String>().cloned();
    formatted.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap()
}

pub(crate) fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

pub(crate) fn timeouts(change: impl FnOnce(&mut Timeouts)) -> Timeouts {
    let mut timeouts = Timeouts::default();
    change(&mut timeouts);
    timeouts
}

pub(crate) fn socket(change: impl FnOnce(&mut SocketOptions)) -> SocketOptions {
    let mut socket = SocketOptions::default();
    change(&mut socket);
    socket
}

/// A handler that runs the command in each message and records its calls.
#[derive(Clone)]
pub(crate) struct Probe {
    calls: Arc<watch::Sender<Vec<String>>>,
    connections: Arc<Mutex<Vec<Connection>>>,
    pushers: Arc<Mutex<Vec<Pusher>>>,
    opening: &'static str,
    closing: &'static str,
    /// Each `wait` message takes one permit.
    pub(crate) gate: Arc<Semaphore>,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            calls: Arc::new(watch::Sender::default()),
            connections: Arc::default(),
            pushers: Arc::default(),
            opening: "none",
            closing: "none",
            gate: Arc::new(Semaphore::new(0)),
        }
    }
}

impl Probe {
    /// Runs this command when a connection opens.
    pub(crate) fn opening(self, opening: &'static str) -> Self {
        Self { opening, ..self }
    }

    /// Runs this command when a connection closes.
    pub(crate) fn closing(self, closing: &'static str) -> Self {
        Self { closing, ..self }
    }

    /// The calls so far.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.borrow().clone()
    }

    /// Waits until this many recorded calls begin with `what`: `open`, `close`, `message`, or a longer prefix.
    pub(crate) async fn called(&self, what: &str, times: usize) {
        let mut calls = self.calls.subscribe();
        let count = |calls: &Vec<String>| calls.iter().filter(|call| call.starts_with(what)).count();
        let waited = timeout(TEST_TIMEOUT, calls.wait_for(|calls| count(calls) >= times)).await;
        waited.unwrap_or_else(|_| panic!("{what} was not called {times} times: {:?}", self.calls())).unwrap();
    }

    /// Waits for `count` calls of `close` and returns their reasons.
    pub(crate) async fn reasons(&self, count: usize) -> Vec<String> {
        self.called("close ", count).await;
        self.calls().iter().filter_map(|call| Some(call.strip_prefix("close ")?.to_owned())).collect()
    }

    /// Waits for the only `close` call and returns its reason.
    pub(crate) async fn reason(&self) -> String {
        let reasons = self.reasons(1).await;
        assert_eq!(reasons.len(), 1, "{reasons:?}");
        reasons[0].clone()
    }

    /// The nth connection that was opened.
    pub(crate) fn connection(&self, nth: usize) -> Connection {
        self.connections.lock().unwrap()[nth].clone()
    }

    /// A pusher to the nth connection that was opened.
    pub(crate) fn pusher(&self, nth: usize) -> Pusher {
        self.pushers.lock().unwrap()[nth].clone()
    }

    fn record(&self, call: String) {
        self.calls.send_modify(|calls| calls.push(call));
    }

    async fn act(&self, cx: &mut Context<u64>, text: &str, message: Bytes) -> Result<Reply> {
        let (what, rest) = text.split_once(' ').unwrap_or((text, ""));
        let words = || rest.split_whitespace().map(|word| Bytes::from(word.to_owned()));
        Ok(match what {
            "none" => Reply::none(),
            "close" => Reply::close(),
            "finish" if rest.is_empty() => Reply::finish(),
            "finish" => Reply::many(words()).then_finish(),
            "many" => Reply::many(words()),
            "stream" => {
                let frames: Vec<_> = words().collect();
                Reply::stream(stream::iter(frames).then(|frame| async {
                    sleep(secs(1)).await;
                    Ok(frame)
                }))
            }
            "stream-finish" => Reply::stream(stream::iter(words().map(Ok).collect::<Vec<_>>())).then_finish(),
            "stream-error" => {
                Reply::stream(stream::iter(words().map(Ok).chain([Err("enough".into())]).collect::<Vec<_>>()))
            }
            "stream-panic" => Reply::stream(stream::iter([0, 1]).map(|n| match n {
                0 => Ok(Bytes::from("first")),
                _ => panic!("the stream panics"),
            })),
            "endless" => Reply::stream(stream::repeat_with(|| Ok(Bytes::from(vec![b'x'; 1000])))),
            "error" => return Err("requested".into()),
            "panic" => panic!("requested"),
            "sleep" => {
                sleep(secs(rest.parse()?)).await;
                Reply::send("slept")
            }
            "wait" => {
                self.gate.acquire().await?.forget();
                Reply::send("waited")
            }
            "hang" => std::future::pending().await,
            "count" => {
                cx.state += 1;
                Reply::send(cx.state.to_string())
            }
            "count-and-hang" => {
                cx.state += 1;
                std::future::pending().await
            }
            "push" => {
                let pusher = cx.pusher();
                for frame in words() {
                    pusher.push(frame).await?;
                }
                Reply::send("pushed")
            }
            "drain?" => Reply::send(cx.drain().is_draining().to_string()),
            "big" => Reply::send(vec![b'x'; rest.parse()?]),
            _ => Reply::send(message),
        })
    }
}

impl Handler for Probe {
    type State = u64;

    async fn open(&self, cx: &mut Context<u64>) -> Result<Reply> {
        self.connections.lock().unwrap().push(cx.connection().clone());
        self.pushers.lock().unwrap().push(cx.pusher());
        self.record("open".into());
        self.act(cx, self.opening, Bytes::new()).await
    }

    async fn message(&self, cx: &mut Context<u64>, message: Bytes) -> Result<Reply> {
        let text = message.escape_ascii().to_string();
        self.record(format!("message {text}"));
        self.act(cx, &text, message).await
    }

    async fn close(&self, cx: &mut Context<u64>, reason: CloseReason) {
        self.record(format!("close {reason}"));
        let _ = self.act(cx, self.closing, Bytes::new()).await;
    }
}

/// A running server with framing `lines` on a unique `mem:` address.
pub(crate) struct Served {
    pub(crate) running: Running,
    pub(crate) name: String,
    pub(crate) probe: Probe,
}

/// Starts a server for a probe.
pub(crate) async fn serve(probe: Probe) -> Served {
    serve_with(probe, |server| server).await
}

/// Starts a server for a probe, with more settings.
pub(crate) async fn serve_with(probe: Probe, set: impl FnOnce(Server<Lines>) -> Server<Lines>) -> Served {
    let name = unique("lines");
    let server = Server::bind(format!("mem:{name}")).framing(Lines::default());
    let running = set(server).start(probe.clone()).await.unwrap();
    Served { running, name, probe }
}

/// Starts a server for a probe with framing `lines` in the test kit, with more settings.
pub(crate) async fn serve_in_kit<L: HandlerLayer<Probe, Bytes, Bytes>>(
    probe: &Probe,
    set: impl FnOnce(Server<Lines>) -> Server<Lines, L>,
) -> testing::Running {
    testing::Server::new(probe.clone()).framing(Lines::default()).set(set).start().await
}

impl Served {
    pub(crate) async fn connect(&self) -> MemClient {
        connect(&self.name).await
    }

    /// Checks that the next client is served normally.
    pub(crate) async fn serves_the_next(&self) {
        let mut client = self.connect().await;
        if self.probe.opening == "none" {
            client.send("next\n").await.expect("next\n").await;
        }
    }
}

pub(crate) async fn connect(name: &str) -> MemClient {
    Client(memory::connect(name).await.unwrap())
}

/// The memory transport under the scheme `spy`, with counters and injected errors.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spy {
    /// Successful writes.
    pub(crate) writes: Arc<AtomicUsize>,
    /// Bytes written.
    pub(crate) written: Arc<AtomicUsize>,
    /// The largest buffer passed to one write.
    pub(crate) most_offered: Arc<AtomicUsize>,
    /// Each flush returns `Pending` once.
    pub(crate) lazy_flush: bool,
    /// Every read fails from now on.
    pub(crate) broken: Arc<AtomicBool>,
    /// Errno values that accept returns before the next connection. The last one is returned first.
    pub(crate) accept_errors: Arc<Mutex<Vec<i32>>>,
    /// The number of binds.
    pub(crate) binds: Arc<AtomicUsize>,
}

struct SpyListener(Box<dyn StreamListener>, Spy);

struct SpyIo {
    io: BoxIo,
    spy: Spy,
    waited: bool,
}

#[async_trait]
impl Transport for Spy {
    fn schemes(&self) -> Vec<SchemeInfo> {
        vec![SchemeInfo::new("spy", "memory, watched", Kind::Stream)]
    }

    async fn bind(&self, bind: Bind) -> io::Result<Listener> {
        self.binds.fetch_add(1, SeqCst);
        let name = bind.endpoint.to_string().strip_prefix("spy:").unwrap().to_owned();
        match memory::Memory.bind(Bind::new(Endpoint::Memory(name), bind.options)).await? {
            Listener::Stream(listener) => Ok(Listener::Stream(Box::new(SpyListener(listener, self.clone())))),
            _ => unreachable!(),
        }
    }
}

#[async_trait]
impl StreamListener for SpyListener {
    async fn accept(&mut self) -> io::Result<Option<Accepted>> {
        let error = self.1.accept_errors.lock().unwrap().pop();
        if let Some(error) = error {
            return Err(io::Error::from_raw_os_error(error));
        }
        let Some(accepted) = self.0.accept().await? else { return Ok(None) };
        let spy = self.1.clone();
        Ok(Some(accepted.map(|io| BoxIo::new(SpyIo { io, spy, waited: false }))))
    }

    fn endpoint(&self) -> Endpoint {
        self.0.endpoint().to_string().replace("mem:", "spy:").parse().unwrap()
    }
}

impl AsyncRead for SpyIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.spy.broken.load(SeqCst) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for SpyIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.spy.most_offered.fetch_max(bytes.len(), SeqCst);
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        self.spy.writes.fetch_add(1, SeqCst);
        self.spy.written.fetch_add(written, SeqCst);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        if self.spy.lazy_flush && !std::mem::replace(&mut self.waited, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.waited = false;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Starts a server for a probe on the spy transport.
pub(crate) async fn serve_spied(probe: Probe, spy: &Spy, set: impl FnOnce(Server<Lines>) -> Server<Lines>) -> Served {
    let name = unique("spied");
    let server = Server::bind(format!("spy:{name}")).transport(spy.clone()).framing(Lines::default());
    let running = set(server).start(probe.clone()).await.unwrap();
    Served { running, name, probe }
}

/// A deterministic pseudo-random generator (xorshift).
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number from 0 to `bound`, exclusive.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}
