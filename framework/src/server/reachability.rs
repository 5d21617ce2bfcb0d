//! Checks whether clients can still reach a listener: its path and its addresses can disappear.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::server::listener_state::OpenSocket;
use crate::transport::Unreachable;

/// The interval of the checks. A lost path is bound again if two checks in a row find it lost.
const INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct Reachability {
    /// `None` for a transport without sockets.
    checks: Option<Interval>,
    problem: Option<Unreachable>,
}

impl Reachability {
    pub(super) fn of(socket: &OpenSocket) -> Self {
        let checks = socket.can_be_lost().then(|| {
            let mut checks = interval_at(Instant::now() + INTERVAL, INTERVAL);
            checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            checks
        });
        Self { checks, problem: None }
    }

    /// Waits until the path is lost. Logs when the listener becomes unreachable and reachable. Cancel safe.
    pub(super) async fn path_lost(&mut self, socket: &OpenSocket, listener: &str) {
        let Some(checks) = &mut self.checks else { return std::future::pending().await };
        loop {
            checks.tick().await;
            let now = socket.problem();
            match &now {
                Some(problem) if now != self.problem => {
                    tracing::warn!(target: "switchboard::listener", listener, %problem, "listener unreachable");
                }
                None if self.problem.is_some() => {
                    tracing::warn!(target: "switchboard::listener", listener, "listener reachable again");
                }
                Some(Unreachable::Path) => return,
                _ => {}
            }
            self.problem = now;
        }
    }
}
