//! The history over an upgrade: the old process sends its rows, and the new one continues them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sample::Row;
use super::{History, Step};

/// Rows of one part.
const PART: usize = 500;

/// Rows of the whole server or of a listener.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HistoryPart {
    /// The age of the history in milliseconds.
    age: u64,
    step: Step,
    /// `None` for the whole server.
    listener: Option<String>,
    rows: Vec<Row>,
    /// The interval of the last row of the series.
    last: u64,
}

impl History {
    /// All rows, the oldest of each series first.
    pub(crate) fn parts(&self) -> Vec<HistoryPart> {
        let rings = self.rings.lock();
        let age = u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX);
        let age = age.saturating_add(rings.earlier.saturating_mul(1000));
        let mut parts = Vec::new();
        for (step, ring) in [(Step::Second, &rings.seconds), (Step::Minute, &rings.minutes)] {
            let last = ring.last();
            for (listener, rows) in ring.all() {
                let rows: Vec<Row> = rows.iter().copied().collect();
                parts.extend(rows.chunks(PART).map(|rows| {
                    let (listener, rows) = (listener.map(str::to_owned), rows.to_vec());
                    HistoryPart { age, step, listener, rows, last }
                }));
            }
        }
        parts
    }

    /// Adds a part of the history of the old process. A part that arrives after [`begin_with`](Self::begin_with) is
    /// late, and ignored.
    pub(crate) fn continue_from(&self, part: HistoryPart) {
        let HistoryPart { age, step, listener, rows, last } = part;
        let mut rings = self.rings.lock();
        if rings.has_begun {
            return;
        }
        if rings.earlier == 0 {
            // Whole seconds, so that a row still begins with a second of this process.
            let earlier = Duration::from_millis(age).saturating_sub(self.epoch.elapsed());
            rings.earlier = earlier.saturating_add(Duration::from_millis(500)).as_secs();
        }
        let ring = match step {
            Step::Second => &mut rings.seconds,
            Step::Minute => &mut rings.minutes,
        };
        ring.continue_from(listener.as_deref(), rows, last);
    }
}
