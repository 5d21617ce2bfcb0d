//! The state that the admin routes share, and the requests that they send to the control loop.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::extract::State;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use switchboard::log::Log;
use switchboard::server::Changes;
use switchboard::{Drained, Endpoint, Running};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::admin::history::History;
use crate::admin::shared_reply::SharedReplies;
use crate::config::{self, Config};

/// How a reload is made.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ReloadMode {
    /// The reload may remove every current listener.
    pub(crate) is_forced: bool,
    /// The configuration is read and checked, and nothing changes.
    pub(crate) is_dry_run: bool,
}

/// A request to reload the configuration.
#[derive(Debug)]
pub(crate) struct ReloadRequest {
    pub(crate) mode: ReloadMode,
    /// Receives the changes, or all errors.
    pub(crate) result: oneshot::Sender<Result<Reloaded, Vec<String>>>,
}

/// The result of a reload or of its dry run.
#[derive(Debug)]
pub(crate) struct Reloaded {
    /// The changed listeners; `None` after a dry run.
    pub(crate) changes: Option<Changes>,
    /// The changed keys, without secrets.
    pub(crate) differences: Vec<Difference>,
}

/// A key that differs between the running and the new configuration: an entry of `keys` in the reply to a reload.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Difference {
    pub(crate) key: String,
    /// The running value; `None` if there is none.
    pub(crate) before: Option<Json>,
    pub(crate) after: Option<Json>,
    /// The source of the new value.
    pub(crate) origin: Option<String>,
    pub(crate) needs_restart: bool,
    /// The values describe the content of a file, which the key names.
    #[serde(default)]
    pub(crate) is_file_content: bool,
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
    /// The configuration of the start.
    pub(super) initial: Arc<Config>,
    /// The configuration in use.
    pub(super) config: Mutex<Arc<Config>>,
    pub(super) history: Arc<History>,
    /// The result of the drain, when it has ended.
    pub(super) drained: watch::Sender<Option<Drained>>,
    /// The address at which the new process of an upgrade answers requests.
    pub(super) new_process: OnceLock<Endpoint>,
}

pub(super) type SharedState = State<Arc<AdminState>>;
