//! The records of one connection: written by its driver, read by any thread.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::handler::{RecordedFraming, RecordedHandler};
use super::memory::{Lease, Memory};
use super::shared::Shared;

/// The records of one connection.
pub(crate) struct Recording {
    pub(super) shared: Arc<Shared>,
    pub(super) handler: Arc<RecordedHandler>,
    /// The leases of the chunks, oldest first. Only the writer changes them.
    leases: Mutex<VecDeque<Lease>>,
    /// The number of the next record. Only the writer changes it.
    next: AtomicU64,
    /// Taps of the connection: they read the last messages after it has closed.
    taps: AtomicUsize,
    opened: Instant,
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

/// The kind of a word with a time. It is no record.
const TIME: u64 = 15;

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
        Arc::new(Self {
            shared,
            handler,
            leases: Mutex::default(),
            next: AtomicU64::new(0),
            taps: AtomicUsize::new(0),
            opened: Instant::now(),
            opened_at: SystemTime::now(),
        })
    }

    fn memory(&self) -> &Memory {
        &self.shared.memory
    }

    /// The framing of the listener, if messages are recorded and not bytes.
    pub(crate) fn framing(&self) -> Option<&RecordedFraming> {
        self.handler.framing.as_ref()
    }

    /// The number of the next record.
    pub(crate) fn next(&self) -> u64 {
        self.next.load(Relaxed)
    }

    /// The records that are still stored, from a number on.
    pub(crate) fn read(&self, from: u64) -> Vec<Record> {
        let leases: Vec<Lease> = self.leases.lock().iter().cloned().collect();
        let (mut records, mut words) = (Vec::new(), Vec::new());
        for lease in leases {
            if let Some(first) = lease.copy(&mut words) {
                read_chunk(&words, first, from, &mut records);
            }
        }
        records
    }

    /// Leases a chunk for the next record: one that is the connection's share, or else one of the memory.
    fn next_lease(&self, first: u64) -> Option<Lease> {
        let mut leases = self.leases.lock();
        let mut lease = None;
        while lease.is_none()
            && leases.len() >= self.memory().share()
            && let Some(oldest) = leases.pop_front()
        {
            lease = self.memory().renew(&oldest, first);
        }
        let lease = lease.or_else(|| self.memory().lease(first))?;
        leases.push_back(lease.clone());
        Some(lease)
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
        let leases = std::mem::take(&mut *self.leases.lock());
        self.memory().free(leases);
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.free();
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("next", &self.next).finish_non_exhaustive()
    }
}

fn read_chunk(words: &[u64], first: u64, from: u64, records: &mut Vec<Record>) {
    let (mut at, mut number, mut time) = (0, first, Duration::ZERO);
    while let Some(header) = words.get(at) {
        let (kind, len, stored) = split(*header);
        let end = at + 1 + stored.div_ceil(8);
        let Some(stored_words) = words.get(at + 1..end) else { return };
        at = end;
        if kind == TIME {
            time = Duration::from_nanos(stored_words.first().copied().unwrap_or_default());
            continue;
        }
        let Some(kind) = RecordKind::ALL.get(kind as usize) else { return };
        if number >= from {
            let mut bytes: Vec<u8> = stored_words.iter().flat_map(|word| word.to_le_bytes()).collect();
            bytes.truncate(stored);
            records.push(Record { number, time, kind: *kind, len, bytes });
        }
        number += 1;
    }
}

/// The header of a record: its kind, its whole length and its stored length.
fn header(kind: u64, len: usize, stored: usize) -> u64 {
    kind << 56 | (stored as u64) << 32 | u64::from(u32::try_from(len).unwrap_or(u32::MAX))
}

fn split(header: u64) -> (u64, usize, usize) {
    (header >> 56, (header & 0xffff_ffff) as usize, (header >> 32 & 0xff_ffff) as usize)
}

/// Writes the records of a connection.
#[derive(Debug)]
pub(crate) struct Writer {
    recording: Arc<Recording>,
    lease: Option<Lease>,
    /// The words that are written to the chunk.
    at: usize,
    /// The words up to which they are published.
    published: usize,
    /// The words of the chunk; 0 while the lease is not busy.
    end: usize,
    /// Stored bytes of a message.
    max: usize,
}

impl Writer {
    pub(crate) fn new(recording: Arc<Recording>) -> Self {
        let max = recording.shared.max_message;
        Self { recording, lease: None, at: 0, published: 0, end: 0, max }
    }

    /// Stored bytes of a message.
    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// Writes a record of `len` bytes of which these are the first ones. Readers see it when it is published.
    #[inline]
    pub(crate) fn stage(&mut self, kind: RecordKind, bytes: &[u8], len: usize) {
        let bytes = &bytes[..bytes.len().min(self.max)];
        let words = 1 + bytes.len().div_ceil(8);
        self.at = self.published;
        if self.at + words > self.end && !self.begin(words) {
            return;
        }
        if let Some(lease) = &self.lease {
            lease.chunk.write(self.at, header(kind as u64, len, bytes.len()), bytes);
            self.at += words;
        }
    }

    /// Publishes the record that was written last.
    #[inline]
    pub(crate) fn publish(&mut self) {
        let next = &self.recording.next;
        next.store(next.load(Relaxed) + 1, Relaxed);
        if let Some(lease) = &self.lease
            && self.at > self.published
        {
            lease.chunk.publish(self.at);
            self.published = self.at;
        }
    }

    #[inline]
    pub(crate) fn record(&mut self, kind: RecordKind, bytes: &[u8]) {
        self.stage(kind, bytes, bytes.len());
        self.publish();
    }

    /// The burst is handled: the chunk can be given to another connection.
    #[inline]
    pub(crate) fn rest(&mut self) {
        if std::mem::take(&mut self.end) > 0
            && let Some(lease) = &self.lease
        {
            lease.rest();
        }
    }

    /// Begins a burst, or a chunk, with the time. False if no memory is left.
    #[cold]
    fn begin(&mut self, words: usize) -> bool {
        let time = u64::try_from(self.recording.opened.elapsed().as_nanos()).unwrap_or(u64::MAX).to_le_bytes();
        let is_kept = self.end == 0
            && self
                .lease
                .as_ref()
                .is_some_and(|lease| self.published + 2 + words <= lease.chunk.capacity() && lease.begin());
        if !is_kept {
            self.rest();
            self.lease = self.recording.next_lease(self.recording.next());
            (self.at, self.published) = (0, 0);
        }
        let Some(lease) = &self.lease else { return false };
        self.end = lease.chunk.capacity();
        lease.chunk.write(self.at, header(TIME, 0, time.len()), &time);
        self.at += 2;
        true
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.rest();
    }
}

#[cfg(test)]
mod tests;
