//! The handle to an instance of a fleet.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

#[cfg(feature = "fleet")]
use super::bus::Bus;
#[cfg(feature = "fleet")]
use super::client::check_settings;
#[cfg(feature = "fleet")]
use super::failure::FleetError;
use super::instance::Instance;
use super::lease::Lease;
#[cfg(feature = "fleet")]
use super::link::{self, Link};
#[cfg(feature = "fleet")]
use super::links::LinkState;
use super::report::FleetReport;
#[cfg(feature = "fleet")]
use super::task;
#[cfg(feature = "fleet")]
use crate::settings::FleetSettings;
use crate::settings::SharedLimit;

/// An instance of a fleet. Clones are the same instance. It begins with the first listener that uses it, and ends when
/// no listener does.
///
/// Set it for each listener whose limits are shared: [`ListenerSpec::fleet`](crate::server::ListenerSpec::fleet). The
/// keys at the server contain the names of the listeners.
#[derive(Clone)]
pub struct Fleet(Arc<Instance>);

impl Fleet {
    /// An instance with these settings. It connects to the server when the first listener starts.
    ///
    /// # Errors
    ///
    /// The address of the server is missing, or a file cannot be used.
    #[cfg(feature = "fleet")]
    pub fn new(settings: &FleetSettings) -> Result<Self, FleetError> {
        check_settings(settings)?;
        Ok(Self(Arc::new(Instance::new(settings.clone()))))
    }

    /// Connects to the server, checks that the instance can use it, and disconnects. The instance is not counted.
    ///
    /// # Errors
    ///
    /// The server cannot be reached or used.
    #[cfg(feature = "fleet")]
    pub async fn check(&self) -> Result<(), FleetError> {
        link::check(&self.0.settings).await
    }

    /// The state of the fleet as this instance sees it.
    pub fn report(&self) -> FleetReport {
        self.0.report()
    }

    /// Whether the instances share a limit.
    pub(crate) fn shares(&self, limit: SharedLimit) -> bool {
        self.0.settings.limits.contains(&limit)
    }

    pub(crate) fn lease(&self) -> Duration {
        self.0.settings.lease
    }

    /// The time between two renewals.
    pub(crate) fn interval(&self) -> Duration {
        self.0.interval()
    }

    /// Renews a lease as long as it exists.
    pub(crate) fn register(&self, lease: &Arc<impl Lease + 'static>) {
        let lease: Arc<dyn Lease> = lease.clone();
        self.0.register(&lease);
    }

    #[cfg(feature = "fleet")]
    pub(crate) fn settings(&self) -> &FleetSettings {
        &self.0.settings
    }

    /// A connection for channels, which connects later.
    #[cfg(feature = "fleet")]
    pub(crate) fn bus(&self) -> Bus {
        Bus::new(&self.0.settings)
    }

    /// A connection for scripts, which connects later.
    #[cfg(feature = "fleet")]
    pub(crate) fn script_link(&self) -> Link {
        Link::new(&self.0.settings)
    }

    /// Adds a link to the report.
    #[cfg(feature = "fleet")]
    pub(crate) fn add_link(&self, name: &str) -> LinkState {
        self.0.links.add(name)
    }

    /// Starts the task. Must be called inside a tokio runtime.
    pub(crate) fn start(&self) {
        if !self.0.has_started.swap(true, Relaxed) {
            #[cfg(feature = "fleet")]
            task::spawn(&self.0);
        }
    }
}

impl PartialEq for Fleet {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Fleet {}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").field("link", &self.0.settings.link).finish_non_exhaustive()
    }
}
