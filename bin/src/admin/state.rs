//! The state that the admin routes share, and the requests that they send to the control loop.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use parking_lot::Mutex;
use switchboard::Running;
use switchboard::log::Log;
use switchboard::server::Changes;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::admin::shared_reply::SharedReplies;
use crate::config;

/// A request to reload the configuration.
#[derive(Debug)]
pub(crate) struct ReloadRequest {
    /// The reload may remove every current listener.
    pub(crate) is_forced: bool,
    /// Receives the changed listeners, or all errors.
    pub(crate) result: oneshot::Sender<Result<Changes, Vec<String>>>,
}

pub(super) struct AdminState {
    pub(super) running: Arc<Running>,
    /// `None` if the program has its own tracing subscriber.
    pub(super) log: Option<Arc<Log>>,
    pub(super) reloads: mpsc::Sender<ReloadRequest>,
    /// Requests a drain. It is no reload request, because a drain must not wait for a reload in progress.
    pub(super) drain: Notify,
    pub(super) started: Instant,
    pub(super) replies: SharedReplies,
    /// The `[admin]` section; `None` while there is no admin endpoint.
    pub(super) settings: Mutex<Option<config::Admin>>,
    /// The effective configuration as JSON, without secrets.
    pub(super) config: Mutex<String>,
}

pub(super) type SharedState = State<Arc<AdminState>>;
