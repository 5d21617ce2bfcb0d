//! How an instance enforces its shared limits, and the number of instances that divides a limit without leases.

use std::time::Duration;

use tokio::time::Instant;

use super::lease::Terms;
use super::report::FleetState;

/// An instance that has not been seen for so long has stopped.
pub(super) const INSTANCE_EXPIRY: Duration = Duration::from_secs(5);

/// What this instance knows of the fleet.
#[derive(Debug)]
pub(super) struct Standing {
    instances: u32,
    /// When at least that many instances were seen last. `None` until the server has answered.
    seen: Option<Instant>,
    state: FleetState,
    since: Instant,
}

impl Standing {
    /// Before the first answer.
    pub(super) fn new(instances: u32) -> Self {
        Self { instances: instances.max(1), seen: None, state: FleetState::Connecting, since: Instant::now() }
    }

    pub(super) fn terms(&self) -> Terms {
        Terms { is_shared: self.state == FleetState::Shared, instances: self.instances }
    }

    /// The state, and how long it has lasted.
    pub(super) fn state(&self) -> (FleetState, Duration) {
        (self.state, self.since.elapsed())
    }

    /// The server has answered. A smaller number of instances counts when it lasts: after a restart of the server, the
    /// others have yet to report. Returns whether the limits were not shared before.
    pub(super) fn answered(&mut self, instances: u32) -> bool {
        let is_fewer = instances < self.instances && self.seen.is_some_and(|seen| seen.elapsed() < INSTANCE_EXPIRY);
        if !is_fewer {
            (self.instances, self.seen) = (instances.max(1), Some(Instant::now()));
        }
        self.set(FleetState::Shared)
    }

    /// Sets the state. False if it is the same.
    pub(super) fn set(&mut self, state: FleetState) -> bool {
        let has_changed = self.state != state;
        if has_changed {
            (self.state, self.since) = (state, Instant::now());
        }
        has_changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_smaller_number_of_instances_counts_when_it_lasts() {
        let mut standing = Standing::new(2);
        assert_eq!(standing.terms(), Terms { is_shared: false, instances: 2 });
        standing.answered(3);
        standing.answered(1); // the server is empty
        assert_eq!(standing.terms(), Terms { is_shared: true, instances: 3 });
        assert!(standing.set(FleetState::Divided) && !standing.set(FleetState::Divided));
        assert_eq!(standing.terms(), Terms { is_shared: false, instances: 3 });
        tokio::time::advance(INSTANCE_EXPIRY).await;
        standing.answered(1);
        assert_eq!(standing.terms(), Terms { is_shared: true, instances: 1 });
        standing.answered(4);
        assert_eq!(standing.terms().instances, 4);
    }
}
