//! The part of a reload that can fail: certificates are read, sockets are bound. Nothing that runs is touched.

use std::time::Duration;

use crate::address::Endpoint;
use crate::error::BoxError;
use crate::pipeline::Pipeline;
use crate::server::bind::{BoundListener, bind, load};
use crate::server::handover::{Inherited, inheritance};
use crate::server::listener::ListenerHandle;
use crate::server::reload::{Changes, ReloadError};
use crate::server::spec::{ListenerSpec, StartError};
use crate::settings::SocketOptions;
use crate::transport::SharedSocket;
use crate::transport::{Transports, tls};

/// What will be done for one listener of the plan, once nothing can fail any more.
pub(super) enum PlannedChange {
    /// Nothing but new certificates.
    Stay(ListenerHandle, Option<tls::Server>),
    Change(ListenerHandle, ListenerSpec, Option<Pipeline>, Option<tls::Server>),
    /// Another door at the same address.
    Move(ListenerHandle, ListenerSpec, BoundListener),
    /// With one that has had its name, if there is one.
    Start(ListenerSpec, BoundListener, Option<ListenerHandle>),
}

impl PlannedChange {
    /// Does it. Nothing here can fail.
    pub(super) fn take(self, changes: &mut Changes, finish_timeout: Duration) -> ListenerHandle {
        let renew = |listener: &ListenerHandle, fresh: Option<tls::Server>| {
            if let (Some(server), Some(fresh)) = (&listener.tls, fresh) {
                server.adopt(&fresh);
            }
        };
        match self {
            Self::Stay(listener, fresh) => {
                renew(&listener, fresh);
                listener
            }
            Self::Change(listener, spec, pipeline, fresh) => {
                renew(&listener, fresh);
                changes.changed.push(spec.name.clone());
                listener.change(spec, pipeline, finish_timeout)
            }
            Self::Move(listener, spec, bound) => {
                changes.changed.push(spec.name.clone());
                listener.replace_acceptor(spec, bound, finish_timeout)
            }
            Self::Start(spec, bound, previous) => {
                changes.started.push(spec.name.clone());
                ListenerHandle::start(spec, bound, finish_timeout, previous.as_ref())
            }
        }
    }
}

/// Whether a listener runs already where a plan wants it.
pub(super) fn stays_at(listener: &ListenerHandle, spec: &ListenerSpec) -> bool {
    listener.spec.name == spec.name && same_address(&listener.spec.endpoint, &spec.endpoint)
}

/// TLS is not a place: it is spoken at the same one.
pub(super) fn same_address(one: &Endpoint, other: &Endpoint) -> bool {
    match (one, other) {
        (Endpoint::Tcp(one) | Endpoint::Tls(one), Endpoint::Tcp(other) | Endpoint::Tls(other)) => one == other,
        (one, other) => one == other,
    }
}

/// What stands around the socket, and the socket's own options, were made with the door. Other settings of TLS are, too: who
/// comes gets the handler that goes with them. Whether a port is lent to others is settled when it is bound.
fn needs_new_acceptor(listener: &ListenerHandle, then: &ListenerSpec) -> bool {
    let now = &*listener.spec;
    let socket = SocketOptions { reuse_port: then.socket.reuse_port, ..now.socket.clone() };
    let shares = listener.share().is_some();
    let tls = if shares { now.tls != then.tls } else { now.tls.is_some() != then.tls.is_some() };
    socket != then.socket || tls || now.proxy.is_some() != then.proxy.is_some()
}

/// What can fail, for all listeners of a plan. Nothing that runs is touched.
pub(super) struct ReloadPlan<'a> {
    pub(super) transports: &'a Transports,
    pub(super) listeners: &'a [ListenerHandle],
    /// From the process before this one.
    pub(super) inherited: Vec<Inherited>,
    /// Those that the plan does not have, and those that are on their way out already.
    pub(super) going: Vec<ListenerHandle>,
    /// Those of them whose sockets others go on with.
    pub(super) taken: Vec<ListenerHandle>,
}

