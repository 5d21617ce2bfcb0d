//! The handler of the simulated servers, the messages of their clients, and what the handler notes about each client.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use switchboard::address::Address;
use switchboard::framing::AnyFraming;
use switchboard::handler::StartContext;
use switchboard::prelude::*;
use tokio::time::sleep;

/// How long some of the replies take: longer than the shortest idle timeout.
pub(super) const SLOW: Duration = Duration::from_secs(7);

/// The framing of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Raw,
    Lines,
    Length,
}

impl Encoding {
    pub(super) fn framing(self) -> AnyFraming {
        match self {
            Self::Raw => AnyFraming::new(Raw::default()),
            Self::Lines => AnyFraming::new(Lines::default()),
            Self::Length => AnyFraming::new(Length::default()),
        }
    }

    pub(super) fn encode(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Raw => message.to_vec(),
            Self::Lines => [message, b"\n"].concat(),
            Self::Length => [&u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat(),
        }
    }

    /// Removes the first frame from `bytes`, if it is complete.
    pub(super) fn decode(self, bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
        let (head, end, next) = match self {
            Self::Raw => return None,
            Self::Lines => {
                let end = bytes.iter().position(|byte| *byte == b'\n')?;
                (0, end, end + 1)
            }
            Self::Length => {
                let end = 4 + u32::from_be_bytes(*bytes.first_chunk()?) as usize;
                (4, end, end)
            }
        };
        let frame = bytes.get(head..end)?.to_vec();
        bytes.drain(..next);
        Some(frame)
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

/// Message `n` of a client: its numbers, some letters, and a checksum.
pub(super) fn message(client: usize, n: u64) -> String {
    let text = format!("{client}:{n}");
    let mixed = hash(text.as_bytes());
    let letter = char::from(b'a' + u8::try_from(client % 26).unwrap());
    let text = format!("{text}:{}", letter.to_string().repeat(usize::try_from(mixed % 90).unwrap()));
    format!("{text}:{:08x}", hash(text.as_bytes()) as u32)
}

fn is_intact(message: &[u8]) -> bool {
    let Some(colon) = message.iter().rposition(|byte| *byte == b':') else { return false };
    message[colon + 1..] == *format!("{:08x}", hash(&message[..colon]) as u32).as_bytes()
}

/// When and how the handler replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Now,
    Slow,
    Later,
    Unordered,
}

/// What the handler has seen of one client.
#[derive(Debug, Clone, Default)]
pub(super) struct Entry {
    pub(super) listener: String,
    pub(super) opened: u64,
    /// Calls for messages.
    pub(super) handled: u64,
    pub(super) bytes: u64,
    /// Messages with a wrong checksum.
    pub(super) damaged: u64,
    pub(super) closed: Vec<CloseReason>,
}

/// What all handlers of a run have seen.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    entries: Mutex<BTreeMap<SocketAddr, Entry>>,
    /// Handlers that have started, and that have stopped.
    pub(super) lives: Mutex<(u64, u64)>,
}

impl Ledger {
    pub(super) fn entries(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Entry>> {
        self.entries.lock().unwrap()
    }

    fn note(&self, cx: &Context, note: impl FnOnce(&mut Entry)) {
        let Address::Inet(client) = cx.peer() else { panic!("a client has no network address") };
        let mut entries = self.entries();
        let entry = entries.entry(*client).or_default();
        entry.listener.replace_range(.., cx.listener());
        note(entry);
    }
}

pub(super) struct Numbered {
    /// Each message is one of a client, with its checksum.
    pub(super) is_checked: bool,
    pub(super) style: Style,
    pub(super) ledger: Arc<Ledger>,
}

impl Handler for Numbered {
    type State = ();

    async fn start(&self, _: &StartContext) -> Result<()> {
        self.ledger.lives.lock().unwrap().0 += 1;
        Ok(())
    }

    async fn open(&self, cx: &mut Context) -> Result<Reply> {
        self.ledger.note(cx, |entry| entry.opened += 1);
        Ok(Reply::send("?"))
    }

    async fn message(&self, cx: &mut Context, message: Bytes) -> Result<Reply> {
        let is_damaged = self.is_checked && !is_intact(&message);
        self.ledger.note(cx, |entry| {
            entry.handled += 1;
            entry.bytes += message.len() as u64;
            entry.damaged += u64::from(is_damaged);
        });
        if is_damaged {
            return Ok(Reply::none());
        }
        let mixed = hash(&message);
        let delay = if mixed.is_multiple_of(16) { SLOW } else { Duration::from_millis(mixed % 200) };
        let mut reply = BytesMut::new();
        if self.is_checked {
            reply.extend_from_slice(b"+");
        }
        reply.extend_from_slice(&message);
        let reply = Reply::send(reply);
        let later = |reply| async move {
            sleep(delay).await;
            Ok(reply)
        };
        match self.style {
            Style::Now => Ok(reply),
            Style::Slow => later(reply).await,
            Style::Later => Ok(Reply::later(later(reply))),
            Style::Unordered => Ok(Reply::unordered(later(reply))),
        }
    }

    fn closing(&self, _: &mut Context, reason: CloseReason) -> Option<Bytes> {
        Some(format!("!{}", reason.as_str()).into())
    }

    async fn close(&self, cx: &mut Context, reason: CloseReason) {
        self.ledger.note(cx, |entry| entry.closed.push(reason));
    }

    async fn stop(&self) -> Result<()> {
        self.ledger.lives.lock().unwrap().1 += 1;
        Ok(())
    }
}
