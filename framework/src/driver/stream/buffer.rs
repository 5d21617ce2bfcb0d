//! Read and write buffers, from a pool per thread: an idle connection holds no buffer.
//!
//! A message is a slice of the buffer that it was read into, and keeps the whole buffer alive. Connections with little
//! traffic therefore read into small buffers.

use std::cell::RefCell;
use std::thread::LocalKey;

use bytes::BytesMut;

/// Size of a large buffer: the maximum bytes per read, and the output size at which a connection writes.
pub(crate) const LARGE_BUFFER: usize = 64 * 1024;
/// Size of a small buffer: the maximum bytes per read while a connection receives little.
const SMALL_BUFFER: usize = 4 * 1024;
/// Minimum bytes of a read that keeps its large buffer; a smaller read is copied.
const SMALL_READ: usize = LARGE_BUFFER / 4;
/// Bytes of header and terminator that a codec may buffer above `limits.frame`.
pub(crate) const FRAME_OVERHEAD: usize = 1024;
/// Maximum free buffers of each size per thread.
const MAX_FREE: usize = 8;

type FreeList = RefCell<Vec<BytesMut>>;

thread_local! {
    static LARGE: FreeList = const { RefCell::new(Vec::new()) };
    static SMALL: FreeList = const { RefCell::new(Vec::new()) };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BufferSize {
    Small,
    Large,
}

impl BufferSize {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Small => SMALL_BUFFER,
            Self::Large => LARGE_BUFFER,
        }
    }

    pub(super) fn free_list(self) -> &'static LocalKey<FreeList> {
        match self {
            Self::Small => &SMALL,
            Self::Large => &LARGE,
        }
    }
}

pub(crate) fn take(size: BufferSize) -> BytesMut {
    size.free_list().with_borrow_mut(Vec::pop).unwrap_or_else(|| BytesMut::with_capacity(size.bytes()))
}

/// Returns an unused buffer of [`take`] to the pool.
pub(crate) fn give_unused(buffer: BytesMut, size: BufferSize) {
    size.free_list().with_borrow_mut(|free| {
        if free.len() < MAX_FREE {
            free.push(buffer);
        }
    });
}

/// Returns a buffer to the pool. Frees it if it has grown, if a message still refers to it, or if the pool is full.
pub(crate) fn give(mut buffer: BytesMut, size: BufferSize) {
    buffer.clear();
    if buffer.try_reclaim(size.bytes()) && buffer.capacity() <= 2 * size.bytes() {
        give_unused(buffer, size);
    }
}

/// The undecoded input of a connection: in a pooled buffer, or in a dedicated one for a large message.
#[derive(Default)]
pub(crate) struct ReadBuffer {
    /// Unallocated while it is empty and the connection is idle.
    pub(crate) bytes: BytesMut,
    /// The size of the pooled buffer that `bytes` uses; `None` for a dedicated one.
    pooled: Option<BufferSize>,
    /// The last read filled a small buffer: the next one uses a large buffer.
    pub(crate) wants_large: bool,
}

impl ReadBuffer {
    pub(crate) fn next_size(&self) -> BufferSize {
        if self.wants_large { BufferSize::Large } else { BufferSize::Small }
    }

    /// An empty buffer for the next read. Reuses the previous one if no message refers to it any more.
    pub(crate) fn take(&mut self, size: BufferSize) -> BytesMut {
        if self.bytes.is_empty()
            && let Some(pooled) = self.pooled.take()
        {
            let mut last = std::mem::take(&mut self.bytes);
            if pooled == size && last.try_reclaim(size.bytes()) {
                return last;
            }
            give(last, pooled);
        }
        take(size)
    }

    /// Adds the result of a read into a buffer of [`take`](Self::take). `limit` is the maximum size of a message.
    pub(crate) fn append(&mut self, read: BytesMut, size: BufferSize, limit: usize) {
        let count = read.len();
        if self.bytes.is_empty() && (!self.wants_large || count >= SMALL_READ) {
            (self.bytes, self.pooled) = (read, Some(size));
        } else {
            self.reserve(count, limit);
            self.bytes.extend_from_slice(&read);
            give(read, size);
        }
        self.wants_large = count >= size.bytes() || (self.wants_large && count >= SMALL_BUFFER);
    }

    /// Doubles a full buffer, up to the size of the largest message plus one read. A codec never leaves more undecoded.
    fn reserve(&mut self, count: usize, limit: usize) {
        let needed = self.bytes.len() + count;
        if needed > self.bytes.capacity() {
            let max = limit.saturating_add(FRAME_OVERHEAD + LARGE_BUFFER);
            let mut larger = BytesMut::with_capacity((2 * self.bytes.len()).min(max).max(needed));
            larger.extend_from_slice(&self.bytes);
            self.replace(larger);
        }
    }

    /// Copies a small partial message out of its pooled buffer, so that the buffer can be reused.
    pub(crate) fn compact(&mut self) {
        let len = self.bytes.len();
        if len > 0 && self.pooled.is_some_and(|size| len < size.bytes() / 4) {
            let copy = BytesMut::from(&self.bytes[..]);
            self.replace(copy);
        }
    }

    pub(crate) fn release(&mut self) {
        if self.bytes.is_empty() {
            self.discard();
        }
    }

    /// Frees the buffer with its input.
    #[inline]
    pub(crate) fn discard(&mut self) {
        self.replace(BytesMut::new());
    }

    fn replace(&mut self, bytes: BytesMut) {
        let previous = std::mem::replace(&mut self.bytes, bytes);
        if let Some(size) = self.pooled.take() {
            give(previous, size);
        }
    }
}
