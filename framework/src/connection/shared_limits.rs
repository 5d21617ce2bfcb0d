//! The limits of open connections of one listener that the instances of a fleet share.

use std::sync::Arc;

use crate::address::Source;
use crate::connection::shared_counts::SharedCounts;
use crate::connection::table::ConnectionTable;
use crate::fleet::Fleet;
use crate::rate_limiter::SharedBy;
use crate::settings::{Limits, SharedLimit};

/// Empty if the listener has no fleet.
#[derive(Debug, Default, Clone)]
pub(super) struct SharedLimits {
    fleet: Option<Fleet>,
    connections: Option<Arc<SharedCounts>>,
    per_source: Option<Arc<SharedCounts>>,
}

impl SharedLimits {
    pub(super) fn new(fleet: &Fleet, listener: &str, table: &Arc<ConnectionTable>, limits: &Limits) -> Self {
        let counts = |limit, connections| {
            let shared = SharedBy::new(Some(fleet), limit, listener, "open").filter(|_| connections > 0)?;
            let counts = Arc::new(SharedCounts::new(Arc::downgrade(table), connections, fleet.lease(), shared.key));
            fleet.register(&counts);
            Some(counts)
        };
        Self {
            fleet: Some(fleet.clone()),
            connections: counts(SharedLimit::Connections, limits.connections),
            per_source: counts(SharedLimit::ConnectionsPerSource, limits.connections_per_source),
        }
    }

    /// Keeps the leases of `previous` for unchanged limits. False if the fleet is another one.
    pub(super) fn continue_from(&mut self, previous: &Self, limits: &Limits, before: &Limits) -> bool {
        let is_same_fleet = self.fleet == previous.fleet;
        if is_same_fleet && limits.connections == before.connections {
            self.connections.clone_from(&previous.connections);
        }
        if is_same_fleet && limits.connections_per_source == before.connections_per_source {
            self.per_source.clone_from(&previous.per_source);
        }
        is_same_fleet
    }

    /// The connections that the listener may have here, if it has `open` of them. `limit` without a fleet.
    pub(super) fn connections(&self, open: usize, limit: usize) -> usize {
        self.connections.as_ref().map_or(limit, |shared| shared.allowed(None, open))
    }

    /// The same for a source.
    pub(super) fn per_source(&self, source: Source, open: usize, limit: usize) -> usize {
        self.per_source.as_ref().map_or(limit, |shared| shared.allowed(Some(source), open))
    }
}
