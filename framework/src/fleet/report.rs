//! The state of a fleet as one instance sees it.

use std::time::Duration;

use strum::{IntoStaticStr, VariantArray};

use super::links::FleetLinkReport;

/// How an instance enforces its shared limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum FleetState {
    /// The server has not answered yet. The instance enforces its part of each limit.
    Connecting,
    /// The instance has leases of the limits of the whole fleet.
    Shared,
    /// The server does not answer. The instance enforces its part of each limit.
    Divided,
    /// The task of the fleet has failed. The instance enforces its part of each limit.
    Failed,
}

impl FleetState {
    /// The name in reports, JSON and metrics. Names never change.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Why a call to the server of a fleet failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
#[non_exhaustive]
pub enum FailureClass {
    /// The server cannot be reached, or has closed the connection.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// The user or the password is wrong, or the user may not do what the fleet needs.
    Credentials,
    /// The server is a replica.
    ReadOnly,
    /// The server has no memory left, or cannot save its data.
    OutOfMemory,
    /// The server loads its data, or a script blocks it.
    Busy,
    /// The answer is not that of a server of this kind.
    Protocol,
    /// Any other error.
    Other,
}

impl FailureClass {
    /// The name in metrics. Names never change.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A snapshot of a fleet, as one instance sees it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FleetReport {
    /// The address of the server.
    pub link: String,
    /// How the shared limits are enforced.
    pub state: FleetState,
    /// Since when.
    pub state_time: Duration,
    /// Whether the last call succeeded.
    pub is_connected: bool,
    /// The error of the last call, if it failed.
    pub error: Option<String>,
    /// The number of instances.
    pub instances: u32,
    /// The sources that have a lease, or need one.
    pub sources: usize,
    /// The calls that succeeded.
    pub calls: u64,
    /// The calls that failed, by class.
    pub failures: Vec<(FailureClass, u64)>,
    /// The leases that were renewed.
    pub renewals: u64,
    /// The links that transport the frames of hubs, and the bans.
    pub links: Vec<FleetLinkReport>,
}

/// What the task counts.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) error: Option<String>,
    pub(super) calls: u64,
    failures: [u64; FailureClass::VARIANTS.len()],
    pub(super) renewals: u64,
}

impl Progress {
    pub(super) fn failures(&self) -> Vec<(FailureClass, u64)> {
        FailureClass::VARIANTS.iter().map(|class| (*class, self.failures[*class as usize])).collect()
    }

    #[cfg(feature = "fleet")]
    pub(super) fn succeeded(&mut self, renewals: usize) {
        self.calls += 1;
        self.renewals += renewals as u64;
        self.error = None;
    }

    #[cfg(feature = "fleet")]
    pub(super) fn failed(&mut self, class: FailureClass, error: String) {
        self.failures[class as usize] += 1;
        self.error = Some(error);
    }
}
