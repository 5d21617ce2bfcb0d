//! The history of the server: one row per second for an hour and one row per minute for a day, for the whole server and
//! for each of at most 100 listeners.
//!
//! The memory is allocated as it fills: at most 100 KiB per listener, 10 MiB in total.

mod compact;
mod handover;
mod ring;
mod route;
mod sample;
mod sampler;
#[cfg(test)]
mod tests;

pub(crate) use handover::HistoryPart;
pub(super) use route::history;
pub(super) use sampler::run;

use std::time::Instant;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use switchboard::server::ListenerReport;

use ring::Ring;
use sample::{Row, Sample};

/// Listeners with a history of their own. The others count for the whole server only.
const MAX_LISTENERS: usize = 100;
/// Rows of one second.
pub(super) const SECONDS: usize = 3600;
/// Rows of one minute.
pub(super) const MINUTES: usize = 24 * 60;
/// Seconds of a minute.
const MINUTE: u64 = 60;

/// The length of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Step {
    Second,
    Minute,
}

#[derive(Debug)]
pub(crate) struct History {
    /// The beginning of the first second of this process.
    epoch: Instant,
    rings: Mutex<Rings>,
}

#[derive(Debug)]
struct Rings {
    /// The seconds that old processes have recorded before the epoch.
    earlier: u64,
    /// Whether rows of this process may be recorded.
    has_begun: bool,
    seconds: Ring,
    minutes: Ring,
}

impl History {
    pub(crate) fn new(epoch: Instant) -> Self {
        let seconds = Ring::new(SECONDS, MAX_LISTENERS);
        let minutes = Ring::new(MINUTES, MAX_LISTENERS);
        Self { epoch, rings: Mutex::new(Rings { earlier: 0, has_begun: false, seconds, minutes }) }
    }

    /// The current second, counted from the beginning of the history.
    fn second(&self) -> u64 {
        self.epoch.elapsed().as_secs() + self.rings.lock().earlier
    }

    /// Begins with counters that are not zero: those of the old process of an upgrade.
    pub(super) fn begin_with(&self, reports: &[ListenerReport]) {
        let second = self.second();
        let mut total = Sample::default();
        let mut rings = self.rings.lock();
        rings.has_begun = true;
        for report in reports {
            let sample = Sample::of(report);
            total.add(&sample);
            rings.seconds.begin_with(Some(&report.name), &sample, second);
            rings.minutes.begin_with(Some(&report.name), &sample, second / MINUTE);
        }
        rings.seconds.begin_with(None, &total, second);
        rings.minutes.begin_with(None, &total, second / MINUTE);
    }

    fn record(&self, reports: &[ListenerReport]) {
        let listeners: Vec<_> = reports.iter().map(|report| (report.name.clone(), Sample::of(report))).collect();
        self.record_at(self.second(), &listeners);
    }

    /// Adds the row of a second, counted from the beginning, and the row of a minute if one has ended. `listeners` is
    /// sorted by name.
    fn record_at(&self, second: u64, listeners: &[(String, Sample)]) {
        let mut total = Sample::default();
        listeners.iter().for_each(|(_, sample)| total.add(sample));
        let Rings { seconds, minutes, .. } = &mut *self.rings.lock();
        seconds.add(second, &total, listeners, |_, sample| sample.open);
        // The rows of the minute that has ended, and those after it if its last second was missed.
        let rows = usize::try_from(MINUTE + second % MINUTE).unwrap_or(SECONDS);
        minutes.add(second / MINUTE, &total, listeners, |listener, _| seconds.peak(listener, rows));
    }

    /// The last interval, counted from the beginning, and its rows, at most `limit`. `None` for a listener without
    /// history.
    fn read(&self, step: Step, listener: Option<&str>, limit: usize) -> Option<(u64, Vec<Row>)> {
        let rings = self.rings.lock();
        match step {
            Step::Second => rings.seconds.read(listener, limit),
            Step::Minute => rings.minutes.read(listener, limit),
        }
    }
}
