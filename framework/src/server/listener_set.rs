//! Several listeners with their handlers, to start or to reload a server.

use std::fmt;
use std::time::Duration;

use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::bans::Bans;
use crate::listener_spec::ListenerSpec;
use crate::pipeline::HandlerInstance;
use crate::server::bind::{BoundListener, bind};
use crate::server::changes::PREPARE_TIMEOUT;
use crate::server::handlers::StartedHandlers;
use crate::server::inherited::{Inherited, take_inherited};
use crate::server::listener::ListenerHandle;
use crate::server::neighbours::{are_both_wildcards, bind_beside, name_listener};
use crate::server::reload_plan::keeps_any;
use crate::server::running::Running;
use crate::server::start_error::StartError;
use crate::settings::DrainSettings;
use crate::transport::Transports;

/// Listeners with their handlers. For one listener, [`Server`](crate::Server) is shorter.
#[derive(Debug)]
#[must_use = "listeners do nothing until they are started"]
pub struct ListenerSet {
    pub(super) transports: Transports,
    pub(super) drain: DrainSettings,
    pub(super) plan: Vec<(ListenerSpec, HandlerInstance)>,
    /// Sockets from the old process.
    pub(super) inherited: Vec<Inherited>,
    pub(super) prepare_timeout: Duration,
    pub(super) bans: Bans,
    handlers: StartedHandlers,
}

impl ListenerSet {
    /// No listeners, and the transports that bind them.
    pub fn new(transports: Transports) -> Self {
        Self {
            transports,
            drain: DrainSettings::default(),
            plan: Vec::new(),
            inherited: Vec::new(),
            prepare_timeout: PREPARE_TIMEOUT,
            bans: Bans::default(),
            handlers: StartedHandlers::default(),
        }
    }

    /// The transports. A [reload](Running::reload) keeps the transports of the start.
    pub fn transports(&mut self) -> &mut Transports {
        &mut self.transports
    }

    /// Sets the duration of a drain.
    pub fn drain_settings(&mut self, drain: DrainSettings) -> &mut Self {
        self.drain = drain;
        self
    }

    /// Sets the bans of the server, with their settings. By default, an operator can ban clients, and strikes do not.
    /// Call [`Bans::load`] before the start, if the bans have a file. A [reload](Running::reload) keeps the bans of the
    /// start, and uses the settings of these.
    pub fn bans(&mut self, bans: Bans) -> &mut Self {
        self.bans = bans;
        self
    }

    /// Adds a listener with its handler.
    pub fn listen(&mut self, spec: ListenerSpec, handler: &HandlerInstance) -> &mut Self {
        self.plan.push((spec, handler.clone()));
        self
    }

    /// Adds the sockets of the old process. A listener at the address of such a socket uses it. The other sockets are
    /// closed.
    pub fn inherit(&mut self, sockets: impl IntoIterator<Item = Inherited>) -> &mut Self {
        self.inherited.extend(sockets);
        self
    }

    /// Sets how long all handlers together may take to start, and how long a [reload](Running::reload) may start
    /// handlers, resolve names and read files. The default is 30 s.
    pub fn prepare_timeout(&mut self, timeout: Duration) -> &mut Self {
        self.prepare_timeout = timeout;
        self
    }

    /// Whether a [reload](Running::reload) with these listeners keeps at least one of the current sockets, under any
    /// name. A server without listeners has none to keep.
    pub fn keeps_any_of(&self, running: &Running) -> bool {
        keeps_any(&running.state().listeners, &self.plan)
    }

    /// The handlers that [`bind`](Self::bind) starts. A reload does not use it.
    pub fn handlers(&self) -> StartedHandlers {
        self.handlers.clone()
    }

    pub(super) fn drain_deadline(&self) -> Duration {
        self.drain.deadline
    }

    /// Starts all handlers, binds all listeners and starts serving. Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// A handler cannot be started, or a listener cannot be bound. The other handlers are stopped and the other
    /// listeners are closed again.
    pub async fn start(self) -> Result<Running, StartError> {
        self.bind().await.map(BoundSet::start)
    }

