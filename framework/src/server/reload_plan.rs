//! The part of a reload that can fail: loads certificates and binds sockets without changing the running server.

use std::time::Duration;

use crate::address::Endpoint;
use crate::bans::Bans;
use crate::error::BoxError;
use crate::listener_spec::ListenerSpec;
use crate::pipeline::{HandlerInstance, Pipeline};
use crate::server::bind::{BoundListener, bind, load};
use crate::server::changes::{Changes, ReloadError};
use crate::server::inherited::{Inherited, take_inherited};
use crate::server::listener::ListenerHandle;
use crate::server::neighbours::{are_both_wildcards, bind_beside, have_same_port, name_listener};
use crate::server::start_error::StartError;
use crate::settings::{SocketOptions, TlsStart};
use crate::transport::tls::TlsAcceptor;
use crate::transport::{SharedSocket, Transports, Unreachable};

/// A prepared change of one listener, which cannot fail.
pub(super) enum PlannedChange {
    /// Keeps its settings; only certificates change.
    Keep(ListenerHandle, Option<TlsAcceptor>),
    /// Changes settings or the handler.
    Update(ListenerHandle, ListenerSpec, Pipeline, Option<TlsAcceptor>),
    /// Replaces the accept loop on the same socket.
    Rebind(ListenerHandle, ListenerSpec, BoundListener),
    /// Starts a listener; the last field is an earlier listener of the same name.
    Start(ListenerSpec, BoundListener, Option<ListenerHandle>),
}

impl PlannedChange {
    pub(super) fn apply(self, changes: &mut Changes, finish_timeout: Duration, bans: &Bans) -> ListenerHandle {
        match self {
            Self::Keep(listener, loaded) => {
                loaded.inspect(|loaded| listener.replace_certificates(loaded));
                listener
            }
            Self::Update(listener, spec, pipeline, loaded) => {
                changes.changed.push(spec.name.clone());
                listener.change(spec, pipeline, loaded, finish_timeout)
            }
            Self::Rebind(listener, spec, bound) => {
                changes.changed.push(spec.name.clone());
                listener.replace_acceptor(spec, bound, finish_timeout)
            }
            Self::Start(spec, bound, previous) => {
                changes.started.push(spec.name.clone());
                ListenerHandle::start(spec, bound, finish_timeout, previous.as_ref(), bans)
            }
        }
    }
}

/// Whether a running listener has the name and socket of this configuration.
pub(super) fn matches(listener: &ListenerHandle, spec: &ListenerSpec) -> bool {
    listener.spec.name == spec.name && listener.spec.endpoint.same_socket(&spec.endpoint)
}

/// Whether a set of listeners uses the socket of at least one running listener, under any name.
pub(super) fn keeps_any(running: &[ListenerHandle], plan: &[(ListenerSpec, HandlerInstance)]) -> bool {
    let mut running = running.iter().filter(|listener| !listener.is_over()).peekable();
    let stays = |listener: &ListenerHandle| {
        plan.iter().any(|(spec, _)| matches(listener, spec) || is_bound_to(listener, &spec.endpoint))
    };
    running.peek().is_none() || running.any(stays)
}

/// Whether the accept loop must be replaced: it holds the TLS and PROXY wrappers and the socket options. New TLS
/// settings replace it too, so that a connection never combines the old certificates with the new handler. TLS on
/// request is not part of it. `reuse_port` only applies at bind.
fn needs_new_acceptor(listener: &ListenerHandle, new: &ListenerSpec) -> bool {
    let old = &*listener.spec;
    let socket = SocketOptions { reuse_port: new.socket.reuse_port, ..old.socket.clone() };
    let shares = listener.share().is_some();
    let wrapper = |spec: &ListenerSpec| spec.tls.clone().filter(|tls| tls.start == TlsStart::Immediately);
    let (old_tls, new_tls) = (wrapper(old), wrapper(new));
    let tls = if shares { old_tls != new_tls } else { old_tls.is_some() != new_tls.is_some() };
    let pause = |spec: &ListenerSpec| spec.waits_when_full.then_some(spec.limits.connections);
    socket != new.socket || tls || old.proxy.is_some() != new.proxy.is_some() || pause(old) != pause(new)
}

