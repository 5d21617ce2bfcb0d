//! The state that the admin routes share, and the commands that they send to the control loop.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use switchboard::Running;
use switchboard::server::Changes;
use tokio::sync::{mpsc, oneshot};

use crate::config::{self, Config, Shape};
use crate::log::Log;

/// A request that the control loop carries out.
#[derive(Debug)]
pub(crate) enum AdminCommand {
    /// Reload the configuration; the result lists the changed listeners, or all errors.
    Reload(oneshot::Sender<Result<Changes, Vec<String>>>),
    /// Drain and stop.
    Drain,
}

/// What the routes can read and change.
pub(super) struct AdminState {
    pub(super) running: Arc<Running>,
    pub(super) log: Arc<Log>,
    pub(super) commands: mpsc::Sender<AdminCommand>,
    pub(super) started: Instant,
    settings: Mutex<Option<config::Admin>>,
    /// The effective configuration as JSON, without secrets.
    config: Mutex<String>,
}

impl AdminState {
    pub(super) fn new(running: Arc<Running>, log: Arc<Log>, commands: mpsc::Sender<AdminCommand>) -> Self {
        let (settings, config) = Default::default();
        Self { running, log, commands, started: Instant::now(), settings, config }
    }

    /// The `[admin]` section; `None` while there is no admin endpoint.
    pub(super) fn settings(&self) -> Option<config::Admin> {
        self.settings.lock().clone()
    }

    /// Returns the previous settings.
    pub(super) fn set_settings(&self, settings: Option<config::Admin>) -> Option<config::Admin> {
        std::mem::replace(&mut *self.settings.lock(), settings)
    }

    pub(super) fn config(&self) -> String {
        self.config.lock().clone()
    }

    pub(super) fn set_config(&self, config: &Config) {
        *self.config.lock() = config.effective.print(Shape::Json);
    }
}