    /// Binds all listeners and closes them again, to check whether [`start`](Self::start) would succeed. Clients that
    /// connect during the check are disconnected. No handler is started.
    ///
    /// # Errors
    ///
    /// A listener cannot be bound.
    pub async fn try_bind(self) -> Result<(), StartError> {
        self.bind_all().await.map(drop)
    }

    /// Starts all handlers, then binds all listeners. Clients that connect wait in the backlog until
    /// [`BoundSet::start`]. If the future or its result is dropped, the handlers stop in the background; wait for them
    /// with [`StartedHandlers::stop`].
    ///
    /// # Errors
    ///
    /// A handler cannot be started, or a listener cannot be bound. The other handlers are stopped and the other
    /// listeners are closed again.
    pub async fn bind(self) -> Result<BoundSet, StartError> {
        let (transports, drain, handlers) = (self.transports.clone(), self.drain, self.handlers.clone());
        let bans = self.bans.clone();
        handlers.apply(drain);
        let bound = async {
            let users = handlers.start(&self.plan, self.prepare_timeout).await?;
            Ok((self.bind_all().await?, users))
        };
        match bound.await {
            Ok((bound, users)) => Ok(BoundSet { transports, drain, bound, bans, handlers, _users: users }),
            Err(error) => {
                handlers.stop(drain.deadline, std::future::pending()).await;
                Err(error)
            }
        }
    }

    async fn bind_all(self) -> Result<Vec<(ListenerSpec, BoundListener)>, StartError> {
        let Self { transports, plan, mut inherited, .. } = self;
        let mut bound: Vec<(ListenerSpec, BoundListener)> = Vec::new();
        for (spec, handler) in plan {
            let pipeline = handler.pipeline(&spec);
            let ready = match take_inherited(&mut inherited, &spec) {
                Ok(None) => {
                    let beside = bound.iter().filter(|(_, other)| are_both_wildcards(&other.endpoint, &spec.endpoint));
                    let beside: Vec<_> = beside.filter_map(|(_, other)| other.shared.as_ref()?.try_clone()).collect();
                    bind_beside(&transports, &spec, pipeline, &beside).await
                }
                Ok(socket) => bind(&transports, &spec, pipeline, socket).await,
                Err(error) => Err(error.into()),
            };
            match ready {
                Ok(ready) => bound.push((spec, ready)),
                Err(error) => {
                    let listeners = bound.iter().map(|(spec, own)| (&*spec.name, &own.endpoint, own.shared.as_ref()));
                    let source = name_listener(error, &spec.endpoint, listeners);
                    return Err(StartError::listener(&spec.name, &spec.endpoint, source).await);
                }
            }
        }
        Ok(bound)
    }
}

/// Listeners that are bound and accept no connection yet. Dropping it closes them, and their handlers stop.
#[must_use = "dropping it closes the listeners"]
pub struct BoundSet {
    transports: Transports,
    drain: DrainSettings,
    bound: Vec<(ListenerSpec, BoundListener)>,
    bans: Bans,
    handlers: StartedHandlers,
    /// Handlers without a listener of their own have no other user.
    _users: Vec<TaskTrackerToken>,
}

impl BoundSet {
    /// The bans of the server.
    pub fn bans(&self) -> &Bans {
        &self.bans
    }

    /// Starts serving. Must be called inside a tokio runtime.
    pub fn start(self) -> Running {
        let Self { transports, drain, bound, bans, handlers, .. } = self;
        let start = |(spec, bound)| ListenerHandle::start(spec, bound, drain.deadline, None, &bans);
        let listeners = bound.into_iter().map(start).collect();
        Running::new(transports, listeners, drain, bans, handlers)
    }
}

impl fmt::Debug for BoundSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.bound.iter().map(|(spec, _)| &spec.name)).finish()
    }
}
