//! The part of a reload that can fail: certificates are read, sockets are bound. Nothing that runs is touched.

use std::time::Duration;

use crate::address::Endpoint;
use crate::error::BoxError;
use crate::io::SharedSocket;
use crate::registry::Pipeline;
use crate::server::bind::{Bound, bind, load};
use crate::server::board::{ListenerSpec, StartError};
use crate::server::handover::{Inherited, inheritance};
use crate::server::line::Line;
use crate::server::reload::{Changes, ReloadError};
use crate::spec::SocketOptions;
use crate::transport::{Transports, tls};

/// What will be done for one listener of the plan, once nothing can fail any more.
pub(super) enum Step {
    /// Nothing but new certificates.
    Stay(Line, Option<tls::Server>),
    Change(Line, ListenerSpec, Option<Pipeline>, Option<tls::Server>),
    /// Another door at the same address.
    Move(Line, ListenerSpec, Bound),
    /// With one that has had its name, if there is one.
    Start(ListenerSpec, Bound, Option<Line>),
}

impl Step {
    /// Does it. Nothing here can fail.
    pub(super) fn take(self, changes: &mut Changes, patience: Duration) -> Line {
        let renew = |line: &Line, fresh: Option<tls::Server>| {
            if let (Some(server), Some(fresh)) = (&line.tls, fresh) {
                server.adopt(&fresh);
            }
        };
        match self {
            Self::Stay(line, fresh) => {
                renew(&line, fresh);
                line
            }
            Self::Change(line, spec, pipeline, fresh) => {
                renew(&line, fresh);
                changes.changed.push(spec.name.clone());
                line.change(spec, pipeline, patience)
            }
            Self::Move(line, spec, bound) => {
                changes.changed.push(spec.name.clone());
                line.move_door(spec, bound, patience)
            }
            Self::Start(spec, bound, namesake) => {
                changes.started.push(spec.name.clone());
                Line::start(spec, bound, patience, namesake.as_ref())
            }
        }
    }
}

/// Whether a listener runs already where a plan wants it.
pub(super) fn stays_at(line: &Line, spec: &ListenerSpec) -> bool {
    line.spec.name == spec.name && same_address(&line.spec.endpoint, &spec.endpoint)
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
fn needs_another_door(line: &Line, then: &ListenerSpec) -> bool {
    let now = &*line.spec;
    let socket = SocketOptions { reuse_port: then.socket.reuse_port, ..now.socket.clone() };
    let shares = line.share().is_some();
    let tls = if shares { now.tls != then.tls } else { now.tls.is_some() != then.tls.is_some() };
    socket != then.socket || tls || now.proxy.is_some() != then.proxy.is_some()
}

/// What can fail, for all listeners of a plan. Nothing that runs is touched.
pub(super) struct Preparing<'a> {
    pub(super) transports: &'a Transports,
    pub(super) lines: &'a [Line],
    /// From the process before this one.
    pub(super) inherited: Vec<Inherited>,
    /// Those that the plan does not have, and those that are on their way out already.
    pub(super) going: Vec<Line>,
    /// Those of them whose sockets others go on with.
    pub(super) taken: Vec<Line>,
}

