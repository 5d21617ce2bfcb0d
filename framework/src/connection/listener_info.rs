//! What a connection knows about its listener.

use std::sync::Arc;

use crate::drain::DrainSignal;
use crate::metrics::ListenerMetrics;

/// The name, drain signal and metrics of one listener.
#[derive(Debug)]
pub(crate) struct ListenerInfo {
    pub(crate) name: Arc<str>,
    pub(crate) drain: DrainSignal,
    pub(crate) metrics: Arc<ListenerMetrics>,
}