impl ReloadPlan<'_> {
    /// Those that go on with somebody's socket come last: a handle to a socket keeps it open, and options are set on it.
    pub(super) async fn all(
        &mut self,
        plan: Vec<(ListenerSpec, Option<Pipeline>)>,
    ) -> Result<Vec<PlannedChange>, ReloadError> {
        let mut errors = Vec::new();
        let mut steps: Vec<Option<PlannedChange>> = plan.iter().map(|_| None).collect();
        for last in [false, true] {
            for (place, (spec, pipeline)) in plan.iter().enumerate() {
                if self.inherits(spec) != last || (last && !errors.is_empty()) || steps[place].is_some() {
                    continue;
                }
                match self.one(spec, pipeline.clone()).await {
                    Ok(step) => steps[place] = Some(step),
                    Err(source) => {
                        errors.push(StartError {
                            listener: spec.name.clone(),
                            endpoint: spec.endpoint.clone(),
                            source,
                        });
                    }
                }
            }
        }
        if errors.is_empty() { Ok(steps.into_iter().flatten().collect()) } else { Err(ReloadError::Start(errors)) }
    }

    fn listener(&self, spec: &ListenerSpec) -> Option<&ListenerHandle> {
        self.listeners.iter().find(|listener| !listener.is_over() && stays_at(listener, spec))
    }

    fn inherits(&self, spec: &ListenerSpec) -> bool {
        match self.listener(spec) {
            Some(listener) => needs_new_acceptor(listener, spec),
            None => self.going.iter().any(|listener| is_at(listener, &spec.endpoint)),
        }
    }

    async fn one(&mut self, spec: &ListenerSpec, pipeline: Option<Pipeline>) -> Result<PlannedChange, BoxError> {
        let Some(listener) = self.listener(spec) else {
            let is_namesake = |listener: &&ListenerHandle| listener.spec.name == spec.name;
            let kept = || self.listeners.iter().find(is_namesake).map(ListenerHandle::pipeline);
            let pipeline = pipeline.or_else(kept).ok_or("there is nothing that it could keep")?;
            let previous = self.listeners.iter().chain(&self.going).find(is_namesake).cloned();
            return Ok(PlannedChange::Start(spec.clone(), self.start(spec, pipeline).await?, previous));
        };
        if let Some(pipeline) = &pipeline {
            pipeline.fits(listener.kind())?;
        }
        if needs_new_acceptor(listener, spec) {
            let pipeline = pipeline.unwrap_or_else(|| listener.pipeline());
            let inherited = listener.share();
            if inherited.is_none() && listener.is_open() {
                let what = "TLS, PROXY and socket options cannot change while it listens, since its transport shares no socket";
                return Err(what.into());
            }
            return Ok(PlannedChange::Move(
                listener.clone(),
                spec.clone(),
                bind(self.transports, spec, pipeline, inherited).await?,
            ));
        }
        let listener = listener.clone();
        let fresh = match &spec.tls {
            Some(settings) => Some(load(settings).await?),
            None => None,
        };
        Ok(match pipeline {
            None if *listener.spec == *spec => PlannedChange::Stay(listener, fresh),
            pipeline => PlannedChange::Change(listener, spec.clone(), pipeline, fresh),
        })
    }

    /// Binds a new listener: on the socket of one that goes, if that is at the same address.
    async fn start(&mut self, spec: &ListenerSpec, pipeline: Pipeline) -> Result<BoundListener, BoxError> {
        if let Some(inherited) = inheritance(&mut self.inherited, spec)? {
            return bind(self.transports, spec, pipeline, Some(inherited)).await;
        }
        let found = self.going.iter().position(|listener| is_at(listener, &spec.endpoint));
        if let Some((found, inherited)) = found.and_then(|found| Some((found, self.going[found].share()?))) {
            let bound = bind(self.transports, spec, pipeline, Some(inherited)).await?;
            self.taken.push(self.going.remove(found));
            return Ok(bound);
        }
        // From one address to every address of a machine, for example: both have the port for a moment.
        let overlapping: Vec<_> = self.going.iter().filter(|listener| overlaps(listener, &spec.endpoint)).collect();
        let lent: Vec<SharedSocket> = overlapping.into_iter().filter_map(ListenerHandle::share).collect();
        if lent.is_empty() {
            return bind(self.transports, spec, pipeline, None).await;
        }
        lent.iter().for_each(|socket| socket.set_reuse_port(true));
        let mut borrowing = spec.clone();
        borrowing.socket.reuse_port = true;
        let bound = bind(self.transports, &borrowing, pipeline, None).await;
        if !spec.socket.reuse_port {
            let own = bound.iter().filter_map(|bound| bound.shared.as_ref());
            lent.iter().chain(own).for_each(|socket| socket.set_reuse_port(false));
        }
        bound
    }
}

/// Whether a listener is at an address: as its configuration says it, or as the system has it.
fn is_at(listener: &ListenerHandle, endpoint: &Endpoint) -> bool {
    let local_ip = endpoint.port() != Some(0) && same_address(&listener.spec.endpoint, endpoint);
    local_ip || same_address(&listener.endpoint, endpoint)
}

/// Whether two addresses of the same sort of socket have a port in common.
fn overlaps(listener: &ListenerHandle, endpoint: &Endpoint) -> bool {
    let sort = |endpoint: &Endpoint| matches!(endpoint, Endpoint::Udp(_));
    let port = endpoint.port().filter(|port| *port != 0);
    port.is_some() && listener.endpoint.port() == port && sort(&listener.endpoint) == sort(endpoint)
}
