//! The records of one connection, as any thread reads them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::handler::{RecordedFraming, RecordedHandler};
use super::memory::{Cell, Memory};
use super::shared::Shared;

/// The records of one connection.
pub(crate) struct Recording {
    pub(super) shared: Arc<Shared>,
    pub(super) handler: Arc<RecordedHandler>,
    pub(super) cell: Arc<Cell>,
    /// The number of the next record, for the next writer.
    pub(super) next: AtomicU64,
    /// Taps of the connection: they read the last messages after it has closed.
    taps: AtomicUsize,
    pub(super) opened: Instant,
    pub(super) opened_at: SystemTime,
}

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RecordKind {
    /// A message of the client, as the framing has decoded it.
    Received,
    /// A message of the server, before the framing encodes it.
    Sent,
    /// Bytes of the client.
    ReceivedBytes,
    /// Bytes of the server.
    SentBytes,
    /// The client has ended its output.
    ReceivedEnd,
}

/// The kind of a time in nanoseconds. It is no record.
pub(super) const TIME: u32 = 15;
/// The largest header of a record.
pub(super) const HEADER: usize = 8;
/// The size of a time with its header.
pub(super) const TIME_SIZE: usize = 12;
/// The bit of a header above the stored length: the whole length follows. Otherwise, all bytes are stored.
pub(super) const IS_CUT: u32 = 1 << 27;

impl RecordKind {
    const ALL: [Self; 5] = [Self::Received, Self::Sent, Self::ReceivedBytes, Self::SentBytes, Self::ReceivedEnd];
}

/// A record: a message or a part of it, or an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The number among all records of the connection.
    pub(crate) number: u64,
    /// The time since the connection opened.
    pub(crate) time: Duration,
    pub(crate) kind: RecordKind,
    /// The whole length in bytes.
    pub(crate) len: usize,
    /// The bytes that are stored.
    pub(crate) bytes: Vec<u8>,
}

impl Recording {
    pub(super) fn new(shared: Arc<Shared>, handler: Arc<RecordedHandler>) -> Arc<Self> {
        shared.counters.connections.fetch_add(1, Relaxed);
        Arc::new(Self {
            shared,
            handler,
            cell: Arc::default(),
            next: AtomicU64::new(0),
            taps: AtomicUsize::new(0),
            opened: Instant::now(),
            opened_at: SystemTime::now(),
        })
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.shared.memory
    }

    /// The framing of the listener, if messages are recorded and not bytes.
    pub(crate) fn framing(&self) -> Option<&RecordedFraming> {
        self.handler.framing.as_ref()
    }

    /// The records that are still stored, from a number on. `None` while the handler occupies its thread.
    pub(crate) fn read(&self, from: u64) -> Option<Vec<Record>> {
        let mut records = Records { from, ..Records::default() };
        self.cell.read(|chunk| records.read(chunk.written(), chunk.first)).then_some(records.found)
    }

    /// Counts a tap.
    pub(crate) fn add_tap(&self) {
        self.taps.fetch_add(1, Relaxed);
    }

    /// Gives the memory back, now or after the last tap.
    pub(super) fn close_memory(&self) {
        if self.taps.load(Relaxed) == 0 {
            self.free();
        }
    }

    fn free(&self) {
        self.memory().free(&self.cell);
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.free();
        self.shared.counters.connections.fetch_sub(1, Relaxed);
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("listener", &self.handler.listener).finish_non_exhaustive()
    }
}

/// Reads the records of the chunks of a connection.
#[derive(Default)]
struct Records {
    from: u64,
    number: u64,
    time: Duration,
    found: Vec<Record>,
}

impl Records {
    /// Reads the next chunk. `first`: the number of its first record.
    fn read(&mut self, mut bytes: &[u8], first: u64) {
        self.number = first;
        while let Some(header) = split_u32(&mut bytes) {
            let stored = (header & (IS_CUT - 1)) as usize;
            let len = if header & IS_CUT == 0 { Some(stored) } else { split_u32(&mut bytes).map(|len| len as usize) };
            let (Some(len), Some((content, rest))) = (len, bytes.split_at_checked(stored)) else { return };
            bytes = rest;
            match header >> 28 {
                TIME => self.time = Duration::from_nanos(content.try_into().map_or(0, u64::from_le_bytes)),
                kind => {
                    let Some(kind) = RecordKind::ALL.get(kind as usize) else { return };
                    if self.number >= self.from {
                        let (number, time, bytes) = (self.number, self.time, content.to_vec());
                        self.found.push(Record { number, time, kind: *kind, len, bytes });
                    }
                    self.number += 1;
                }
            }
        }
    }
}

fn split_u32(bytes: &mut &[u8]) -> Option<u32> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*first))
}

#[cfg(test)]
mod tests;
