//! The context that a handler receives when it starts.

use std::sync::Arc;

use tokio::sync::watch;

use crate::drain::DrainSignal;
use crate::fleet::Fleet;
use crate::handler::background::{Background, Tasks};
use crate::metrics::HandlerMetrics;

/// What [`Handler::start`](crate::Handler::start) and [`StreamHandler::start`](crate::StreamHandler::start) receive:
/// the name of the handler, the drain signal of the server, and the metrics of the handler.
#[derive(Debug)]
pub struct StartContext {
    name: Arc<str>,
    drain: DrainSignal,
    metrics: HandlerMetrics,
    fleet: watch::Receiver<Option<Fleet>>,
    tasks: Tasks,
}

impl StartContext {
    pub(crate) fn new(
        name: Arc<str>,
        drain: DrainSignal,
        metrics: HandlerMetrics,
        fleet: watch::Receiver<Option<Fleet>>,
    ) -> Self {
        Self { name, drain, metrics, fleet, tasks: Tasks::default() }
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

    /// The fleet of the server, which a reload can change.
    pub(crate) fn fleet(&self) -> watch::Receiver<Option<Fleet>> {
        self.fleet.clone()
    }

    /// Keeps a task until the handler has stopped. False if it has another task with this name.
    pub(crate) fn keep(&self, name: &str, task: Arc<Background>) -> bool {
        self.tasks.keep(name, task)
    }

    /// Ends the tasks.
    pub(crate) async fn stop_tasks(&self) {
        self.tasks.stop().await;
    }
}
