//! The fleet of a running server.

use crate::fleet::FleetReport;
use crate::server::running::Running;

impl Running {
    /// The state of the fleet that shares the limits of the listeners. `None` without a fleet.
    pub fn fleet(&self) -> Option<FleetReport> {
        let fleet = self.state().listeners.iter().find_map(|listener| listener.spec.fleet.clone());
        fleet.map(|fleet| fleet.report())
    }
}
