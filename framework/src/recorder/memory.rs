//! The memory of a recorder: chunks of words that connections lease.
//!
//! A chunk is written by one connection at a time, and read by any thread. Its words are atomic, so that a record needs
//! no lock: on most processors, the writes are ordinary ones. The lease of a chunk is busy while its connection handles
//! a burst of messages. Only an idle chunk can be given to another connection. A reader checks the lease after it has
//! copied the words: if it has changed, the copy is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, fence};

use parking_lot::Mutex;

/// Smallest size of a chunk in words.
const MIN_WORDS: usize = 256;
/// Words of a chunk besides the stored part of one message: two headers and a time.
const OVERHEAD_WORDS: usize = 4;
/// Bytes of a chunk besides its words.
const OVERHEAD: usize = 96;
/// Chunks that are compared to find an old one.
const CANDIDATES: usize = 16;
/// Groups of candidates that are tried.
const TRIES: usize = 4;
/// The lease of a chunk that no connection uses.
const FREE: u64 = 0;
/// The bit of a lease that is busy.
const BUSY: u64 = 1;

/// The chunks of all connections.
#[derive(Debug)]
pub(super) struct Memory {
    pool: Mutex<Pool>,
    /// Words of a chunk.
    words: usize,
    /// Maximum number of chunks.
    limit: usize,
    /// The number of the last lease.
    leases: AtomicU64,
}

#[derive(Debug, Default)]
struct Pool {
    chunks: Vec<Arc<Chunk>>,
    free: Vec<Arc<Chunk>>,
    /// The next candidate.
    hand: usize,
}

/// A part of the memory.
#[derive(Debug)]
pub(super) struct Chunk {
    /// [`FREE`], or the number of a lease and its bit [`BUSY`].
    lease: AtomicU64,
    /// The number of words that are written.
    len: AtomicUsize,
    /// The number of the first record in the chunk.
    first: AtomicU64,
    words: Box<[AtomicU64]>,
}

/// The right to write to a chunk until another connection leases it.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    pub(super) chunk: Arc<Chunk>,
    number: u64,
}

impl Memory {
    /// At most `bytes`, with room for messages of `message` bytes.
    pub(super) fn new(bytes: usize, message: usize) -> Self {
        let words = (message.div_ceil(8) + OVERHEAD_WORDS).max(MIN_WORDS);
        let limit = (bytes / (words * 8 + OVERHEAD)).max(1);
        Self { pool: Mutex::default(), words, limit, leases: AtomicU64::new(0) }
    }

    /// Maximum chunks of one connection.
    pub(super) fn share(&self) -> usize {
        (self.limit / 16).max(4)
    }

    /// Leases a free chunk, a new one, or an old one of another connection. `None` if all candidates are busy.
    pub(super) fn lease(&self, first: u64) -> Option<Lease> {
        let mut pool = self.pool.lock();
        if let Some(chunk) = pool.free.pop() {
            return self.take(&chunk, FREE, first);
        }
        if pool.chunks.len() < self.limit {
            let words = (0..self.words).map(|_| AtomicU64::new(0)).collect();
            let chunk =
                Chunk { lease: AtomicU64::new(FREE), len: AtomicUsize::new(0), first: AtomicU64::new(0), words };
            let chunk = Arc::new(chunk);
            pool.chunks.push(chunk.clone());
            return self.take(&chunk, FREE, first);
        }
        (0..TRIES).find_map(|_| {
            let count = CANDIDATES.min(pool.chunks.len());
            let candidates = (0..count).map(|nth| &pool.chunks[(pool.hand + nth) % pool.chunks.len()]);
            let idle =
                candidates.map(|chunk| (chunk.lease.load(Relaxed), chunk)).filter(|(lease, _)| lease & BUSY == 0);
            let lease = idle.min_by_key(|(lease, _)| *lease).and_then(|(lease, chunk)| self.take(chunk, lease, first));
            pool.hand = (pool.hand + count) % pool.chunks.len();
            lease
        })
    }

    /// Leases a chunk again, for other records, if the lease is still valid.
    pub(super) fn renew(&self, lease: &Lease, first: u64) -> Option<Lease> {
        self.take(&lease.chunk, lease.number, first)
    }

    fn take(&self, chunk: &Arc<Chunk>, lease: u64, first: u64) -> Option<Lease> {
        let number = (self.leases.fetch_add(1, Relaxed) + 1) << 1;
        chunk.lease.compare_exchange(lease, number | BUSY, Acquire, Relaxed).ok()?;
        fence(Release); // a reader of one of the new words also reads the new lease
        chunk.len.store(0, Release);
        chunk.first.store(first, Relaxed);
        Some(Lease { chunk: chunk.clone(), number })
    }

    /// Takes back the chunks of a connection that has closed.
    pub(super) fn free(&self, leases: impl IntoIterator<Item = Lease>) {
        let mut pool = self.pool.lock();
        for Lease { chunk, number } in leases {
            if chunk.lease.compare_exchange(number, FREE, Release, Relaxed).is_ok() {
                pool.free.push(chunk);
            }
        }
    }
}

impl Lease {
    /// Begins to write. False if another connection has leased the chunk.
    pub(super) fn begin(&self) -> bool {
        self.chunk.lease.compare_exchange(self.number, self.number | BUSY, Acquire, Relaxed).is_ok()
    }

    /// Ends writing. To be called after [`begin`](Self::begin) or a new lease.
    pub(super) fn rest(&self) {
        self.chunk.lease.store(self.number, Release);
    }

    /// Copies the words, if the lease is still valid. Returns the number of the first record.
    pub(super) fn copy(&self, words: &mut Vec<u64>) -> Option<u64> {
        let Chunk { lease, len, first, words: stored } = &*self.chunk;
        let len = len.load(Acquire).min(stored.len());
        let first = first.load(Relaxed);
        words.clear();
        words.extend(stored[..len].iter().map(|word| word.load(Relaxed)));
        fence(Acquire);
        (lease.load(Relaxed) & !BUSY == self.number).then_some(first)
    }
}

impl Chunk {
    /// The number of words.
    pub(super) fn capacity(&self) -> usize {
        self.words.len()
    }

    /// Writes a word and bytes behind `at`. They are valid when they are [published](Self::publish).
    #[inline]
    pub(super) fn write(&self, at: usize, header: u64, bytes: &[u8]) {
        let Some((first, words)) = self.words[at..].split_first() else { return };
        first.store(header, Relaxed);
        let (whole, rest) = bytes.as_chunks::<8>();
        for (word, bytes) in words.iter().zip(whole) {
            word.store(u64::from_le_bytes(*bytes), Relaxed);
        }
        if let Some(word) = words.get(whole.len())
            && !rest.is_empty()
        {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            word.store(u64::from_le_bytes(last), Relaxed);
        }
    }

    /// The words up to `len` are valid.
    #[inline]
    pub(super) fn publish(&self, len: usize) {
        self.len.store(len, Release);
    }
}
