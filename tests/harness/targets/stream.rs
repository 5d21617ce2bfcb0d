//! The whole way of a connection, in memory and on paused time: whatever one client does, the next one is answered.
//!
//! An input is a framing, a limit, and then what the client does: sends, reads, waits, half-closes, goes.

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

/// Longer than any deadline of the server, so that one that is not kept shows.
const PATIENCE: Duration = Duration::from_secs(3600);

/// A client that does anything, then one that asks properly.
pub fn stream(data: &[u8]) {
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime can be had").block_on(converse(Input(data)));
}

async fn converse(mut input: Input<'_>) {
    let shape = input.byte();
    let delimited = Delimited::new("\r|").expect("a delimiter of two bytes");
    // What is asked, and what echo answers.
    let (framing, question): (AnyFraming, &[u8]) = match shape % 5 {
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
    // Its own welcome is no JSON.
    let greets = shape >= 128 && shape % 5 != 4;
    let running =
        if greets { server.start(Hello::new(HelloOptions::default())).await } else { server.start(Echo).await };
    let running = running.expect("a name of its own can be bound");
    disturb(&name, input).await;
    let mut next = connect(&name).await;
    next.write_all(question).await.expect("the next client is served");
    if greets {
        // The welcome, framed, and the answer.
        next.shutdown().await.expect("the next client is served");
        let mut all = Vec::new();
        let read = timeout(PATIENCE, next.read_to_end(&mut all)).await;
        read.expect("the next client is answered").expect("the next client is read from");
        let has = |text: &[u8]| all.windows(text.len()).any(|window| window == text);
        assert!(has(b"welcome!") && has(b"hello, 7!"), "{}", all.escape_ascii());
    } else {
        let mut answer = vec![0; question.len()];
        let read = timeout(PATIENCE, next.read_exact(&mut answer)).await;
        read.expect("the next client is answered").expect("the next client is answered in full");
        assert_eq!(answer, question);
    }
    drop(next);
    timeout(PATIENCE, running.drain()).await.expect("a drain ends");
}

async fn connect(name: &str) -> DuplexStream {
    memory::connect(name).await.expect("the server listens")
}

async fn disturb(name: &str, mut input: Input<'_>) {
    let mut client = connect(name).await;
    let mut room = vec![0; 4096];
    while !input.0.is_empty() {
        let step = input.byte();
        let wait = Duration::from_millis(1 << (step & 0x0f));
        match step >> 5 {
            0..=3 => {
                let bytes = input.some(usize::from(step & 0x7f));
                // The server may have closed, or may not read while nobody reads its answers.
                let _ = timeout(wait, client.write_all(bytes)).await;
            }
            4 => drop(timeout(wait, client.read(&mut room)).await),
            5 => sleep(wait).await,
            6 => drop(timeout(wait, client.shutdown()).await),
            _ => client = connect(name).await,
        }
    }
}
