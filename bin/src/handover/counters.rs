//! The counters over an upgrade: this process continues those of the old process, and sends all of them to the new one.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use switchboard::Running;
use switchboard::deadline_timer::timeout;
use switchboard::metrics::Counts;
use tokio::sync::{Mutex, Notify};
use tokio::time::sleep;

use crate::admin::History;
use crate::handover::predecessor::Predecessor;
use crate::handover::successor::Successor;

/// The time between two messages with the counters of this process.
const INTERVAL: Duration = Duration::from_secs(1);
/// How much longer than the drain deadline of this process the old process may take: its drain began earlier.
const PREDECESSOR_TIMEOUT: Duration = Duration::from_secs(5);

/// The processes before and after this one.
pub(crate) struct CounterHandover {
    running: Arc<Running>,
    /// The old process, if this process was started by an upgrade.
    predecessor: Option<Predecessor>,
    /// The new process, after an upgrade.
    successor: Mutex<Option<Successor>>,
    has_successor: Notify,
}

impl CounterHandover {
    pub(crate) fn new(running: Arc<Running>, predecessor: Option<Predecessor>) -> Self {
        Self { running, predecessor, successor: Mutex::default(), has_successor: Notify::new() }
    }

    /// The counters so far. With many connections this takes milliseconds, so it runs on a thread that may block.
    pub(crate) async fn counts(&self) -> Vec<Counts> {
        let running = self.running.clone();
        // The panic hook has logged a panic.
        tokio::task::spawn_blocking(move || running.counts()).await.unwrap_or_default()
    }

    /// Waits until the old process, if there is one, does not show counters any more.
    pub(crate) async fn predecessor_handed_over(&self) {
        if let Some(predecessor) = &self.predecessor {
            predecessor.handed_over().await;
        }
    }

    /// Sends the counters and the history to the new process. This process must not show counters any more.
    pub(crate) async fn hand_over(&self, mut successor: Successor, history: Arc<History>) {
        let parts = tokio::task::spawn_blocking(move || history.parts()).await.unwrap_or_default();
        successor.hand_over(self.counts().await, parts).await;
        *self.successor.lock().await = Some(successor);
        self.has_successor.notify_one();
    }

    /// Sends the counters again and again after the handover: this process still serves its connections.
    pub(crate) async fn run(&self) -> Infallible {
        self.has_successor.notified().await;
        self.send().await
    }

    async fn send(&self) -> Infallible {
        loop {
            sleep(INTERVAL).await;
            let counts = self.counts().await;
            if let Some(successor) = &mut *self.successor.lock().await {
                successor.send_counts(counts).await;
            }
        }
    }

    /// Sends the last counters after the drain. If the old process still serves connections, its counters are sent too.
    pub(crate) async fn end(&self) {
        if self.successor.lock().await.is_none() {
            return;
        }
        if let Some(predecessor) = &self.predecessor {
            let time = self.running.drain_settings().deadline.saturating_add(PREDECESSOR_TIMEOUT);
            tokio::select! {
                _ = timeout(time, predecessor.ended()) => {}
                never = self.send() => match never {},
            }
        }
        let counts = self.counts().await;
        if let Some(successor) = self.successor.lock().await.take() {
            successor.end(counts).await;
        }
    }
}
