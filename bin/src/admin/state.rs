//! The state that the admin routes share, and the commands that they send to the control loop.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use parking_lot::Mutex;
use switchboard::Running;
use switchboard::server::Changes;
use tokio::sync::{mpsc, oneshot};

use crate::config;
use crate::log::Log;

#[derive(Debug)]
pub(crate) enum AdminCommand {
    /// Reload the configuration; the result lists the changed listeners, or all errors.
    Reload(oneshot::Sender<Result<Changes, Vec<String>>>),
    Drain,
}

pub(super) struct AdminState {
    pub(super) running: Arc<Running>,
    pub(super) log: Arc<Log>,
    pub(super) commands: mpsc::Sender<AdminCommand>,
    pub(super) started: Instant,
    /// The `[admin]` section; `None` while there is no admin endpoint.
    pub(super) settings: Mutex<Option<config::Admin>>,
    /// The effective configuration as JSON, without secrets.
    pub(super) config: Mutex<String>,
}

pub(super) type SharedState = State<Arc<AdminState>>;
