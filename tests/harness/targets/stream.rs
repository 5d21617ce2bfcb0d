//! Fuzz target for a whole connection in memory: after any client behaviour, the next client is served.
//!
//! An input is a framing, a limit, and then the client's actions: send, read, wait, half-close, reconnect.

use std::time::Duration;

use switchboard::Server;
use switchboard::framing::{AnyFraming, Delimited, JsonLines, Length, Lines, Raw};
use switchboard::settings::Limits;
use switchboard::transport::memory;
use switchboard_handlers::{Echo, Hello, HelloOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::runtime::Builder;
use tokio::time::{sleep, timeout};

use super::input::Input;
use crate::unique;

/// Longer than any timeout of the server, so that a missed timeout fails the test.
const TIMEOUT: Duration = Duration::from_secs(3600);

/// Runs a misbehaving client, then a well-behaved one.
pub fn stream(data: &[u8]) {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(run(Input(data)));
}

async fn run(mut input: Input<'_>) {
    let shape = input.byte();
    let delimited = Delimited::new("\r|").expect("a delimiter of two bytes");
    // The request, which echo sends back.
    let (framing, request): (AnyFraming, &[u8]) = match shape % 5 {
        0 => (AnyFraming::new(Raw::default()), b"7"),
        1 => (AnyFraming::new(Lines::default()), b"7\n"),
        2 => (AnyFraming::new(Length::default()), b"\0\0\0\x017"),
        3 => (AnyFraming::new(delimited), b"7\r|"),
        _ => (AnyFraming::new(JsonLines::default()), b"7\n"),
    };
    let mut limits = Limits::default();
    (limits.frame, limits.outbox) = (input.limit().max(16), 2);
    let name = unique("fuzz");
    let server = Server::bind(format!("mem:{name}")).framing(framing).limits(limits);
    // The greeting is not JSON.
    let greets = shape >= 128 && shape % 5 != 4;
    let running =
        if greets { server.start(Hello::new(HelloOptions::default())).await } else { server.start(Echo).await };
    let running = running.expect("the name is unique");
    misbehave(&name, input).await;
    let mut next = connect(&name).await;
    next.write_all(request).await.expect("the next client is served");
    if greets {
        // The framed greeting and the reply.
        next.shutdown().await.expect("the next client is served");
        let mut all = Vec::new();
        let read = timeout(TIMEOUT, next.read_to_end(&mut all)).await;
        read.expect("the next client receives a reply").expect("the connection is not reset");
        let has = |text: &[u8]| all.windows(text.len()).any(|window| window == text);
        assert!(has(b"welcome!") && has(b"hello, 7!"), "{}", all.escape_ascii());
    } else {
        let mut reply = vec![0; request.len()];
        let read = timeout(TIMEOUT, next.read_exact(&mut reply)).await;
        read.expect("the next client receives a reply").expect("the next client receives the whole reply");
        assert_eq!(reply, request);
    }
    drop(next);
    timeout(TIMEOUT, running.drain()).await.expect("the drain completes");
}

async fn connect(name: &str) -> DuplexStream {
    memory::connect(name).await.expect("the server listens")
}

async fn misbehave(name: &str, mut input: Input<'_>) {
    let mut client = connect(name).await;
    let mut buffer = vec![0; 4096];
    while !input.0.is_empty() {
        let step = input.byte();
        let wait = Duration::from_millis(1 << (step & 0x0f));
        match step >> 5 {
            0..=3 => {
                let bytes = input.some(usize::from(step & 0x7f));
                // The server may have closed, or may not read until the client reads its replies.
                let _ = timeout(wait, client.write_all(bytes)).await;
            }
            4 => drop(timeout(wait, client.read(&mut buffer)).await),
            5 => sleep(wait).await,
            6 => drop(timeout(wait, client.shutdown()).await),
            _ => client = connect(name).await,
        }
    }
}
