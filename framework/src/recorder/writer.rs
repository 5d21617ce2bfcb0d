//! Writes the records of one connection, for its driver.

use std::mem::take;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::memory::{Cell, Chunk, Ring};
use super::recording::{HEADER, IS_CUT, RecordKind, Recording, TIME, TIME_SIZE};

/// Writes the records of a connection.
#[derive(Debug)]
pub(crate) struct Writer {
    /// The newest chunk, during a burst. Without memory otherwise.
    chunk: Chunk,
    /// The number of the next record.
    next: u64,
    /// Stored bytes of a message.
    max: usize,
    /// The older chunks, during a burst.
    ring: Option<Ring>,
    cell: Arc<Cell>,
    recording: Arc<Recording>,
    /// When the burst began.
    time: Duration,
}

impl Writer {
    pub(crate) fn new(recording: Arc<Recording>) -> Self {
        let (max, next, cell) = (recording.shared.max_message, recording.next.load(Relaxed), recording.cell.clone());
        Self { chunk: Chunk::default(), next, max, ring: None, cell, recording, time: Duration::ZERO }
    }

    /// Stored bytes of a message.
    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// Adds a record. Readers see it after the burst.
    #[inline(always)] // for each message; a function of its own costs as much again
    pub(crate) fn record(&mut self, kind: RecordKind, bytes: &[u8]) {
        let header = (kind as u32) << 28 | bytes.len() as u32;
        if bytes.len() <= self.max && self.chunk.append(header, bytes) {
            self.next += 1;
        } else {
            self.record_part(kind, bytes, bytes.len());
        }
    }

    /// Adds a record of `len` bytes, of which these are the first ones. Begins a burst or a chunk, if necessary.
    #[inline(never)]
    pub(crate) fn record_part(&mut self, kind: RecordKind, bytes: &[u8], len: usize) {
        let stored = &bytes[..bytes.len().min(self.max)];
        let has_room = self.make_room(HEADER + stored.len());
        self.next += 1;
        if !has_room {
            return;
        }
        let header = (kind as u32) << 28 | stored.len() as u32;
        if stored.len() == len {
            self.chunk.append(header, stored);
        } else {
            self.chunk.append_cut(header | IS_CUT, u32::try_from(len).unwrap_or(u32::MAX), stored);
        }
    }

    /// Removes the record that was added last, of a message of `len` bytes.
    #[cold]
    pub(crate) fn retract(&mut self, len: usize) {
        self.next -= 1;
        let stored = len.min(self.max);
        self.chunk.len = self.chunk.len.saturating_sub(stored + if stored == len { HEADER / 2 } else { HEADER });
    }

    /// The burst is handled: readers see its records, and other connections can take the memory.
    #[inline]
    pub(crate) fn rest(&mut self) {
        if self.ring.is_some() {
            self.put_back();
        }
    }

    fn put_back(&mut self) {
        let Some(mut ring) = self.ring.take() else { return };
        ring.push(take(&mut self.chunk));
        self.recording.next.store(self.next, Relaxed);
        self.cell.put(ring);
    }

    /// Makes room for so many bytes in the chunk. False if no memory is left.
    fn make_room(&mut self, size: usize) -> bool {
        self.chunk.room() >= size || self.begin(size)
    }

    /// Begins a burst, or a chunk, with the time. False if no memory is left.
    fn begin(&mut self, size: usize) -> bool {
        let ring = match &mut self.ring {
            Some(ring) => {
                ring.push(take(&mut self.chunk));
                ring
            }
            None => {
                self.time = self.recording.opened.elapsed();
                let ring = self.ring.insert(self.cell.take());
                match ring.pop() {
                    Some(chunk) if chunk.room() >= TIME_SIZE + size => self.chunk = chunk,
                    Some(full) => ring.push(full),
                    None => {}
                }
                ring
            }
        };
        if self.chunk.room() == 0 {
            let Some(chunk) = self.recording.memory().next_chunk(&self.cell, ring, self.next) else { return false };
            self.chunk = chunk;
        }
        let time = u64::try_from(self.time.as_nanos()).unwrap_or(u64::MAX);
        self.chunk.append(TIME << 28 | 8, &time.to_le_bytes())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.put_back();
    }
}
