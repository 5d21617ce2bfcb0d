//! The phases of a graceful shutdown, and the signal that announces them.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

/// The phase of a server or listener. It only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// Accepts and serves clients.
    Running,
    /// Accepts no clients. Idle connections close; the others finish the messages in progress.
    Draining {
        /// When the remaining connections are aborted.
        deadline: Instant,
    },
    /// Aborts the remaining connections.
    Cutting,
}

#[derive(Debug, Clone)]
pub(crate) struct DrainSwitch(Arc<watch::Sender<Phase>>);

impl Default for DrainSwitch {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Phase::Running)))
    }
}

impl DrainSwitch {
    pub(crate) fn signal(&self) -> DrainSignal {
        DrainSignal(self.0.subscribe())
    }

    /// Enters a later phase. An earlier one has no effect.
    pub(crate) fn advance(&self, to: Phase) {
        self.0.send_if_modified(|phase| {
            let is_later = match phase {
                Phase::Running => to != Phase::Running,
                Phase::Draining { .. } => to == Phase::Cutting,
                Phase::Cutting => false,
            };
            if is_later {
                *phase = to;
            }
            is_later
        });
    }
}

/// Reports the phase of a server or listener.
#[derive(Debug, Clone)]
pub struct DrainSignal(watch::Receiver<Phase>);

impl DrainSignal {
    /// The current phase.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Whether a drain has begun.
    pub fn is_draining(&self) -> bool {
        self.phase() != Phase::Running
    }

    /// When the remaining connections are aborted. `None` except while draining.
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase() {
            Phase::Draining { deadline } => Some(deadline),
            Phase::Running | Phase::Cutting => None,
        }
    }

    /// Waits until a drain has begun. Cancel safe.
    pub async fn draining(&mut self) {
        self.wait_for(|phase| *phase != Phase::Running).await;
    }

    pub(crate) async fn cutting(&mut self) {
        self.wait_for(|phase| *phase == Phase::Cutting).await;
    }

    async fn wait_for(&mut self, wanted: impl FnMut(&Phase) -> bool) {
        // Without a switch the phase never changes.
        if self.0.wait_for(wanted).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