/// Whether the path of a Unix socket has been removed or replaced. The listener is then bound again. It is not open
/// while its accept loop tries the same.
fn has_lost_path(listener: &ListenerHandle) -> bool {
    let is_down = matches!(listener.spec.endpoint, Endpoint::Unix(_)) && !listener.is_open();
    is_down || listener.problem() == Some(Unreachable::Path)
}

/// Prepares the changes of all listeners.
pub(super) struct ReloadPlan<'a> {
    pub(super) transports: &'a Transports,
    pub(super) listeners: &'a [ListenerHandle],
    /// Sockets from the old process.
    pub(super) inherited: Vec<Inherited>,
    /// Listeners that the reload removes, and listeners that are already stopping.
    pub(super) leaving: Vec<ListenerHandle>,
    /// Former members of `leaving` whose sockets new listeners use.
    pub(super) taken: Vec<ListenerHandle>,
    /// New sockets, with the names and endpoints of their listeners.
    pub(super) bound: Vec<(String, Endpoint, SharedSocket)>,
}

impl ReloadPlan<'_> {
    /// Listeners that continue on an existing socket come last, because their options are set on the shared socket.
    /// They are skipped after an error.
    pub(super) async fn prepare(
        &mut self,
        plan: Vec<(ListenerSpec, HandlerInstance)>,
    ) -> Result<Vec<PlannedChange>, ReloadError> {
        let mut errors = Vec::new();
        let mut steps: Vec<Option<PlannedChange>> = plan.iter().map(|_| None).collect();
        for last in [false, true] {
            for (place, (spec, handler)) in plan.iter().enumerate() {
                if self.continues(spec) != last || (last && !errors.is_empty()) || steps[place].is_some() {
                    continue;
                }
                match self.prepare_one(spec, handler).await {
                    Ok(step) => steps[place] = Some(step),
                    Err(source) => {
                        errors.push(StartError::listener(&spec.name, &spec.endpoint, source).await);
                    }
                }
            }
        }
        if errors.is_empty() { Ok(steps.into_iter().flatten().collect()) } else { Err(ReloadError::Start(errors)) }
    }

    fn listener(&self, spec: &ListenerSpec) -> Option<&ListenerHandle> {
        self.listeners.iter().find(|listener| !listener.is_over() && matches(listener, spec))
    }

    fn continues(&self, spec: &ListenerSpec) -> bool {
        match self.listener(spec) {
            Some(listener) => !has_lost_path(listener) && needs_new_acceptor(listener, spec),
            None => self.leaving.iter().any(|listener| is_bound_to(listener, &spec.endpoint)),
        }
    }

    async fn prepare_one(&mut self, spec: &ListenerSpec, handler: &HandlerInstance) -> Result<PlannedChange, BoxError> {
        let pipeline = self.pipeline(spec, handler);
        let Some(listener) = self.listener(spec) else {
            let is_namesake = |listener: &&ListenerHandle| listener.spec.name == spec.name;
            let previous = self.listeners.iter().chain(&self.leaving).find(is_namesake).cloned();
            let bound = self.start(spec, pipeline).await.map_err(|error| self.explain(error, spec))?;
            if let Some(socket) = bound.shared.as_ref().and_then(SharedSocket::try_clone) {
                self.bound.push((spec.name.clone(), bound.endpoint.clone(), socket));
            }
            return Ok(PlannedChange::Start(spec.clone(), bound, previous));
        };
        pipeline.fits(listener.kind())?;
        if has_lost_path(listener) {
            match bind(self.transports, spec, pipeline.clone(), None).await {
                Ok(bound) => return Ok(PlannedChange::Rebind(listener.clone(), spec.clone(), bound)),
                Err(error) if has_lost_path(listener) => return Err(self.explain(error, spec)),
                Err(_) => {} // the accept loop has bound it meanwhile
            }
        }
        if needs_new_acceptor(listener, spec) {
            let inherited = listener.share();
            if inherited.is_none() && listener.is_open() {
                let reason =
                    "TLS, PROXY and socket options cannot change, because the transport cannot share its socket";
                return Err(reason.into());
            }
            return Ok(PlannedChange::Rebind(
                listener.clone(),
                spec.clone(),
                bind(self.transports, spec, pipeline, inherited).await?,
            ));
        }
        let listener = listener.clone();
        let loaded = match &spec.tls {
            Some(settings) => Some(load(settings).await?),
            None => None,
        };
        Ok(if listener.pipeline.is_of(handler) && *listener.spec == *spec {
            PlannedChange::Keep(listener, loaded)
        } else {
            PlannedChange::Update(listener, spec.clone(), pipeline, loaded)
        })
    }

    /// The running pipeline of the listener with this name, if it has the same handler and settings; else a new
    /// pipeline.
    fn pipeline(&self, spec: &ListenerSpec, handler: &HandlerInstance) -> Pipeline {
        let running = self.listeners.iter().find(|listener| listener.spec.name == spec.name);
        match running.filter(|running| running.pipeline.is_of(handler) && running.spec.same_pipeline(spec)) {
            Some(running) => running.pipeline.clone(),
            None => handler.pipeline(spec),
        }
    }

    /// Binds a new listener. It takes over an inherited socket or the socket of a leaving listener on the same address.
    async fn start(&mut self, spec: &ListenerSpec, pipeline: Pipeline) -> Result<BoundListener, BoxError> {
        if let Some(inherited) = take_inherited(&mut self.inherited, spec)? {
            return bind(self.transports, spec, pipeline, Some(inherited)).await;
        }
        let found = self.leaving.iter().position(|listener| is_bound_to(listener, &spec.endpoint));
        if let Some((found, inherited)) = found.and_then(|found| Some((found, self.leaving[found].share()?))) {
            let bound = bind(self.transports, spec, pipeline, Some(inherited)).await?;
            self.taken.push(self.leaving.remove(found));
            return Ok(bound);
        }
        // A change from one address to the wildcard address, for example: both sockets have the port for a moment.
        let is_leaving = |listener: &ListenerHandle| self.leaving.iter().any(|leaving| leaving.is(listener));
        let overlapping = self.leaving.iter().filter(|listener| have_same_port(&listener.endpoint, &spec.endpoint));
        let kept = self.listeners.iter().filter(|listener| !is_leaving(listener));
        let wildcards = kept.filter(|listener| are_both_wildcards(&listener.endpoint, &spec.endpoint));
        let new = self.bound.iter().filter(|(_, endpoint, _)| are_both_wildcards(endpoint, &spec.endpoint));
        let beside = overlapping.chain(wildcards).filter_map(ListenerHandle::share);
        let beside: Vec<_> = beside.chain(new.filter_map(|(_, _, socket)| socket.try_clone())).collect();
        bind_beside(self.transports, spec, pipeline, &beside).await
    }

    /// Names the listener that uses the address, if it stays or is new.
    fn explain(&self, error: BoxError, spec: &ListenerSpec) -> BoxError {
        let kept: Vec<_> = self.listeners.iter().map(|listener| (listener, listener.share())).collect();
        let kept = kept.iter().map(|(listener, socket)| (&*listener.spec.name, &listener.endpoint, socket.as_ref()));
        let new = self.bound.iter().map(|(name, endpoint, socket)| (&**name, endpoint, Some(socket)));
        name_listener(error, &spec.endpoint, kept.chain(new).filter(|(name, ..)| *name != spec.name))
    }
}

/// Whether a listener is bound to an endpoint, by its configuration or with its real port.
fn is_bound_to(listener: &ListenerHandle, endpoint: &Endpoint) -> bool {
    let is_configured = endpoint.port() != Some(0) && listener.spec.endpoint.same_socket(endpoint);
    is_configured || listener.endpoint.same_socket(endpoint)
}
