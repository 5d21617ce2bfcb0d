//! The undecoded input of a connection: in a pooled buffer, or in a dedicated one for a large message.

use bytes::BytesMut;

use crate::driver::stream::buffer_pool::{self, BufferSize, LARGE_BUFFER, SMALL_BUFFER};

/// Minimum bytes of a read that keeps its large buffer; a smaller read is copied.
const SMALL_READ: usize = LARGE_BUFFER / 4;
/// Bytes of header and terminator that a codec may buffer above `limits.frame`.
pub(crate) const FRAME_OVERHEAD: usize = 1024;

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
    /// The buffer size of the next read.
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
            buffer_pool::give(last, pooled);
        }
        buffer_pool::take(size)
    }

    /// Adds the result of a read into a buffer of [`take`](Self::take). `limit` is the maximum size of a message.
    pub(crate) fn append(&mut self, read: BytesMut, size: BufferSize, limit: usize) {
        let count = read.len();
        if self.bytes.is_empty() && (!self.wants_large || count >= SMALL_READ) {
            (self.bytes, self.pooled) = (read, Some(size));
        } else {
            self.reserve(count, limit);
            self.bytes.extend_from_slice(&read);
            buffer_pool::give(read, size);
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

    /// Returns an empty buffer to the pool.
    pub(crate) fn release(&mut self) {
        if self.bytes.is_empty() {
            self.replace(BytesMut::new());
        }
    }

    fn replace(&mut self, bytes: BytesMut) {
        let previous = std::mem::replace(&mut self.bytes, bytes);
        if let Some(size) = self.pooled.take() {
            buffer_pool::give(previous, size);
        }
    }
}
