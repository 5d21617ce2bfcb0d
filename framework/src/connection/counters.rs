//! Message and byte counters of one connection.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A count that only the driver of the connection changes, so no atomic read-modify-write is needed.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

#[derive(Debug, Default)]
pub(crate) struct ConnectionCounters {
    pub(crate) messages: Counter,
    pub(crate) bytes_in: Counter,
    pub(crate) bytes_out: Counter,
}

impl Counter {
    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    #[inline]
    pub(crate) fn set(&self, count: u64) {
        self.0.store(count, Relaxed);
    }

    #[inline]
    pub(crate) fn add(&self, count: usize) {
        self.set(self.get() + count as u64);
    }
}
