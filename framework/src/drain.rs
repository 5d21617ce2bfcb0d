//! The phases of a graceful shutdown, and the signal that announces them.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

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
        DrainSignal { phase: self.0.subscribe(), connection: None }
    }

    /// Wakes the tasks that wait for a drain. Those of connections that drain alone continue.
    pub(crate) fn wake(&self) {
        self.0.send_modify(|_| {});
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

/// A connection that can drain alone, while its listener continues.
pub(crate) trait DrainsAlone: fmt::Debug + Send + Sync {
    /// Whether the connection is to finish its messages in progress and close.
    fn is_draining(&self) -> bool;
}

/// Reports the phase of a server or listener. The signal of a connection also reports that this connection is to close:
/// an [evacuation](crate::Running::evacuate) has chosen it, or it is idle during an upgrade.
#[derive(Debug, Clone)]
pub struct DrainSignal {
    phase: watch::Receiver<Phase>,
    connection: Option<Arc<dyn DrainsAlone>>,
}

impl DrainSignal {
    /// The same signal for one connection of the listener.
    pub(crate) fn of(&self, connection: Arc<dyn DrainsAlone>) -> Self {
        Self { phase: self.phase.clone(), connection: Some(connection) }
    }

    /// The current phase of the server or listener.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Whether a drain has begun, or the connection of this signal is to close.
    pub fn is_draining(&self) -> bool {
        self.phase() != Phase::Running || drains_alone(self.connection.as_ref())
    }

    /// When the remaining connections are aborted. `None` except while the server or listener drains.
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase() {
            Phase::Draining { deadline } => Some(deadline),
            Phase::Running | Phase::Cutting => None,
        }
    }

    /// Waits until [`is_draining`](Self::is_draining) is true. Cancel safe.
    pub async fn draining(&mut self) {
        let connection = self.connection.clone();
        let mut begun = pin!(self.wait_for(|phase| *phase != Phase::Running || drains_alone(connection.as_ref())));
        // The signal to drain alone wakes the task of the connection. Other tasks are woken by `DrainSwitch::wake`.
        poll_fn(|cx| if drains_alone(connection.as_ref()) { Poll::Ready(()) } else { begun.as_mut().poll(cx) }).await;
    }

    pub(crate) async fn cutting(&mut self) {
        self.wait_for(|phase| *phase == Phase::Cutting).await;
    }

    async fn wait_for(&mut self, wanted: impl FnMut(&Phase) -> bool) {
        // Without a switch the phase never changes.
        if self.phase.wait_for(wanted).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

fn drains_alone(connection: Option<&Arc<dyn DrainsAlone>>) -> bool {
    connection.is_some_and(|connection| connection.is_draining())
}
