//! The admin endpoint: HTTP on a listener of the framework.
//!
//! A reload is sent to the control loop as [`ReloadRequest`]. A drain is signalled separately. While there is an
//! endpoint, a task records the history.

mod auth;
mod bans;
mod client_table;
mod commands;
mod connections;
mod evacuation;
mod forward;
mod history;
mod http_timer;
mod listener;
mod metrics;
mod parameters;
mod routes;
mod shared_reply;
mod state;
mod status;
mod tap;
mod timeouts;

pub(crate) use history::{History, HistoryPart};
pub(crate) use routes::SERVER_NAME;
pub(crate) use state::{Difference, ReloadMode, ReloadRequest, Reloaded};

use std::mem;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use switchboard::log::Log;
use switchboard::prelude::*;
use switchboard::registry::HandlerInstance;
use switchboard::server::{Inherited, ListenerSpec};
use switchboard::transport::Transports;
use switchboard::{Drained, Endpoint};
use tokio::sync::{Notify, mpsc, watch};
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use crate::admin::auth::REQUEST_TIMEOUT;
use crate::admin::client_table::ClientTable;
use crate::admin::http_timer::HttpTimer;
use crate::admin::shared_reply::SharedReplies;
use crate::admin::state::AdminState;
use crate::admin::timeouts::IDLE_TIMEOUT;
use crate::config::{self, Config};
use crate::descriptors;

/// The name of the listener.
const NAME: &str = "admin";
/// Maximum open connections. A small limit of open files allows fewer.
const CONNECTIONS: usize = 100;
/// Drain deadline of the admin endpoint, after the server has stopped.
const DRAIN_DEADLINE: Duration = Duration::from_secs(1);
/// How long the address may take to be resolved and bound at the start.
const BIND_TIMEOUT: Duration = Duration::from_secs(30);
/// Reload requests that wait for the control loop.
const RELOAD_QUEUE: usize = 16;

pub(crate) struct Admin {
    state: Arc<AdminState>,
    handler: HandlerInstance,
    max_connections: usize,
    /// Whether there is an endpoint. Without one, no history is recorded.
    is_enabled: watch::Sender<bool>,
    pub(crate) running: Running,
}

impl Admin {
    /// Prepares the endpoint; [`open`](Self::open) binds its address. The receiver returns the requests to reload.
    pub(crate) async fn new(
        running: Arc<Running>,
        log: Option<Arc<Log>>,
        config: &Arc<Config>,
    ) -> Result<(Self, mpsc::Receiver<ReloadRequest>)> {
        let (reloads, received) = mpsc::channel(RELOAD_QUEUE);
        let started = Instant::now();
        let state = Arc::new(AdminState {
            running,
            log,
            reloads,
            drain: Notify::new(),
            started,
            replies: SharedReplies::default(),
            settings: Mutex::default(),
            initial: config.clone(),
            config: Mutex::new(config.clone()),
            history: Arc::new(History::new(started)),
            drained: watch::Sender::new(None),
            new_process: OnceLock::new(),
        });
        let (is_enabled, enabled) = watch::channel(false);
        tokio::spawn(history::run(state.history.clone(), state.running.clone(), enabled));
        let max_connections = descriptors::for_admin(CONNECTIONS);
        let (router, clients) = (routes::router(state.clone()), ClientTable::new(max_connections));
        let handler = HandlerInstance::stream(HttpHandler { router, clients });
        let running = ListenerSet::new(Transports::default()).start().await?;
        let admin = Self { state, handler, max_connections, is_enabled, running };
        Ok((admin, received))
    }

    /// Starts the endpoint that the configuration names, on the inherited sockets if there are any.
    pub(crate) async fn open(&self, config: &Config, inherited: Vec<Inherited>) -> Result<()> {
        self.configure(config.admin.as_ref(), inherited, BIND_TIMEOUT).await
    }

    /// The history, which begins with the rows of the old process of an upgrade.
    pub(crate) fn history(&self) -> Arc<History> {
        self.state.history.clone()
    }

