//! The endpoint for operators: HTTP on a listener of its own, which is one of the framework's like any other.
//!
//! `routes` knows what can be asked and who may, `metrics` and `status` how a report is written down, `page` is
//! what people see of it. None of them knows how a
//! reload or a drain is done: they ask for it through [`AdminCommand`], and whoever serves grants it.

mod auth;
mod dashboard;
mod metrics;
mod routes;
mod status;

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use switchboard::Endpoint;
use switchboard::prelude::*;
use switchboard::registry::HandlerInstance;
use switchboard::server::{Inherited, ListenerSpec};
use switchboard::transport::Transports;
use tokio::sync::{mpsc, oneshot};
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use crate::config::{self, Config, Shape};
use crate::log::Log;

/// Its name in the log.
const NAME: &str = "admin";
/// Connections that it has open at once.
const CONNECTIONS: usize = 100;
/// How long one of them may be silent.
const IDLE: Duration = Duration::from_secs(60);
/// How long the head of a request may take to come.
const HEAD: Duration = Duration::from_secs(10);
/// How long requests have to finish at the end.
const LAST_REQUESTS: Duration = Duration::from_secs(1);
/// Wishes that wait.
const WISHES: usize = 16;

/// What an operator asks for, and somebody else does.
#[derive(Debug)]
pub(crate) enum AdminCommand {
    /// Reload, and say what is wrong if it is refused.
    Reload(oneshot::Sender<Result<(), Vec<String>>>),
    /// Drain.
    Drain,
}

/// What the routes work with.
pub(crate) struct AdminState {
    running: Arc<Running>,
    log: Arc<Log>,
    commands: mpsc::Sender<AdminCommand>,
    started: Instant,
    current: Mutex<Option<config::Admin>>,
    /// The whole configuration, as JSON without its secrets.
    configuration: Mutex<String>,
}

impl AdminState {
    /// What it was before.
    fn set(&self, admin: Option<config::Admin>) -> Option<config::Admin> {
        std::mem::replace(&mut *lock(&self.current), admin)
    }

    fn configuration(&self) -> String {
        lock(&self.configuration).clone()
    }

    fn current(&self) -> Option<config::Admin> {
        lock(&self.current).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner) // nobody leaves it half changed
}

/// The endpoint, listening or not, as the configuration says.
pub(crate) struct Admin {
    state: Arc<AdminState>,
    handler: HandlerInstance,
    running: Running,
}

impl Admin {
    /// Begins to listen, if there is anything to listen at; on the socket of the process before this one, if it is there. What is
    /// asked for comes out of the channel.
    pub(crate) async fn start(
        running: Arc<Running>,
        log: Arc<Log>,
        config: &Config,
        inherited: Vec<Inherited>,
    ) -> Result<(Self, mpsc::Receiver<AdminCommand>)> {
        let (commands, asked) = mpsc::channel(WISHES);
        let state = AdminState {
            running,
            log,
            commands,
            started: Instant::now(),
            current: Mutex::default(),
            configuration: Mutex::default(),
        };
        let state = Arc::new(state);
        let handler = HandlerInstance::stream(Http { router: routes::router(state.clone()) });
        let running = ListenerSet::new(Transports::default()).start().await?;
        let admin_endpoint = Self { state, handler, running };
        admin_endpoint.show(config);
        admin_endpoint.go_on(config.admin.as_ref(), inherited).await?;
        Ok((admin_endpoint, asked))
    }

    /// Whether it could listen there.
    pub(crate) async fn try_bind(endpoint: Endpoint) -> Result<()> {
        let handler = HandlerInstance::stream(Http { router: Router::new() });
        let mut listeners = ListenerSet::new(Transports::default());
        listeners.listen(ListenerSpec::new(NAME, endpoint), &handler);
        Ok(listeners.try_bind().await?)
    }

    /// Goes on as another configuration says; after an error as before.
    pub(crate) async fn follow(&self, admin: Option<&config::Admin>) -> Result<()> {
        self.go_on(admin, Vec::new()).await
    }

    async fn go_on(&self, admin: Option<&config::Admin>, inherited: Vec<Inherited>) -> Result<()> {
        let mut listeners = ListenerSet::new(Transports::default());
        listeners.inherit(inherited);
        let mut drain = switchboard::settings::DrainSettings::default();
        drain.deadline = LAST_REQUESTS;
        listeners.drain_settings(drain);
        if let Some(admin) = admin {
            let mut spec = ListenerSpec::new(NAME, admin.endpoint.clone());
            (spec.limits.connections, spec.timeouts.idle) = (CONNECTIONS, IDLE);
            listeners.listen(spec, &self.handler);
        }
        // Whoever asks first is asked for the token.
        let before = self.state.set(admin.cloned());
        self.running.reload(listeners).await.map(drop).inspect_err(|_| drop(self.state.set(before)))?;
        Ok(())
    }

    /// This is what runs from now on.
    pub(crate) fn show(&self, config: &Config) {
        *lock(&self.state.configuration) = config.effective.print(Shape::Json);
    }

    /// What runs here: one listener, or none.
    pub(crate) fn running(&self) -> &Running {
        &self.running
    }

    /// Answers what was asked already, and no more.
    pub(crate) async fn stop(&self) {
        // What is logged is about the server.
        self.running.drain().with_subscriber(NoSubscriber::new()).await;
    }
}

/// HTTP/1.1 on the bytes of a connection.
#[derive(Clone)]
struct Http {
    router: Router,
}

impl StreamHandler for Http {
    async fn serve(&self, connection: Connection, stream: ByteStream) -> Result<()> {
        let service = TowerToHyperService::new(self.router.clone());
        let conversation = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .half_close(true) // a client that has said all it expected_type still gets its answer
            .serve_connection(TokioIo::new(stream), service);
        let mut conversation = pin!(conversation);
        let mut drain = connection.drain();
        tokio::select! {
            ended = conversation.as_mut() => return Ok(ended?),
            () = drain.draining() => conversation.as_mut().graceful_shutdown(),
        }
        Ok(conversation.await?)
    }
}
