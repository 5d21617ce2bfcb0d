//! The context that a handler receives when it starts.

use std::sync::Arc;

use crate::drain::DrainSignal;
use crate::metrics::HandlerMetrics;

/// What [`Handler::start`](crate::Handler::start) and [`StreamHandler::start`](crate::StreamHandler::start) receive:
/// the name of the handler, the drain signal of the server, and the metrics of the handler.
#[derive(Debug)]
pub struct StartContext {
    name: Arc<str>,
    drain: DrainSignal,
    metrics: HandlerMetrics,
}

impl StartContext {
    pub(crate) fn new(name: Arc<str>, drain: DrainSignal, metrics: HandlerMetrics) -> Self {
        Self { name, drain, metrics }
    }

    /// The name of the handler: the name of its section in the configuration, or else of its first listener.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Signals that the server is shutting down, for the tasks of the handler.
    pub fn drain(&self) -> DrainSignal {
        self.drain.clone()
    }

    /// Registers metrics of the handler.
    pub fn metrics(&self) -> &HandlerMetrics {
        &self.metrics
    }
}
