//! The results: latencies, bytes and errors.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::time::Instant;

use super::load::Load;

/// Significant digits of a latency.
const DIGITS: u8 = 3;
/// The shortest latency that is distinguished, in nanoseconds.
const MIN_LATENCY: u64 = 1_000;
/// The longest latency that is recorded, in nanoseconds; a longer one counts as this one.
const MAX_LATENCY: u64 = 3_600_000_000_000;

/// The kind of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Connect,
    Handshake,
    Closed,
    Timeout,
    InvalidReply,
    WrongSize,
    UnexpectedReply,
    Io,
    NotSent,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Handshake => "handshake",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::InvalidReply => "invalid_reply",
            Self::WrongSize => "wrong_size",
            Self::UnexpectedReply => "unexpected_reply",
            Self::Io => "io",
            Self::NotSent => "not_sent",
        }
    }
}

/// Why messages failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Error {
    pub(super) kind: Kind,
    pub(super) sentence: String,
}

impl Error {
    pub(super) fn new(kind: Kind, sentence: impl Into<String>) -> Self {
        Self { kind, sentence: sentence.into() }
    }
}

/// A reply of this size is not that of `--reply-size`.
pub(super) fn wrong_size(size: usize, load: &Load) -> Error {
    let expected = load.reply_size.unwrap_or_default();
    Error::new(Kind::WrongSize, format!("a reply has {size} bytes, and --reply-size is {expected}"))
}

/// The errors of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) messages: u64,
    /// The sentence of the first error.
    pub(super) sentence: String,
}

#[derive(Debug)]
pub(super) struct Results {
    /// Messages that were due before do not count.
    pub(super) begin: Instant,
    pub(super) latency: Histogram<u64>,
    pub(super) sent_bytes: u64,
    pub(super) received_bytes: u64,
    pub(super) errors: BTreeMap<Kind, Failed>,
    pub(super) last_reply: Instant,
}

impl Results {
    pub(super) fn new(begin: Instant) -> Self {
        let latency = Histogram::new_with_bounds(MIN_LATENCY, MAX_LATENCY, DIGITS).expect("the bounds are valid");
        Self { begin, latency, sent_bytes: 0, received_bytes: 0, errors: BTreeMap::new(), last_reply: begin }
    }

    /// Records an answered message, with the time at which it was due and the sizes on the wire.
    pub(super) fn answered(&mut self, due: Instant, now: Instant, sent: usize, received: usize) {
        if due < self.begin {
            return;
        }
        let nanoseconds = u64::try_from((now - due).as_nanos()).unwrap_or(u64::MAX);
        self.latency.saturating_record(nanoseconds);
        self.sent_bytes += sent as u64;
        self.received_bytes += received as u64;
        self.last_reply = now;
    }

    /// Counts messages that failed, also those of the warmup.
    pub(super) fn failed(&mut self, messages: u64, error: Error) {
        let failed = self.errors.entry(error.kind).or_insert(Failed { messages: 0, sentence: error.sentence });
        failed.messages += messages;
    }

    pub(super) fn messages(&self) -> u64 {
        self.latency.len()
    }

    pub(super) fn failed_messages(&self) -> u64 {
        self.errors.values().map(|failed| failed.messages).sum()
    }

    /// The latency that this part of the messages did not exceed.
    pub(super) fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.latency.value_at_quantile(quantile).min(self.latency.max()))
    }
}
