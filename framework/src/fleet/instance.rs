//! What the handles and the task of one instance share.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use super::lease::{Lease, Terms};
use super::links::Links;
use super::report::{FleetReport, Progress};
use super::terms::Standing;
use crate::settings::FleetSettings;

/// Renewals per lease.
const RENEWALS_PER_LEASE: u32 = 10;

pub(super) struct Instance {
    pub(super) settings: FleetSettings,
    leases: Mutex<Vec<Weak<dyn Lease>>>,
    pub(super) standing: Mutex<Standing>,
    pub(super) progress: Mutex<Progress>,
    pub(super) has_started: AtomicBool,
    pub(super) links: Links,
}

impl Instance {
    #[cfg(feature = "fleet")]
    pub(super) fn new(settings: FleetSettings) -> Self {
        let standing = Mutex::new(Standing::new(settings.instances));
        let (leases, progress, has_started, links) = Default::default();
        Self { settings, leases, standing, progress, has_started, links }
    }

    /// The time between two renewals.
    pub(super) fn interval(&self) -> Duration {
        self.settings.lease / RENEWALS_PER_LEASE
    }

    /// The address of the server.
    pub(super) fn link(&self) -> String {
        self.settings.link.as_ref().map(ToString::to_string).unwrap_or_default()
    }

    /// Adds a limit, which is renewed as long as it exists.
    pub(super) fn register(&self, lease: &Arc<dyn Lease>) {
        let mut leases = self.leases.lock();
        leases.retain(|known| known.strong_count() > 0);
        leases.push(Arc::downgrade(lease));
        drop(leases);
        lease.set_terms(self.terms());
    }

    pub(super) fn leases(&self) -> Vec<Arc<dyn Lease>> {
        self.leases.lock().iter().filter_map(Weak::upgrade).collect()
    }

    pub(super) fn terms(&self) -> Terms {
        self.standing.lock().terms()
    }

    pub(super) fn report(&self) -> FleetReport {
        let sources = self.leases().iter().map(|lease| lease.sources()).sum();
        let (state, state_time) = self.standing.lock().state();
        let progress = self.progress.lock();
        FleetReport {
            link: self.link(),
            state,
            state_time,
            is_connected: progress.error.is_none() && progress.calls > 0,
            error: progress.error.clone(),
            instances: self.terms().instances,
            sources,
            calls: progress.calls,
            failures: progress.failures(),
            renewals: progress.renewals,
            links: self.links.report(),
        }
    }
}
