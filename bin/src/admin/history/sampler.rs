//! The task that adds a row to the history every second while there is an admin endpoint.

use std::sync::Arc;
use std::time::Duration;

use switchboard::Running;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::History;

/// Time between two rows.
const INTERVAL: Duration = Duration::from_secs(1);
/// A report visits every open connection. From this number on, it is made on a thread that may block.
const MANY_CONNECTIONS: usize = 1000;

/// Runs until the sender of `is_enabled` is dropped.
pub(crate) async fn run(history: Arc<History>, running: Arc<Running>, mut is_enabled: watch::Receiver<bool>) {
    // In the middle of a second, so that a late tick still belongs to its second.
    let first = Instant::from_std(history.epoch) + INTERVAL / 2;
    let mut ticks = interval_at(first, INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while is_enabled.wait_for(|is_enabled| *is_enabled).await.is_ok() {
        ticks.tick().await;
        if running.open() < MANY_CONNECTIONS {
            history.record(&running.report());
            continue;
        }
        let (history, running) = (history.clone(), running.clone());
        // The panic hook has logged a panic.
        let _ = tokio::task::spawn_blocking(move || history.record(&running.report())).await;
    }
}
