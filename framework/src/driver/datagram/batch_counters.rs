//! Counts the datagrams of one batch, so that shared metrics are updated once per batch.

use std::sync::atomic::Ordering::Relaxed;

use tokio::time::Instant;

use crate::metrics::ListenerMetrics;

#[derive(Debug, Default)]
pub(crate) struct BatchCounters {
    started: Option<Instant>,
    received: u64,
    bytes: u64,
    /// Messages whose handler was ready immediately.
    pub(crate) handled: u64,
}

impl BatchCounters {
    #[inline]
    pub(crate) fn received(&mut self, bytes: usize) {
        self.received += 1;
        self.bytes += bytes as u64;
        self.started.get_or_insert_with(Instant::now);
    }

    /// When the first datagram of the batch was received; now, if there was none.
    pub(crate) fn started(&self) -> Instant {
        self.started.unwrap_or_else(Instant::now)
    }

    /// Adds the batch to the metrics and resets it. The handled messages share the time of the batch equally.
    #[inline]
    pub(crate) fn publish(&mut self, metrics: &ListenerMetrics) {
        let Self { started, received, bytes, handled } = std::mem::take(self);
        let Some(started) = started else { return };
        metrics.messages.fetch_add(received, Relaxed);
        metrics.bytes_in.fetch_add(bytes, Relaxed);
        if let Some(each) = started.elapsed().checked_div(handled as u32) {
            metrics.latency.record(handled, each);
        }
    }
}
