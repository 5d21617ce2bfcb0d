//! The counters of a recorder, and its report.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// The counters of a recorder. A recorder with other settings continues them.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) connections: AtomicUsize,
    /// Bytes of the memory that connections use.
    pub(super) memory: Arc<AtomicUsize>,
    written: AtomicU64,
    skipped: [AtomicU64; SkipReason::ALL.len()],
}

/// Why a file was not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SkipReason {
    /// One was written within the last second.
    Rate,
    /// The directory or the file could not be written.
    Error,
}

impl SkipReason {
    /// All reasons.
    pub const ALL: [Self; 2] = [Self::Rate, Self::Error];

    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Error => "error",
        }
    }
}

impl Counters {
    pub(super) fn written(&self) {
        self.written.fetch_add(1, Relaxed);
    }

    pub(super) fn skipped(&self, reason: SkipReason) {
        self.skipped[reason as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn report(&self, memory: usize) -> RecorderReport {
        RecorderReport {
            memory_used: self.memory.load(Relaxed),
            memory,
            connections: self.connections.load(Relaxed),
            written: self.written.load(Relaxed),
            skipped: SkipReason::ALL.map(|reason| (reason, self.skipped[reason as usize].load(Relaxed))).into(),
        }
    }
}

/// The state of a recorder. Counters start with the process.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecorderReport {
    /// Bytes of the memory that connections use. Those that opened with earlier settings count, too.
    pub memory_used: usize,
    /// Maximum bytes of the memory.
    pub memory: usize,
    /// Connections that are recorded.
    pub connections: usize,
    /// Files written so far.
    pub written: u64,
    /// Files not written so far, by reason.
    pub skipped: Vec<(SkipReason, u64)>,
}
