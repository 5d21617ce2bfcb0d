//! The counters of bans and strikes, and their report.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::ban::BanOrigin;
use crate::metrics::{Counted, Counts, count_names as names};

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

    pub(super) fn strikes(&self) -> u64 {
        self.strikes.load(Relaxed)
    }

    /// Adds the counts of another process.
    pub(super) fn add(&self, counts: &Counts) {
        for (name, count) in &counts.counts {
            let origin = name.strip_prefix(names::BANS).and_then(|rest| rest.strip_prefix('.'));
            let origin = BanOrigin::ALL.into_iter().find(|known| origin == Some(known.as_str()));
            if let Some(origin) = origin {
                self.bans[origin as usize].fetch_add(*count, Relaxed);
            } else if name == names::STRIKES {
                self.strikes.fetch_add(*count, Relaxed);
            }
        }
    }

    pub(super) fn bans(&self) -> Vec<(BanOrigin, u64)> {
        BanOrigin::ALL.into_iter().map(|origin| (origin, self.bans[origin as usize].load(Relaxed))).collect()
    }
}

/// The state of the bans of a server. Counters start with the process.
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

impl BanReport {
    /// The counters, for another process that continues them.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::new(Counted::Bans);
        counts.set(names::STRIKES, self.strikes);
        self.bans.iter().for_each(|(origin, count)| counts.set(format!("{}.{origin}", names::BANS), *count));
        counts
    }
}