    /// Like [`open`](Self::open), after the counters of the old process were added: they are older than the history.
    pub(crate) async fn open_after_handover(&self, config: &Config, inherited: Vec<Inherited>) -> Result<()> {
        self.state.history.begin_with(&self.state.running.report());
        self.open(config, inherited).await?;
        self.running.take_socket_paths();
        Ok(())
    }

    /// From now on the new process, which accepts on the same address, answers the requests on open connections.
    pub(crate) fn forward_requests(&self) {
        if let Some(endpoint) = self.running.address() {
            let _ = self.state.new_process.set(endpoint); // a process has one new process
        }
    }

    pub(crate) async fn try_bind(endpoint: Endpoint) -> Result<()> {
        let handler = HandlerInstance::stream(HttpHandler { router: Router::new(), clients: ClientTable::new(1) });
        let mut listeners = ListenerSet::new(Transports::default());
        listeners.listen(ListenerSpec::new(NAME, endpoint), &handler);
        Ok(listeners.try_bind().await?)
    }

    /// Applies an `[admin]` section within `timeout`. After an error the previous one stays in effect.
    pub(crate) async fn configure(
        &self,
        admin: Option<&config::Admin>,
        inherited: Vec<Inherited>,
        timeout: Duration,
    ) -> Result<()> {
        let mut listeners = ListenerSet::new(Transports::default());
        listeners.prepare_timeout(timeout);
        listeners.inherit(inherited);
        let mut drain = switchboard::settings::DrainSettings::default();
        drain.deadline = DRAIN_DEADLINE;
        listeners.drain_settings(drain);
        if let Some(admin) = admin {
            let mut spec = ListenerSpec::new(NAME, admin.endpoint.clone());
            spec.debug_log = true; // health checks and scrapes would fill the log
            // Room for evicted connections that are being closed. A new client waits until there is room.
            spec.limits.connections = self.max_connections + self.max_connections.div_ceil(2);
            spec.waits_when_full = true;
            spec.timeouts.idle = IDLE_TIMEOUT;
            listeners.listen(spec, &self.handler);
        }
        // Set before the listener accepts, so that the first request needs the new token.
        let previous = mem::replace(&mut *self.state.settings.lock(), admin.cloned());
        self.running.reload(listeners).await.inspect_err(|_| *self.state.settings.lock() = previous)?;
        self.is_enabled.send_replace(admin.is_some());
        Ok(())
    }

    /// Sets the configuration in use.
    pub(crate) fn set_config(&self, config: &Arc<Config>) {
        *self.state.config.lock() = config.clone();
    }

    /// Publishes the result of the drain, for the clients that wait for it.
    pub(crate) fn set_drained(&self, drained: Drained) {
        self.state.drained.send_replace(Some(drained));
    }

    /// Requests a drain.
    pub(crate) fn request_drain(&self) {
        self.state.drain.notify_one();
    }

    /// Waits for a request to drain. A request before the call counts.
    pub(crate) async fn drain_requested(&self) {
        self.state.drain.notified().await;
    }

    /// Finishes requests in progress and stops.
    pub(crate) async fn stop(&self) {
        // `draining` and `drained` are events of the server, not of the admin endpoint.
        self.running.drain().with_subscriber(NoSubscriber::new()).await;
    }
}

struct HttpHandler {
    router: Router,
    clients: ClientTable,
}

impl StreamHandler for HttpHandler {
    async fn serve(&self, connection: Connection, stream: ByteStream) -> Result<()> {
        let guard = self.clients.enter(&connection);
        let client = guard.client.clone();
        let router = TowerToHyperService::new(self.router.clone());
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(client.clone());
            router.call(request)
        });
        let http = http1::Builder::new()
            .timer(HttpTimer)
            .header_read_timeout(REQUEST_TIMEOUT) // for the head; `authorize` enforces the rest
            .half_close(true) // reply to clients that close their sending side after the request
            .serve_connection(TokioIo::new(stream), service);
        let mut http = pin!(http);
        let mut drain = connection.drain();
        tokio::select! {
            closed = http.as_mut() => return Ok(closed?),
            () = drain.draining() => http.as_mut().graceful_shutdown(),
        }
        Ok(http.await?)
    }
}
