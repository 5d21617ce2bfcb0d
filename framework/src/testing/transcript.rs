//! What a peer and the server sent each other, for the text of a failed expectation.

use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::time::Duration;

use tokio::time::Instant;

/// Entries that are kept; older ones are only counted.
const MAX_ENTRIES: usize = 64;
/// Bytes of one entry that are kept.
const MAX_HEAD: usize = 128;
/// Bytes that a failure shows of what was expected and of what was received.
const MAX_EXCERPT: usize = 256;

/// The sender of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Peer,
    Server,
}

/// The most recent bytes and events between one peer and the server.
#[derive(Debug)]
pub(super) struct Transcript {
    began: Instant,
    entries: VecDeque<Entry>,
    omitted: usize,
}

#[derive(Debug)]
struct Entry {
    at: Instant,
    side: Side,
    what: Content,
}

#[derive(Debug)]
enum Content {
    Bytes { head: Vec<u8>, len: usize },
    Event(String),
}

impl Transcript {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), entries: VecDeque::new(), omitted: 0 }
    }

    /// Adds bytes of a stream. Bytes of the same side at the same time are one entry.
    pub(super) fn bytes(&mut self, side: Side, bytes: &[u8]) {
        let now = Instant::now();
        match self.entries.back_mut() {
            Some(Entry { at, side: last, what: Content::Bytes { head, len } }) if (*at, *last) == (now, side) => {
                let room = MAX_HEAD - head.len();
                head.extend_from_slice(&bytes[..bytes.len().min(room)]);
                *len += bytes.len();
            }
            _ => self.datagram(side, bytes),
        }
    }

    /// Adds a datagram.
    pub(super) fn datagram(&mut self, side: Side, bytes: &[u8]) {
        let head = bytes[..bytes.len().min(MAX_HEAD)].to_vec();
        self.add(side, Content::Bytes { head, len: bytes.len() });
    }

    /// Adds something that is not a byte.
    pub(super) fn event(&mut self, side: Side, event: impl Into<String>) {
        self.add(side, Content::Event(event.into()));
    }

    fn add(&mut self, side: Side, what: Content) {
        if self.entries.len() == MAX_ENTRIES {
            self.entries.pop_front();
            self.omitted += 1;
        }
        self.entries.push_back(Entry { at: Instant::now(), side, what });
    }
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the conversation, with times since the peer was created:")?;
        if self.omitted > 0 {
            write!(f, "\n  ({} older entries are omitted)", self.omitted)?;
        }
        if self.entries.is_empty() {
            write!(f, "\n  (empty)")?;
        }
        for Entry { at, side, what } in &self.entries {
            let (at, side) = (seconds(at.duration_since(self.began)), format!("{side:?}").to_lowercase());
            match what {
                Content::Bytes { head, len } => write!(f, "\n  {at:>12}  {side:<6}  {}", quoted(head, *len))?,
                Content::Event(event) => write!(f, "\n  {at:>12}  {side:<6}  {event}")?,
            }
        }
        Ok(())
    }
}

pub(super) fn seconds(time: Duration) -> String {
    format!("{}.{:03} s", time.as_secs(), time.subsec_millis())
}

/// The beginning of `bytes`, escaped and in quotes.
pub(super) fn excerpt(bytes: &[u8]) -> String {
    quoted(&bytes[..bytes.len().min(MAX_EXCERPT)], bytes.len())
}

/// The part of `bytes` around an index, escaped and in quotes.
pub(super) fn excerpt_at(bytes: &[u8], index: usize) -> String {
    let begin = if bytes.len() <= MAX_EXCERPT { 0 } else { index.saturating_sub(MAX_EXCERPT / 4).min(bytes.len()) };
    let rest = excerpt(&bytes[begin..]);
    if begin == 0 { rest } else { format!("({begin} bytes) … {rest}") }
}

fn quoted(head: &[u8], len: usize) -> String {
    let mut text = format!("\"{}\"", head.escape_ascii());
    if len > head.len() {
        let _ = write!(text, " … ({len} bytes)"); // writing to a string cannot fail
    }
    text
}
