//! The memory of a recorder: chunks of bytes that connections take turns to use.
//!
//! The chunks of a connection are its ring. The writer of the connection takes the ring out of its cell for a burst of
//! messages, and puts it back before the connection waits: a message needs no lock. Readers, and connections that need
//! a chunk of another one, use only rings that are in their cells.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;

use parking_lot::Mutex;
use slab::Slab;

/// Smallest size of a chunk in bytes.
const MIN_CHUNK: usize = 2048;
/// Bytes of a chunk besides the stored part of one message: a time and two headers.
const OVERHEAD: usize = 32;
/// Bytes of a chunk outside of it.
const BOOKKEEPING: usize = 64;
/// Rings that are compared to find an old chunk.
const CANDIDATES: usize = 16;
/// Groups of candidates that are tried.
const TRIES: usize = 4;
/// How often a reader tries again while the writer has the ring.
const READ_TRIES: usize = 256;

/// The chunks of all connections.
#[derive(Debug)]
pub(super) struct Memory {
    pool: Mutex<Pool>,
    /// Bytes of a chunk.
    chunk: usize,
    /// Maximum number of chunks.
    limit: usize,
    /// Maximum number of chunks of a connection.
    share: usize,
    /// Bytes of the chunks that connections have. Several memories can count together.
    used: Arc<AtomicUsize>,
    /// The age of the newest chunk.
    age: AtomicU64,
}

#[derive(Debug, Default)]
struct Pool {
    /// Chunks that exist.
    count: usize,
    free: Vec<Box<[u8]>>,
    /// The cells of the connections that have chunks.
    cells: Slab<Arc<Cell>>,
    /// The next candidate.
    hand: usize,
}

/// The place of a ring while its writer does not use it.
#[derive(Debug, Default)]
pub(super) struct Cell(Mutex<Stored>);

#[derive(Debug, Default)]
struct Stored {
    ring: Ring,
    is_taken: bool,
}

/// The chunks of one connection, oldest first.
#[derive(Debug, Default)]
pub(super) struct Ring {
    chunks: VecDeque<Chunk>,
    /// The key of its cell in the pool, while it has chunks.
    key: Option<usize>,
}

/// A part of the memory.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    bytes: Box<[u8]>,
    /// The bytes that are written.
    pub(super) len: usize,
    /// The number of its first record.
    pub(super) first: u64,
    age: u64,
}

impl Memory {
    /// At most `bytes`, of which a connection has at most `share`, with room for messages of `message` bytes.
    pub(super) fn new(bytes: usize, share: usize, message: usize, used: Arc<AtomicUsize>) -> Self {
        let chunk = (message + OVERHEAD).max(MIN_CHUNK);
        let limit = (bytes / (chunk + BOOKKEEPING)).max(1);
        let share = (share / (chunk + BOOKKEEPING)).clamp(2, limit.max(2));
        Self { pool: Mutex::default(), chunk, limit, share, used, age: AtomicU64::new(0) }
    }

    /// A chunk for the records from `first` on: of the ring if that has its share, or else one of the memory. `None` if
    /// every candidate is in use.
    pub(super) fn next_chunk(&self, cell: &Arc<Cell>, ring: &mut Ring, first: u64) -> Option<Chunk> {
        if ring.chunks.len() >= self.share
            && let Some(oldest) = ring.chunks.pop_front()
        {
            return Some(Chunk { bytes: oldest.bytes, len: 0, first, age: self.age.load(Relaxed) });
        }
        let mut pool = self.pool.lock();
        let bytes = match pool.free.pop() {
            Some(bytes) => bytes,
            None if pool.count < self.limit => {
                pool.count += 1;
                vec![0; self.chunk].into()
            }
            None => {
                let bytes = pool.take_oldest()?;
                self.used.fetch_sub(self.size(), Relaxed);
                bytes
            }
        };
        if ring.key.is_none() {
            ring.key = Some(pool.cells.insert(cell.clone()));
        }
        self.used.fetch_add(self.size(), Relaxed);
        Some(Chunk { bytes, len: 0, first, age: self.age.fetch_add(1, Relaxed) + 1 })
    }

    /// Bytes of a chunk, with its bookkeeping.
    fn size(&self) -> usize {
        self.chunk + BOOKKEEPING
    }

