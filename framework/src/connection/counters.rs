//! Message and byte counters of one connection.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Traffic of one connection so far. Only its driver writes, so no atomic read-modify-write is needed.
#[derive(Debug, Default)]
pub(crate) struct ConnectionCounters {
    messages: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl ConnectionCounters {
    pub(crate) fn messages(&self) -> u64 {
        self.messages.load(Relaxed)
    }

    pub(crate) fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Relaxed)
    }

    pub(crate) fn bytes_out(&self) -> u64 {
        self.bytes_out.load(Relaxed)
    }

    #[inline]
    pub(crate) fn set_messages(&self, messages: u64) {
        self.messages.store(messages, Relaxed);
    }

    #[inline]
    pub(crate) fn add_message(&self) {
        self.set_messages(self.messages() + 1);
    }

    #[inline]
    pub(crate) fn add_bytes_in(&self, bytes: usize) {
        self.bytes_in.store(self.bytes_in() + bytes as u64, Relaxed);
    }

    #[inline]
    pub(crate) fn add_bytes_out(&self, bytes: usize) {
        self.bytes_out.store(self.bytes_out() + bytes as u64, Relaxed);
    }
}
