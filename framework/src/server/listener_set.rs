//! Several listeners as one server: what shall run, as plain values and pipelines.

use crate::pipeline::Pipeline;
use crate::server::bind::{BoundListener, bind};
use crate::server::inherited::{Inherited, take_inherited};
use crate::server::listener::ListenerHandle;
use crate::server::running::Running;
use crate::server::spec::{ListenerSpec, StartError};
use crate::settings::DrainSettings;
use crate::transport::Transports;

/// Listeners and what each does with what comes: what shall run. For one listener, [`Server`](crate::Server) is shorter.
#[derive(Debug)]
pub struct ListenerSet {
    pub(super) transports: Transports,
    pub(super) drain: DrainSettings,
    /// Without a pipeline: what serves it already goes on.
    pub(super) plan: Vec<(ListenerSpec, Option<Pipeline>)>,
    /// From the process before this one.
    pub(super) inherited: Vec<Inherited>,
}

impl ListenerSet {
    /// No listeners yet, and the transports to bind them with.
    pub fn new(transports: Transports) -> Self {
        Self { transports, drain: DrainSettings::default(), plan: Vec::new(), inherited: Vec::new() }
    }

    /// The transports, to add to. A [reload](Running::reload) goes on with those of the start.
    pub fn transports(&mut self) -> &mut Transports {
        &mut self.transports
    }

    /// Says how long a drain may take.
    pub fn drain_spec(&mut self, drain: DrainSettings) -> &mut Self {
        self.drain = drain;
        self
    }

    /// Adds a listener.
    pub fn listen(&mut self, spec: ListenerSpec, pipeline: Pipeline) -> &mut Self {
        self.plan.push((spec, Some(pipeline)));
        self
    }

    /// Adds a listener that runs already, for a [reload](Running::reload): the handler, framing and layers behind it, and what
    /// they remember, stay. What the listener itself goes by may be different: who is let in and how many, the certificates, the
    /// address.
    pub fn keep(&mut self, spec: ListenerSpec) -> &mut Self {
        self.plan.push((spec, None));
        self
    }

    /// Adds the sockets of the process before this one: a listener at the address of one goes on listening on it. Those that no
    /// listener wants are closed.
    pub fn inherit(&mut self, sockets: impl IntoIterator<Item = Inherited>) -> &mut Self {
        self.inherited.extend(sockets);
        self
    }

    /// Binds every listener, or none: then it says which one could not be bound, and why. Must be called inside a tokio
    /// runtime.
    pub async fn start(self) -> Result<Running, StartError> {
        let (transports, drain) = (self.transports.clone(), self.drain);
        let bound = self.bind().await?;
        let listeners = bound.into_iter().map(|(spec, bound)| ListenerHandle::start(spec, bound, drain.deadline, None));
        Ok(Running::new(transports, listeners.collect(), drain))
    }

    /// Binds every listener and closes them all again: whether a [`start`](Self::start) would do. Clients that connect in that
    /// moment find the connection closed.
    pub async fn try_bind(self) -> Result<(), StartError> {
        self.bind().await.map(drop)
    }

    async fn bind(self) -> Result<Vec<(ListenerSpec, BoundListener)>, StartError> {
        let Self { transports, plan, mut inherited, .. } = self;
        let mut bound = Vec::new();
        for (spec, pipeline) in plan {
            let ready = match pipeline {
                Some(pipeline) => match take_inherited(&mut inherited, &spec) {
                    Ok(socket) => bind(&transports, &spec, pipeline, socket).await,
                    Err(error) => Err(error.into()),
                },
                None => Err("there is nothing yet that it could keep".into()),
            };
            match ready {
                Ok(ready) => bound.push((spec, ready)),
                Err(source) => return Err(StartError { listener: spec.name, endpoint: spec.endpoint, source }),
            }
        }
        Ok(bound)
    }
}