    /// Takes back the chunks of a connection that has closed.
    pub(super) fn free(&self, cell: &Cell) {
        let mut place = cell.0.lock();
        if place.is_taken {
            return; // the writer puts the ring back first
        }
        let Ring { chunks, key } = std::mem::take(&mut place.ring);
        drop(place);
        if let Some(key) = key {
            let mut pool = self.pool.lock();
            pool.cells.remove(key);
            self.used.fetch_sub(chunks.len() * self.size(), Relaxed);
            pool.free.extend(chunks.into_iter().map(|chunk| chunk.bytes));
        }
    }
}

impl Pool {
    /// The oldest chunk of a few rings that are not in use.
    fn take_oldest(&mut self) -> Option<Box<[u8]>> {
        let end = self.cells.iter().next_back().map_or(0, |(key, _)| key + 1);
        for _ in 0..TRIES {
            let keys = (0..CANDIDATES.min(end)).map(|nth| (self.hand + nth) % end);
            let oldest = keys.filter_map(|key| Some((self.cells.get(key)?.age()?, key))).min();
            self.hand = (self.hand + CANDIDATES) % end.max(1);
            if let Some((_, key)) = oldest
                && let Some(bytes) = self.take_from(key)
            {
                return Some(bytes);
            }
        }
        None
    }

    fn take_from(&mut self, key: usize) -> Option<Box<[u8]>> {
        let mut place = self.cells.get(key)?.0.lock();
        let chunk = place.ring.chunks.pop_front()?; // none while the ring is in use
        let is_empty = place.ring.chunks.is_empty();
        if is_empty {
            place.ring.key = None;
        }
        drop(place);
        if is_empty {
            self.cells.remove(key);
        }
        Some(chunk.bytes)
    }
}

impl Cell {
    /// Takes the ring for a burst.
    pub(super) fn take(&self) -> Ring {
        let mut place = self.0.lock();
        place.is_taken = true;
        std::mem::take(&mut place.ring)
    }

    /// Puts the ring back.
    pub(super) fn put(&self, ring: Ring) {
        *self.0.lock() = Stored { ring, is_taken: false };
    }

    /// Reads the chunks, oldest first. The writer uses the ring for a short time only; if it does not put it back,
    /// because the handler occupies its thread, nothing is read, and the result is false.
    pub(super) fn read(&self, read: impl FnMut(&Chunk)) -> bool {
        for _ in 0..READ_TRIES {
            let place = self.0.lock();
            if !place.is_taken {
                place.ring.chunks.iter().for_each(read);
                return true;
            }
            drop(place);
            thread::yield_now();
        }
        false
    }

    /// The age of the oldest chunk.
    fn age(&self) -> Option<u64> {
        self.0.lock().ring.chunks.front().map(|chunk| chunk.age)
    }
}

impl Ring {
    /// Takes the newest chunk, to write to it.
    pub(super) fn pop(&mut self) -> Option<Chunk> {
        self.chunks.pop_back()
    }

    /// Adds the newest chunk, if it has memory.
    pub(super) fn push(&mut self, chunk: Chunk) {
        if !chunk.bytes.is_empty() {
            self.chunks.push_back(chunk);
        }
    }
}

impl Chunk {
    /// The bytes that are written.
    pub(super) fn written(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Bytes that can be added.
    pub(super) fn room(&self) -> usize {
        self.bytes.len() - self.len
    }

    /// Adds a header and bytes. False if there is no room.
    #[inline(always)] // for each message
    pub(super) fn append(&mut self, header: u32, bytes: &[u8]) -> bool {
        let room = self.bytes.get_mut(self.len..).and_then(<[u8]>::split_first_chunk_mut);
        let Some((place, room)) = room else { return false };
        let Some(room) = room.get_mut(..bytes.len()) else { return false };
        *place = header.to_le_bytes();
        room.copy_from_slice(bytes);
        self.len += size_of::<u32>() + bytes.len();
        true
    }

    /// Adds a header with the whole length, and the first bytes. There is room.
    pub(super) fn append_cut(&mut self, header: u32, len: u32, bytes: &[u8]) {
        self.extend(&[&header.to_le_bytes(), &len.to_le_bytes(), bytes]);
    }

    fn extend(&mut self, parts: &[&[u8]]) {
        for part in parts {
            let Some(room) = self.bytes.get_mut(self.len..self.len + part.len()) else { return };
            room.copy_from_slice(part);
            self.len += part.len();
        }
    }
}
