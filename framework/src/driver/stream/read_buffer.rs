//! What was read of a connection and is not decoded yet: in a buffer of the thread, or one of its own where a message is large.

use bytes::BytesMut;

use crate::driver::stream::buffer_pool::{self, CHUNK, SMALL_CHUNK};

/// A partial message below this size does not keep a whole chunk.
const SMALL: usize = CHUNK / 4;
/// Headers and terminators that a message may have beyond its limit, whatever its codec thinks of limits.
pub(crate) const OVERHEAD: usize = 1024;

#[derive(Default)]
pub(crate) struct ReadBuffer {
    /// Read, not yet decoded. Unallocated while it is empty and nothing comes.
    pub(crate) bytes: BytesMut,
    /// The size of the thread's buffer that they lie in; zero for one of their own.
    chunk: usize,
    /// The last read filled a small buffer: the next one gets a large one.
    pub(crate) hungry: bool,
}

impl ReadBuffer {
    /// The size of the buffer that the next read gets.
    pub(crate) fn room(&self) -> usize {
        if self.hungry { CHUNK } else { SMALL_CHUNK }
    }

    /// An empty buffer of that size: the one that the messages before were read into, if nobody holds a part of it any more.
    pub(crate) fn buffer(&mut self, room: usize) -> BytesMut {
        if self.bytes.is_empty() && self.chunk > 0 {
            let mut last = std::mem::take(&mut self.bytes);
            let chunk = std::mem::take(&mut self.chunk);
            if chunk == room && last.try_reclaim(room) {
                return last;
            }
            buffer_pool::give(last, chunk);
        }
        buffer_pool::take(room)
    }

    /// Takes in what was read into such a buffer. `limit` is that of a message.
    pub(crate) fn take_in(&mut self, read: BytesMut, room: usize, limit: usize) {
        let count = read.len();
        if self.bytes.is_empty() && (!self.hungry || count >= SMALL) {
            (self.bytes, self.chunk) = (read, room);
        } else {
            self.make_room_for(count, limit);
            self.bytes.extend_from_slice(&read);
            buffer_pool::give(read, room);
        }
        self.hungry = count >= room || (self.hungry && count >= SMALL_CHUNK);
    }

    /// Doubles the buffer when it is full, but not beyond what the largest message can need: a codec that decodes as it should
    /// never leaves more in it than that and one read.
    fn make_room_for(&mut self, count: usize, limit: usize) {
        let needed = self.bytes.len() + count;
        if needed > self.bytes.capacity() {
            let most = limit.saturating_add(OVERHEAD + CHUNK);
            let mut larger = BytesMut::with_capacity((2 * self.bytes.len()).min(most).max(needed));
            larger.extend_from_slice(&self.bytes);
            self.replace(larger);
        }
    }

    /// A small rest does not hold a whole chunk. What holds no rest is read into again, or given back.
    pub(crate) fn tidy(&mut self) {
        let rest = self.bytes.len();
        if rest > 0 && rest < self.chunk / 4 {
            let rest = BytesMut::from(&self.bytes[..]);
            self.replace(rest);
        }
    }

    /// Gives back what holds nothing.
    pub(crate) fn release(&mut self) {
        if self.bytes.is_empty() {
            self.replace(BytesMut::new());
        }
    }

    fn replace(&mut self, bytes: BytesMut) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        if self.chunk > 0 {
            buffer_pool::give(before, self.chunk);
            self.chunk = 0;
        }
    }
}
