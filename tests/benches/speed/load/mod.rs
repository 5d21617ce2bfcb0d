//! The load: one thread that sends, receives, and holds every byte against what it should be.

pub(crate) mod closed;
mod traffic;

use std::time::Duration;

use hdrhistogram::Histogram;
pub(crate) use traffic::Traffic;

/// So long nothing may come from a server that owes an answer.
const PATIENCE: u16 = 10_000;

/// What one run of a load has seen.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Messages that were answered.
    pub(crate) messages: u64,
    pub(crate) time: Duration,
    pub(crate) latency: Histogram<u64>,
}

/// From 1 µs to a minute at three digits, without allocation later.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 60_000_000_000, 3).expect("bounds that can be")
}
