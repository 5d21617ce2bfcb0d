//! Buffers for the moment of a read or a write, kept by the thread: a connection that waits holds none.
//!
//! There are two sizes. Messages are parts of the buffer that they were read into, and a handler that takes its time, or keeps
//! one, holds on to the whole of it: so one who sends little gets a small one.

use std::cell::RefCell;

use bytes::BytesMut;

/// What one read brings at most, and how much output is gathered before it is written.
pub(crate) const CHUNK: usize = 64 * 1024;
/// What the first read of a connection brings at most, and every one that follows a small one.
pub(crate) const SMALL_CHUNK: usize = 4 * 1024;
/// How many buffers of each size a thread keeps.
const KEPT: usize = 8;

thread_local! {
    static LARGE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
    static SMALL: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with room for so many bytes: [`CHUNK`] or [`SMALL_CHUNK`].
pub(crate) fn take(room: usize) -> BytesMut {
    let of_size = if room == CHUNK { &LARGE } else { &SMALL };
    of_size.with_borrow_mut(Vec::pop).unwrap_or_else(|| BytesMut::with_capacity(room))
}

/// Gives a buffer back that was taken with so much room. One that has grown beyond use, or of which others hold a part, is let
/// go.
pub(crate) fn give(mut buffer: BytesMut, room: usize) {
    buffer.clear();
    if buffer.try_reclaim(room) && buffer.capacity() <= 2 * room {
        let of_size = if room == CHUNK { &LARGE } else { &SMALL };
        of_size.with_borrow_mut(|kept| {
            if kept.len() < KEPT {
                kept.push(buffer);
            }
        });
    }
}
