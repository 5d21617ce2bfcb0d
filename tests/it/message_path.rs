//! The path of one message through the source, as the README lists it, is the call stack inside a handler that waits.

use std::backtrace::Backtrace;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use harness::TEST_TIMEOUT;
use switchboard::Running;
use switchboard::metrics::Outcome;
use switchboard::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::yield_now;
use tokio::time::timeout;

/// Answers each message, and records the call stack of the last call.
#[derive(Clone, Default)]
struct CaptureStack {
    stack: Arc<Mutex<String>>,
    /// Reply at once, and not after a wait.
    at_once: bool,
}

impl Handler for CaptureStack {
    type State = ();

    async fn message(&self, _: &mut Context, message: Bytes) -> Result<Reply> {
        if !self.at_once {
            yield_now().await;
        }
        *self.stack.lock().unwrap() = Backtrace::force_capture().to_string();
        Ok(Reply::send(message))
    }
}

impl CaptureStack {
    /// The files of the framework on the stack, outermost first, each once.
    fn files(&self) -> Vec<String> {
        let stack = self.stack.lock().unwrap();
        let frames = stack.lines().filter_map(|line| line.trim().strip_prefix("at "));
        let files = frames.filter_map(|place| {
            let from = place.find("framework/src/")?;
            Some(place[from..].split(':').next()?.to_owned())
        });
        let mut found: Vec<String> = Vec::new();
        for file in files.collect::<Vec<_>>().into_iter().rev() {
            if !found.contains(&file) {
                found.push(file);
            }
        }
        found
    }
}

/// The files of a numbered list in the README, in the section with this title.
fn listed(title: &str) -> Vec<String> {
    let readme = std::fs::read_to_string(harness::root().join("README.md")).unwrap();
    let section = readme.split(&format!("### {title}\n")).nth(1).unwrap_or_else(|| panic!("no section {title}"));
    let items = section.lines().take_while(|line| !line.starts_with('#')).filter(|line| {
        line.split_once(". ").is_some_and(|(number, _)| number.bytes().all(|byte| byte.is_ascii_digit()))
    });
    items.map(|item| item.split('`').nth(1).unwrap().to_owned()).collect()
}

#[track_caller]
fn assert_path(title: &str, stack: &[String]) {
    let listed = listed(title);
    assert!(stack.len() <= 10, "{stack:#?}");
    assert_eq!(listed, stack, "the README lists another path than the call stack shows");
}

async fn handle_line(handler: &CaptureStack) {
    let running = Server::bind("tcp://127.0.0.1:0").framing(Lines::default()).start(handler.clone()).await.unwrap();
    let port = running.address().unwrap().port().unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    client.write_all(b"hi\n").await.unwrap();
    client.read_exact(&mut [0; 3]).await.unwrap();
}

async fn handle_datagram(handler: &CaptureStack) {
    let running = Server::bind("udp://127.0.0.1:0").start(handler.clone()).await.unwrap();
    let port = running.address().unwrap().port().unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(("127.0.0.1", port)).await.unwrap();
    client.send(b"hi").await.unwrap();
    client.recv(&mut [0; 2]).await.unwrap();
}

#[tokio::test]
async fn a_message_takes_the_path_in_the_readme() {
    let handler = CaptureStack::default();
    handle_line(&handler).await;
    assert_path("A line over TCP", &handler.files());
    handle_datagram(&handler).await;
    assert_path("A datagram", &handler.files());
}

#[tokio::test]
async fn a_handler_that_replies_at_once_is_called_without_layers() {
    let handler = CaptureStack { at_once: true, ..CaptureStack::default() };
    handle_line(&handler).await;
    assert_eq!(handler.files(), listed("A line over TCP")[..2]);
    handle_datagram(&handler).await;
    assert_eq!(handler.files(), listed("A datagram")[..4]);
}

/// Answers whether another task has run while it yielded.
struct Yielding;

impl Handler for Yielding {
    type State = ();

    async fn message(&self, _: &mut Context, _: Bytes) -> Result<Reply> {
        let has_run = Arc::new(AtomicBool::new(false));
        let other = has_run.clone();
        tokio::spawn(async move { other.store(true, SeqCst) });
        yield_now().await;
        Ok(Reply::send(if has_run.load(SeqCst) { "yes" } else { "no!" }))
    }
}

#[tokio::test]
async fn a_handler_that_yields_is_polled_again_only_when_it_is_woken() {
    let running = Server::bind("tcp://127.0.0.1:0").start(Yielding).await.unwrap();
    let mut client = TcpStream::connect(running.socket_addr().unwrap()).await.unwrap();
    let mut reply = [0; 3];
    client.write_all(b"?").await.unwrap();
    client.read_exact(&mut reply).await.unwrap();
    assert_eq!(&reply, b"yes");
    let running = Server::bind("udp://127.0.0.1:0").start(Yielding).await.unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.send_to(b"?", running.socket_addr().unwrap()).await.unwrap();
    client.recv(&mut reply).await.unwrap();
    assert_eq!(&reply, b"yes");
}

/// Panics before it returns a future, which an `async fn` cannot do. Counts the messages of each peer.
struct Eager;

impl Handler for Eager {
    type State = u8;

    fn message(&self, cx: &mut Context<u8>, message: Bytes) -> impl Future<Output = Result<Reply>> + Send {
        assert!(*message != *b"panic", "a message that panics");
        cx.state += 1;
        std::future::ready(Ok(Reply::send(vec![b'0' + cx.state])))
    }
}

#[tokio::test]
async fn a_panic_before_the_future_of_a_handler_fails_one_message_and_no_other_peer() {
    let running = Server::bind("udp://127.0.0.1:0").start(Eager).await.unwrap();
    let [steady, faulty] =
        [UdpSocket::bind("127.0.0.1:0").await.unwrap(), UdpSocket::bind("127.0.0.1:0").await.unwrap()];
    let (address, mut reply) = (running.socket_addr().unwrap(), [0; 1]);
    for expected in [b"1", b"2"] {
        faulty.send_to(b"panic", address).await.unwrap();
        steady.send_to(b"?", address).await.unwrap();
        timeout(TEST_TIMEOUT, steady.recv(&mut reply)).await.unwrap().unwrap();
        assert_eq!(&reply, expected);
    }
    let panics = |running: &Running| {
        let counts = running.report().remove(0).messages;
        counts.into_iter().filter(|(outcome, _)| *outcome == Outcome::Panic).map(|(_, count)| count).sum::<u64>()
    };
    assert_eq!(panics(&running), 2);

    let running = Server::bind("tcp://127.0.0.1:0").start(Eager).await.unwrap();
    let mut client = TcpStream::connect(running.socket_addr().unwrap()).await.unwrap();
    client.write_all(b"panic").await.unwrap();
    assert_eq!(client.read(&mut reply).await.unwrap(), 0);
    assert_eq!(panics(&running), 1);
}
