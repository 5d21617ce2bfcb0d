//! The counters of bans and strikes, and their report.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::ban::BanOrigin;
use crate::metrics::{Counts, count_names as names};

#[derive(Debug, Default)]
pub(super) struct Counters {
    bans: [AtomicU64; BanOrigin::ALL.len()],
    strikes: AtomicU64,
}

impl Counters {
    pub(super) fn banned(&self, origin: BanOrigin) {
        self.bans[origin as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn struck(&self, strikes: u32) {
        self.strikes.fetch_add(strikes.into(), Relaxed);
    }

    /// Adds the counts of another process.
    pub(super) fn add(&self, counts: &Counts) {
        for (name, &count) in &counts.counts {
            let (name, label) = name.split_once('.').unwrap_or((name, ""));
            match name {
                names::BANS => {
                    if let Some(origin) = BanOrigin::ALL.into_iter().find(|origin| origin.as_str() == label) {
                        self.bans[origin as usize].fetch_add(count, Relaxed);
                    }
                }
                names::STRIKES => {
                    self.strikes.fetch_add(count, Relaxed);
                }
                _ => {}
            }
        }
    }

    pub(super) fn strikes(&self) -> u64 {
        self.strikes.load(Relaxed)
    }

    pub(super) fn bans(&self) -> Vec<(BanOrigin, u64)> {
        BanOrigin::ALL.into_iter().map(|origin| (origin, self.bans[origin as usize].load(Relaxed))).collect()
    }
}

/// The state of the bans of a server. Counters start with the process, and include the
/// [counts](crate::Running::add_counts) of other processes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BanReport {
    /// Bans in effect.
    pub active: usize,
    /// Maximum bans in effect.
    pub entries: usize,
    /// Bans so far, by origin.
    pub bans: Vec<(BanOrigin, u64)>,
    /// Strikes so far.
    pub strikes: u64,
    /// The file that keeps the bans.
    pub file: Option<PathBuf>,
    /// Why the file does not have the last changes, if so.
    pub file_error: Option<String>,
}
