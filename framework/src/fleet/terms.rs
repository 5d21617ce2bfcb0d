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
    /// Since when the server has named fewer instances.
    fewer_since: Option<Instant>,
    state: FleetState,
    since: Instant,
}

impl Standing {
    /// Before the first answer.
    pub(super) fn new(instances: u32) -> Self {
        Self { instances: instances.max(1), fewer_since: None, state: FleetState::Connecting, since: Instant::now() }
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
        let is_first = self.state == FleetState::Connecting;
        let has_changed = self.set(FleetState::Shared);
        let is_fewer = instances < self.instances && !is_first;
        let fewer_since = *self.fewer_since.get_or_insert_with(Instant::now);
        if !is_fewer || fewer_since.elapsed() >= INSTANCE_EXPIRY {
            (self.instances, self.fewer_since) = (instances.max(1), None);
        }
        has_changed
    }

    /// Sets the state. False if it is the same.
    pub(super) fn set(&mut self, state: FleetState) -> bool {
        let has_changed = self.state != state;
        if has_changed {
            (self.state, self.since, self.fewer_since) = (state, Instant::now(), None);
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
        tokio::time::advance(2 * INSTANCE_EXPIRY).await;
        standing.answered(1); // after an interruption, too
        assert_eq!(standing.terms(), Terms { is_shared: true, instances: 3 });
        tokio::time::advance(INSTANCE_EXPIRY).await;
        standing.answered(1);
        assert_eq!(standing.terms(), Terms { is_shared: true, instances: 1 });
        standing.answered(4);
        assert_eq!(standing.terms().instances, 4);
        let mut standing = Standing::new(4);
        standing.answered(1);
        assert_eq!(standing.terms().instances, 1, "the first answer replaces the assumption");
    }
}
