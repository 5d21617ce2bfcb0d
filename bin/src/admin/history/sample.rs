//! The counters of one listener at one moment, and the numbers of an interval.

use std::time::Duration;

use switchboard::metrics::{LATENCY_BOUNDS, Latency, Outcome};
use switchboard::server::ListenerReport;

use super::compact::Compact;

/// The numbers of an interval, in the order of [`Row`].
pub(super) const COLUMNS: [&str; 10] = [
    "open",
    "accepted",
    "messages",
    "failed",
    "rejected",
    "errors",
    "bytes_in",
    "bytes_out",
    "p50_micros",
    "p99_micros",
];
/// One interval.
pub(super) type Row = [Compact; COLUMNS.len()];
/// An interval without values.
pub(super) const NO_VALUES: Row = [Compact::NONE; COLUMNS.len()];
/// The quantile of messages above the last bound of the histogram, in microseconds.
pub(super) const ABOVE_LAST_BOUND: u64 = 20_000_000;

/// The counters of a listener, or the sums of all listeners.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    /// Open connections and datagram peers.
    pub(super) open: u64,
    pub(super) accepted: u64,
    /// Messages of every outcome.
    pub(super) messages: u64,
    pub(super) failed: u64,
    pub(super) rejected: u64,
    /// Connections that closed because of an error.
    pub(super) errors: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) latency: Latency,
}

impl Sample {
    pub(super) fn of(report: &ListenerReport) -> Self {
        let all: u64 = report.messages.iter().map(|(_, count)| count).sum();
        let handled: u64 =
            report.messages.iter().filter(|(outcome, _)| *outcome == Outcome::Ok).map(|(_, count)| count).sum();
        Self {
            open: (report.open + report.sessions) as u64,
            accepted: report.accepted,
            messages: all,
            failed: all - handled,
            rejected: report.rejected.iter().map(|(_, count)| count).sum(),
            errors: report.errors(),
            bytes_in: report.bytes_in,
            bytes_out: report.bytes_out,
            latency: report.latency,
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        let counters = other.counters();
        self.counters_mut().into_iter().zip(counters).for_each(|(sum, more)| *sum += more);
        self.open += other.open;
        self.latency = self.latency.plus(&other.latency);
    }

    fn counters(&self) -> [u64; 7] {
        let Self { accepted, messages, failed, rejected, errors, bytes_in, bytes_out, .. } = *self;
        [accepted, messages, failed, rejected, errors, bytes_in, bytes_out]
    }

    fn counters_mut(&mut self) -> [&mut u64; 7] {
        let Self { accepted, messages, failed, rejected, errors, bytes_in, bytes_out, .. } = self;
        [accepted, messages, failed, rejected, errors, bytes_in, bytes_out]
    }

    /// The numbers of one of the `steps` intervals since `before`, with `open` connections.
    pub(super) fn since(&self, before: &Self, open: u64, steps: u64) -> Row {
        let mut row = NO_VALUES;
        row[0] = Compact::new(open);
        for (place, (now, before)) in self.counters().into_iter().zip(before.counters()).enumerate() {
            // A counter that has shrunk began anew.
            let count = now.checked_sub(before).unwrap_or(now);
            row[place + 1] = Compact::new(count.div_ceil(steps.max(1)));
        }
        for (place, quantile) in [(8, 0.5), (9, 0.99)] {
            row[place] = quantile_micros(quantile, &before.latency, &self.latency).map_or(Compact::NONE, Compact::new);
        }
        row
    }
}

/// A quantile of the messages between two snapshots, interpolated within a bucket. `None` without messages. In the
/// lowest bucket it is the lowest bound, because nothing is known below it; above the last bound it is
/// [`ABOVE_LAST_BOUND`].
fn quantile_micros(quantile: f64, before: &Latency, after: &Latency) -> Option<u64> {
    let total = after.count.checked_sub(before.count).filter(|total| *total > 0)?;
    let rank = ((quantile * total as f64).ceil() as u64).clamp(1, total);
    let (mut lower, mut below) = (Duration::ZERO, 0);
    for (bound, (after, before)) in LATENCY_BOUNDS.iter().zip(after.within.iter().zip(before.within)) {
        let count = after.saturating_sub(before);
        if count >= rank {
            let share = (rank - below) as f64 / (count - below) as f64;
            let within = if lower.is_zero() { *bound } else { lower + (*bound - lower).mul_f64(share) };
            return u64::try_from(within.as_micros()).ok();
        }
        (lower, below) = (*bound, count);
    }
    Some(ABOVE_LAST_BOUND)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(counts: [u64; LATENCY_BOUNDS.len()], above: u64) -> Latency {
        let (mut latency, mut sum) = (Latency::default(), 0);
        for (within, count) in latency.within.iter_mut().zip(counts) {
            sum += count;
            *within = sum;
        }
        latency.count = sum + above;
        latency
    }

    #[test]
    fn a_quantile_claims_no_more_than_the_histogram_knows() {
        let none = Latency::default();
        let mut counts = [0; LATENCY_BOUNDS.len()];
        assert!(u128::from(ABOVE_LAST_BOUND) > LATENCY_BOUNDS.last().unwrap().as_micros());
        assert_eq!(quantile_micros(0.5, &none, &none), None);
        counts[0] = 100;
        assert_eq!(quantile_micros(0.5, &none, &latency(counts, 0)), Some(10));
        counts[1] = 100; // up to 25 µs
        assert_eq!(quantile_micros(0.75, &none, &latency(counts, 0)), Some(17));
        assert_eq!(quantile_micros(0.99, &none, &latency([0; LATENCY_BOUNDS.len()], 1)), Some(20_000_000));
        assert_eq!(quantile_micros(0.5, &latency(counts, 0), &latency(counts, 0)), None);
    }
}
