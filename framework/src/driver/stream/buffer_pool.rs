//! A pool of read and write buffers per thread: an idle connection holds no buffer.
//!
//! A message is a slice of the buffer that it was read into, and keeps the whole buffer alive. Connections with little
//! traffic therefore read into small buffers.

use std::cell::RefCell;
use std::thread::LocalKey;

use bytes::BytesMut;

/// Size of a large buffer: the maximum bytes per read, and the output size at which a connection writes.
pub(crate) const LARGE_BUFFER: usize = 64 * 1024;
/// Size of a small buffer: the maximum bytes per read while a connection receives little.
pub(crate) const SMALL_BUFFER: usize = 4 * 1024;
/// Maximum free buffers of each size per thread.
const MAX_FREE: usize = 8;

type FreeList = RefCell<Vec<BytesMut>>;

thread_local! {
    static LARGE: FreeList = const { RefCell::new(Vec::new()) };
    static SMALL: FreeList = const { RefCell::new(Vec::new()) };
}

/// The size of a pooled buffer.
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

    fn free_list(self) -> &'static LocalKey<FreeList> {
        match self {
            Self::Small => &SMALL,
            Self::Large => &LARGE,
        }
    }
}

/// Takes an empty buffer from the pool, or allocates one.
pub(crate) fn take(size: BufferSize) -> BytesMut {
    size.free_list().with_borrow_mut(Vec::pop).unwrap_or_else(|| BytesMut::with_capacity(size.bytes()))
}

/// Returns a buffer to the pool. Frees it if it has grown, if a message still refers to it, or if the pool is full.
pub(crate) fn give(mut buffer: BytesMut, size: BufferSize) {
    buffer.clear();
    if buffer.try_reclaim(size.bytes()) && buffer.capacity() <= 2 * size.bytes() {
        size.free_list().with_borrow_mut(|free| {
            if free.len() < MAX_FREE {
                free.push(buffer);
            }
        });
    }
}
