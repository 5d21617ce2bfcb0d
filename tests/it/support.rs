//! What the tests share: a handler that does as it is told, and a transport that can be watched and disturbed.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use harness::{Client, TEST_PATIENCE, unique};
use switchboard::address::Endpoint;
use switchboard::prelude::*;
use switchboard::settings::{Limits, SocketOptions, Timeouts};
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

/// A handler that does what each message says, and remembers what was called.
#[derive(Clone)]
pub(crate) struct Probe {
    calls: Arc<watch::Sender<Vec<String>>>,
    connections: Arc<Mutex<Vec<Connection>>>,
    pushers: Arc<Mutex<Vec<Pusher>>>,
    opening: &'static str,
    closing: &'static str,
    /// What `wait` waits for.
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
    /// Does this when a connection opens.
    pub(crate) fn opening(self, opening: &'static str) -> Self {
        Self { opening, ..self }
    }

    /// Does this when a connection closes.
    pub(crate) fn closing(self, closing: &'static str) -> Self {
        Self { closing, ..self }
    }

    /// What was called so far.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.borrow().clone()
    }

    /// Waits until something was called so many times: `open`, `close`, `message`, or the beginning of a longer text.
    pub(crate) async fn called(&self, what: &str, times: usize) {
        let mut calls = self.calls.subscribe();
        let count = |calls: &Vec<String>| calls.iter().filter(|call| call.starts_with(what)).count();
        let waited = timeout(TEST_PATIENCE, calls.wait_for(|calls| count(calls) >= times)).await;
        waited.unwrap_or_else(|_| panic!("{what} was not called {times} times: {:?}", self.calls())).unwrap();
    }

    /// The reasons that `close` was told, once there are so many.
    pub(crate) async fn reasons(&self, count: usize) -> Vec<String> {
        self.called("close ", count).await;
        self.calls().iter().filter_map(|call| Some(call.strip_prefix("close ")?.to_owned())).collect()
    }

    /// The reason of the only close.
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
            "error" => return Err("as told".into()),
            "panic" => panic!("as told"),
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

/// A server of lines on a name of its own.
pub(crate) struct Served {
    pub(crate) running: Running,
    pub(crate) name: String,
    pub(crate) probe: Probe,
}

/// Serves a probe with lines.
pub(crate) async fn serve(probe: Probe) -> Served {
    serve_with(probe, |server| server).await
}

/// The same, with more settings.
pub(crate) async fn serve_with(probe: Probe, set: impl FnOnce(Server<Lines>) -> Server<Lines>) -> Served {
    let name = unique("lines");
    let server = Server::bind(format!("mem:{name}")).framing(Lines::default());
    let running = set(server).start(probe.clone()).await.unwrap();
    Served { running, name, probe }
}

impl Served {
    pub(crate) async fn connect(&self) -> MemClient {
        connect(&self.name).await
    }

    /// Whoever comes next is served as if nothing had happened.
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

/// The memory transport under the scheme `spy`, watched and disturbed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spy {
    /// Calls of write that took something.
    pub(crate) writes: Arc<AtomicUsize>,
    /// Bytes that were written.
    pub(crate) written: Arc<AtomicUsize>,
    /// The most bytes that one call of write had to offer.
    pub(crate) most_offered: Arc<AtomicUsize>,
    /// Each flush has to wait once.
    pub(crate) lazy_flush: bool,
    /// Every read fails from now on.
    pub(crate) broken: Arc<AtomicBool>,
    /// What accept reports before it brings anybody, in turn.
    pub(crate) accept_errors: Arc<Mutex<Vec<i32>>>,
    /// How many times it was bound.
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
            Listener::Datagram(_) => unreachable!(),
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
        Ok(Some(accepted.map(|io| Box::new(SpyIo { io, spy, waited: false }))))
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

/// Serves a probe with lines on a watched transport.
pub(crate) async fn serve_spied(probe: Probe, spy: &Spy, set: impl FnOnce(Server<Lines>) -> Server<Lines>) -> Served {
    let name = unique("spied");
    let server = Server::bind(format!("spy:{name}")).transport(spy.clone()).framing(Lines::default());
    let running = set(server).start(probe.clone()).await.unwrap();
    Served { running, name, probe }
}

/// Small numbers that look random and are the same in every run.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// From 0 up to, not including, `below`.
    pub(crate) fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}