impl Preparing<'_> {
    /// Those that go on with somebody's socket come last: a handle to a socket keeps it open, and options are set on it.
    pub(super) async fn all(&mut self, plan: Vec<(ListenerSpec, Option<Pipeline>)>) -> Result<Vec<Step>, ReloadError> {
        let mut errors = Vec::new();
        let mut steps: Vec<Option<Step>> = plan.iter().map(|_| None).collect();
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

    fn line(&self, spec: &ListenerSpec) -> Option<&Line> {
        self.lines.iter().find(|line| !line.is_over() && stays_at(line, spec))
    }

    fn inherits(&self, spec: &ListenerSpec) -> bool {
        match self.line(spec) {
            Some(line) => needs_another_door(line, spec),
            None => self.going.iter().any(|line| is_at(line, &spec.endpoint)),
        }
    }

    async fn one(&mut self, spec: &ListenerSpec, pipeline: Option<Pipeline>) -> Result<Step, BoxError> {
        let Some(line) = self.line(spec) else {
            let is_namesake = |line: &&Line| line.spec.name == spec.name;
            let kept = || self.lines.iter().find(is_namesake).map(Line::pipeline);
            let pipeline = pipeline.or_else(kept).ok_or("there is nothing that it could keep")?;
            let namesake = self.lines.iter().chain(&self.going).find(is_namesake).cloned();
            return Ok(Step::Start(spec.clone(), self.start(spec, pipeline).await?, namesake));
        };
        if let Some(pipeline) = &pipeline {
            pipeline.fits(line.kind())?;
        }
        if needs_another_door(line, spec) {
            let pipeline = pipeline.unwrap_or_else(|| line.pipeline());
            let inherited = line.share();
            if inherited.is_none() && line.is_open() {
                let what = "TLS, PROXY and socket options cannot change while it listens, since its transport shares no socket";
                return Err(what.into());
            }
            return Ok(Step::Move(line.clone(), spec.clone(), bind(self.transports, spec, pipeline, inherited).await?));
        }
        let line = line.clone();
        let fresh = match &spec.tls {
            Some(settings) => Some(load(settings).await?),
            None => None,
        };
        Ok(match pipeline {
            None if *line.spec == *spec => Step::Stay(line, fresh),
            pipeline => Step::Change(line, spec.clone(), pipeline, fresh),
        })
    }

    /// Binds a new listener: on the socket of one that goes, if that is at the same address.
    async fn start(&mut self, spec: &ListenerSpec, pipeline: Pipeline) -> Result<Bound, BoxError> {
        if let Some(inherited) = inheritance(&mut self.inherited, spec)? {
            return bind(self.transports, spec, pipeline, Some(inherited)).await;
        }
        let found = self.going.iter().position(|line| is_at(line, &spec.endpoint));
        if let Some((found, inherited)) = found.and_then(|found| Some((found, self.going[found].share()?))) {
            let bound = bind(self.transports, spec, pipeline, Some(inherited)).await?;
            self.taken.push(self.going.remove(found));
            return Ok(bound);
        }
        // From one address to every address of a machine, for example: both have the port for a moment.
        let overlapping: Vec<_> = self.going.iter().filter(|line| overlaps(line, &spec.endpoint)).collect();
        let lent: Vec<SharedSocket> = overlapping.into_iter().filter_map(Line::share).collect();
        if lent.is_empty() {
            return bind(self.transports, spec, pipeline, None).await;
        }
        lent.iter().for_each(|socket| socket.lend_port(true));
        let mut borrowing = spec.clone();
        borrowing.socket.reuse_port = true;
        let bound = bind(self.transports, &borrowing, pipeline, None).await;
        if !spec.socket.reuse_port {
            let own = bound.iter().filter_map(|bound| bound.shared.as_ref());
            lent.iter().chain(own).for_each(|socket| socket.lend_port(false));
        }
        bound
    }
}

/// Whether a listener is at an address: as its configuration says it, or as the system has it.
fn is_at(line: &Line, endpoint: &Endpoint) -> bool {
    let asked = endpoint.port() != Some(0) && same_address(&line.spec.endpoint, endpoint);
    asked || same_address(&line.endpoint, endpoint)
}

/// Whether two addresses of the same sort of socket have a port in common.
fn overlaps(line: &Line, endpoint: &Endpoint) -> bool {
    let sort = |endpoint: &Endpoint| matches!(endpoint, Endpoint::Udp(_));
    let port = endpoint.port().filter(|port| *port != 0);
    port.is_some() && line.endpoint.port() == port && sort(&line.endpoint) == sort(endpoint)
}
