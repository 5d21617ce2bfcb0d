//! The stages of stopping, and the signal that tells them to everybody.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

/// How far a server, or one listener, is on its way to a stop. It only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// AcceptingListener and serving.
    Running,
    /// No new connections; idle ones are closed, busy ones finish what is under way.
    Draining {
        /// When what is left will be cut.
        deadline: Instant,
    },
    /// What is left is being cut.
    Cutting,
}

/// The side that decides. Clones are the same signal.
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

    /// Moves forward, never back.
    pub(crate) fn advance(&self, to: Phase) {
        self.0.send_if_modified(|phase| {
            let forward = matches!(
                (*phase, to),
                (Phase::Running, Phase::Draining { .. } | Phase::Cutting) | (Phase::Draining { .. }, Phase::Cutting)
            );
            if forward {
                *phase = to;
            }
            forward
        });
    }
}

/// The side that listens: ask it, or wait for it.
#[derive(Clone)]
pub struct DrainSignal(watch::Receiver<Phase>);

impl DrainSignal {
    /// Where things stand now.
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Whether a drain has begun.
    pub fn is_draining(&self) -> bool {
        self.phase() != Phase::Running
    }

    /// When what is left will be cut; `None` before a drain has begun, and when the cut is under way.
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase() {
            Phase::Draining { deadline } => Some(deadline),
            Phase::Running | Phase::Cutting => None,
        }
    }

    /// Waits until a drain has begun; at once if it has. Cancel safe.
    pub async fn draining(&mut self) {
        self.reached(|phase| *phase != Phase::Running).await;
    }

    /// Waits until what is left is cut; at once if it is.
    pub(crate) async fn cutting(&mut self) {
        self.reached(|phase| *phase == Phase::Cutting).await;
    }

    async fn reached(&mut self, wanted: impl FnMut(&Phase) -> bool) {
        // The switch lives as long as its server; without one, nothing will ever be said.
        if self.0.wait_for(wanted).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl fmt::Debug for DrainSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DrainSignal").field(&self.phase()).finish()
    }
}
