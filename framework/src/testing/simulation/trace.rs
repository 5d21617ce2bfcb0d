//! The events of a simulated network: the last ones as text, and a hash of all.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

/// Events that are kept, unless the test sets another number.
const LENGTH: usize = 100;

/// Clones are the same trace.
#[derive(Clone)]
pub(super) struct Trace(Arc<Mutex<State>>);

struct State {
    began: Option<Instant>,
    events: VecDeque<Event>,
    length: usize,
    hasher: DefaultHasher,
}

/// An event. The text is made only for those that are shown.
#[derive(Debug, Hash)]
struct Event {
    time: Duration,
    subject: Subject,
    what: What,
}

/// The end to which something happens.
#[derive(Debug, Clone, Copy, Hash)]
pub(super) struct Subject {
    /// The address of the client.
    pub(super) client: SocketAddr,
    /// The number of the connection; 0 for datagrams.
    pub(super) connection: usize,
    pub(super) is_client: bool,
}

#[derive(Debug, Hash)]
pub(super) enum What {
    /// For example `closes`.
    Event(&'static str),
    Reads(usize),
    Writes(Bytes),
}

impl Default for Trace {
    fn default() -> Self {
        let state = State { began: None, events: VecDeque::new(), length: LENGTH, hasher: DefaultHasher::new() };
        Self(Arc::new(Mutex::new(state)))
    }
}

impl Trace {
    pub(super) fn add(&self, subject: Subject, what: What) {
        let State { began, events, length, hasher } = &mut *self.0.lock();
        let now = Instant::now();
        let time = now.saturating_duration_since(*began.get_or_insert(now));
        let event = Event { time, subject, what };
        event.hash(hasher);
        events.push_back(event);
        while events.len() > *length {
            events.pop_front();
        }
    }

    pub(super) fn set_length(&self, length: usize) {
        self.0.lock().length = length;
    }

    pub(super) fn fingerprint(&self) -> u64 {
        self.0.lock().hasher.finish()
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Event { time, subject: Subject { client, connection, is_client }, what } in &self.0.lock().events {
            write!(f, "{:>5}.{:06} {client}", time.as_secs(), time.subsec_micros())?;
            if *connection > 0 {
                write!(f, " #{connection}")?;
            }
            f.write_str(if *is_client { " client " } else { " server " })?;
            match what {
                What::Event(text) => writeln!(f, "{text}")?,
                What::Reads(bytes) => writeln!(f, "reads {bytes}")?,
                What::Writes(bytes) => writeln!(f, "writes \"{}\"", bytes.escape_ascii())?,
            }
        }
        Ok(())
    }
}
