//! The last lines of the log, for an operator who cannot see standard error.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::log::journal::PRIORITIES;

/// Lines that are kept.
pub const LOG_TAIL: usize = 200;
/// Maximum bytes of a kept line. The rest is cut off.
const MAX_LINE: usize = 4096;

/// The last lines. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct LogTail(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    last: VecDeque<String>,
    /// The number of lines so far, those that are no longer kept included.
    count: u64,
}

impl LogTail {
    /// Adds whole lines, without their colours and priorities.
    pub(super) fn add(&self, lines: &[u8]) {
        let text = String::from_utf8_lossy(lines);
        let mut kept = self.0.lock();
        for line in text.lines() {
            let line = without_priority(line);
            let line = without_colors(&line[..line.floor_char_boundary(MAX_LINE)]);
            if kept.last.len() == LOG_TAIL {
                kept.last.pop_front();
            }
            kept.last.push_back(line);
            kept.count += 1;
        }
    }

    /// The kept lines after the first `after` lines of the process, and the number of lines so far.
    pub(super) fn after(&self, after: u64) -> (u64, Vec<String>) {
        let kept = self.0.lock();
        let new = usize::try_from(kept.count.saturating_sub(after)).unwrap_or(usize::MAX).min(kept.last.len());
        (kept.count, kept.last.range(kept.last.len() - new..).cloned().collect())
    }
}

/// Removes the priority of a line for the systemd journal.
fn without_priority(line: &str) -> &str {
    PRIORITIES.iter().find_map(|priority| line.strip_prefix(priority)).unwrap_or(line)
}

/// Removes the escape sequences of colours (`ESC [ … m`).
fn without_colors(line: &str) -> String {
    let mut parts = line.split('\x1b');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        plain.push_str(part.strip_prefix('[').and_then(|rest| rest.split_once('m')).map_or(part, |(_, rest)| rest));
    }
    plain
}

#[cfg(test)]
mod tests;
