//! The counters and histograms of a running server, for another process that continues them.

use crate::bans::BanReport;
use crate::metrics::{
    Counted, Counts, HandlerMetric, HandlerSample, LATENCY_BOUNDS, MetricValue, Outcome, count_names as names,
};
use crate::server::listener::ListenerHandle;
use crate::server::listener_report::ListenerReport;
use crate::server::running::Running;

impl Running {
    /// The counters and histograms of all listeners, bans and handlers so far, those that were
    /// [added](Self::add_counts) included. Like [`report`](Self::report), it visits every open connection.
    ///
    /// After an upgrade, the old process continues to count until its last connection has closed. Send the counts
    /// again then, and add [what is new](Counts::since).
    pub fn counts(&self) -> Vec<Counts> {
        let listeners = self.report().iter().map(of_listener).collect::<Vec<_>>();
        let handlers = self.handler_metrics();
        let bans = of_bans(&self.bans().report());
        listeners.into_iter().chain([bans]).chain(handlers.iter().flat_map(of_handler)).collect()
    }

    /// Adds counts of another process, so that the metrics of this one continue them. Returns whether a listener or
    /// handler of this name exists; without one, they are ignored. Counts of an unknown name are ignored, too.
    ///
    /// ```
    /// use switchboard::prelude::*;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// let echo = || handler_fn(|_: Context, message: Bytes| async move { Ok(Reply::send(message)) });
    /// let old = Server::bind("mem:counts-old").start(echo()).await?;
    /// let new = Server::bind("mem:counts-new").start(echo()).await?;
    /// switchboard::transport::memory::connect("counts-old").await?;
    /// # while old.report()[0].accepted == 0 { tokio::task::yield_now().await }
    /// for counts in old.counts() {
    ///     new.add_counts(&counts);
    /// }
    /// assert_eq!(new.report()[0].accepted, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn add_counts(&self, counts: &Counts) -> bool {
        match &counts.of {
            Counted::Listener(name) => {
                let listeners = self.all_listeners();
                // Listeners of the same name share their metrics.
                let found = listeners.iter().find(|listener| listener.spec.name == *name).map(ListenerHandle::metrics);
                found.map(|metrics| metrics.add_counts(counts)).is_some()
            }
            Counted::Bans => {
                self.bans().add_counts(counts);
                true
            }
            Counted::Handler { .. } => self.handlers.add_counts(counts),
        }
    }
}

fn of_listener(report: &ListenerReport) -> Counts {
    let mut counts = Counts::new(Counted::Listener(report.name.clone()));
    counts.set(names::ACCEPTED, report.accepted);
    counts.set(names::BYTES_IN, report.bytes_in);
    counts.set(names::BYTES_OUT, report.bytes_out);
    for (name, reasons) in [(names::CLOSED, &report.closed), (names::REJECTED, &report.rejected)] {
        reasons.iter().for_each(|(reason, count)| counts.set(format!("{name}.{reason}"), *count));
    }
    // The histogram counts the handled messages.
    for (outcome, count) in report.messages.iter().filter(|(outcome, _)| *outcome != Outcome::Ok) {
        counts.set(format!("{}.{}", names::FAILED, outcome.as_str()), *count);
    }
    for (class, count) in &report.accept_errors {
        counts.set(format!("{}.{class}", names::ACCEPT_ERRORS), *count);
    }
    let (latency, mut below) = (&report.latency, 0);
    let bounds = LATENCY_BOUNDS.map(|bound| u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX));
    for (bound, within) in bounds.into_iter().zip(latency.within).chain([(u64::MAX, latency.count)]) {
        counts.set(format!("{}.{bound}", names::LATENCY), within.saturating_sub(below));
        below = within;
    }
    counts.set(names::LATENCY_NANOS, u64::try_from(latency.sum.as_nanos()).unwrap_or(u64::MAX));
    counts
}

fn of_bans(report: &BanReport) -> Counts {
    let mut counts = Counts::new(Counted::Bans);
    for (origin, count) in &report.bans {
        counts.set(format!("{}.{origin}", names::BANS), *count);
    }
    counts.set(names::STRIKES, report.strikes);
    counts
}

/// The counts of each series of a metric. A gauge has none.
fn of_handler(metric: &HandlerMetric) -> impl Iterator<Item = Counts> {
    metric.samples.iter().filter_map(|HandlerSample { handler, label, value }| {
        let label = label.as_ref().map(|(_, value)| value.clone());
        let mut counts = Counts::new(Counted::Handler { metric: metric.name.clone(), handler: handler.clone(), label });
        match value {
            MetricValue::Counter(count) => counts.set(names::COUNT, *count),
            MetricValue::Histogram { within, count, sum } => {
                let mut below = 0;
                for (bound, cumulative) in within.iter().copied().chain([(f64::INFINITY, *count)]) {
                    counts.set(format!("{}.{bound}", names::BUCKET), cumulative.saturating_sub(below));
                    below = cumulative;
                }
                // JSON has no infinity.
                counts.sum = if sum.is_finite() { *sum } else { 0.0 };
            }
            MetricValue::Gauge(_) => return None,
        }
        Some(counts)
    })
}

#[cfg(test)]
mod tests;
