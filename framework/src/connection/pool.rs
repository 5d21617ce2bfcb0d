//! Buffers for the moment of a read or a write, kept by the thread: a connection that waits holds none.

use std::cell::RefCell;

use bytes::BytesMut;

/// What one read brings at most, and how much output is gathered before it is written.
pub(crate) const CHUNK: usize = 64 * 1024;
/// How many buffers a thread keeps.
const KEPT: usize = 8;

thread_local! {
    static BUFFERS: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with room for [`CHUNK`] bytes.
pub(crate) fn take() -> BytesMut {
    BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_else(|| BytesMut::with_capacity(CHUNK))
}

/// Gives a buffer back. One that has grown beyond use, or of which others hold a part, is let go.
pub(crate) fn give(mut buffer: BytesMut) {
    buffer.clear();
    if buffer.try_reclaim(CHUNK) && buffer.capacity() <= 2 * CHUNK {
        BUFFERS.with_borrow_mut(|kept| {
            if kept.len() < KEPT {
                kept.push(buffer);
            }
        });
    }
}
