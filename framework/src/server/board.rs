//! Several listeners as one server: bind all, serve, drain all.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tower::{Layer, ServiceExt};

use crate::access::Access;
use crate::address::Endpoint;
use crate::drain::{DrainSwitch, Phase};
use crate::error::{BoxError, chain};
use crate::layer::Panicked;
use crate::pace::Pace;
use crate::proxy::ProxySettings;
use crate::registry::Pipeline;
use crate::roster::{Gate, Handshakes, Lane, Order, Roster};
use crate::server::accept::{Door, keep_open};
use crate::spec::{DrainSpec, Limits, Rates, SocketOptions, Timeouts, after};
use crate::tls::TlsSettings;
use crate::transport::{Bind, BoxTransport, Listener, Transports, proxy, tls};

/// How long what was cut has to notice it; longer than a handler's `close` may take.
const CUT_GRACE: Duration = Duration::from_secs(2);
/// How long the accept loops have to close.
const LAST_CALL: Duration = Duration::from_secs(1);

/// One listener, as plain values.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerSpec {
    /// Its name, in logs and metrics.
    pub name: String,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// How much at once.
    pub limits: Limits,
    /// How long each thing may take; of these a listener itself needs the handshake.
    pub timeouts: Timeouts,
    /// How fast one source may be; of these a listener itself needs that of connections.
    pub rates: Rates,
    /// Who is let in.
    pub access: Access,
    /// How its sockets are made.
    pub socket: SocketOptions,
    /// The header that a proxy in front sends before everything else, TLS included; required if set.
    pub proxy: Option<ProxySettings>,
    /// TLS around its transport, whichever that is; `tls://` needs it.
    pub tls: Option<TlsSettings>,
}

impl ListenerSpec {
    /// A listener with default limits, timeouts, rates and socket options, for everybody, without a proxy and TLS.
    pub fn new(name: impl Into<String>, endpoint: Endpoint) -> Self {
        Self {
            name: name.into(),
            endpoint,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            rates: Rates::default(),
            access: Access::default(),
            socket: SocketOptions::default(),
            proxy: None,
            tls: None,
        }
    }
}

/// Listeners and what each does with what comes, before they run. For one listener, [`Server`](crate::Server) is shorter.
#[derive(Debug)]
pub struct Switchboard {
    transports: Transports,
    drain: DrainSpec,
    lines: Vec<(ListenerSpec, Pipeline)>,
}

/// A listener that could not be started.
#[derive(Debug, thiserror::Error)]
#[error("listener {listener} cannot listen on {endpoint}: {}", chain(&**source))]
pub struct StartError {
    listener: String,
    endpoint: Endpoint,
    source: BoxError,
}

impl Switchboard {
    /// No listeners yet, and the transports to bind them with.
    pub fn new(transports: Transports) -> Self {
        Self { transports, drain: DrainSpec::default(), lines: Vec::new() }
    }

    /// Says how long a drain may take.
    pub fn drain_spec(&mut self, drain: DrainSpec) -> &mut Self {
        self.drain = drain;
        self
    }

    /// Adds a listener.
    pub fn listen(&mut self, spec: ListenerSpec, pipeline: Pipeline) -> &mut Self {
        self.lines.push((spec, pipeline));
        self
    }

    /// Binds every listener, or none: then it says which one could not be bound, and why. Must be called inside a tokio
    /// runtime.
    pub async fn start(self) -> Result<Running, StartError> {
        let mut bound = Vec::new();
        for (spec, pipeline) in self.lines {
            match bind(&self.transports, &spec, &pipeline).await {
                Ok(found) => bound.push((spec, pipeline, found)),
                Err(source) => return Err(StartError { listener: spec.name, endpoint: spec.endpoint, source }),
            }
        }
        let running = Running {
            lines: Vec::new(),
            switch: DrainSwitch::new(),
            drain: self.drain,
            doors: TaskTracker::new(),
            sockets: TaskTracker::new(),
            datagrams_cut: Arc::default(),
            cutter: Cutter(Arc::new(watch::Sender::new(false))),
        };
        Ok(bound.into_iter().fold(running, |running, (spec, pipeline, bound)| running.with(spec, pipeline, bound)))
    }
}

/// A listener that listens, what it was bound with, and the TLS around it.
type Bound = (Listener, BoxTransport, Option<tls::Server>);

async fn bind(transports: &Transports, spec: &ListenerSpec, pipeline: &Pipeline) -> Result<Bound, BoxError> {
    let scheme = match (&spec.tls, &spec.endpoint) {
        (Some(_), Endpoint::Tls(_)) => "tcp",
        (_, endpoint) => endpoint.scheme(),
    };
    let transport = transports.service(scheme).ok_or_else(|| {
        let known: Vec<_> = transports.list().map(|(scheme, ..)| scheme).collect();
        format!("there is no transport {scheme:?}; there are {}", known.join(", "))
    })?;
    // The header comes before everything else, so TLS goes around it.
    let transport = match &spec.proxy {
        Some(_) => BoxTransport::new(proxy::Receiver.layer(transport)),
        None => transport,
    };
    let tls = spec.tls.as_ref().map(tls::Server::load).transpose()?;
    let transport = match &tls {
        Some(server) => BoxTransport::new(server.layer(transport)),
        None => transport,
    };
    let request = Bind { endpoint: spec.endpoint.clone(), options: spec.socket.clone() };
    let listener = transport.clone().oneshot(request).await?;
    match (&listener, pipeline) {
        (Listener::Datagram(_), Pipeline { datagram: None, .. }) => {
            Err("it brings datagrams, and the handler wants connections".into())
        }
        (Listener::Stream(_), Pipeline { stream: None, .. }) => {
            Err("it brings connections, and the handler wants datagrams".into())
        }
        _ => Ok((listener, transport, tls)),
    }
}

/// A server that runs. Dropped, it cuts everything; [`drain`](Self::drain) is the polite way.
pub struct Running {
    lines: Vec<Line>,
    switch: DrainSwitch,
    drain: DrainSpec,
    /// The accept loops.
    doors: TaskTracker,
    /// The drivers of datagram sockets.
    sockets: TaskTracker,
    datagrams_cut: Arc<AtomicUsize>,
    cutter: Cutter,
}

struct Line {
    name: String,
    endpoint: Endpoint,
    lane: Arc<Lane>,
    tls: Option<tls::Server>,
}

/// What a drain came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drained {
    /// Connections that were open when the listeners closed, and datagrams that were under way at the deadline.
    pub open: usize,
    /// Connections, and datagrams under way, that had not finished and were cut.
    pub cut: usize,
}

/// Ends a drain early. Clones do the same.
#[derive(Debug, Clone)]
pub struct Cutter(Arc<watch::Sender<bool>>);

impl Cutter {
    /// Whatever is still open is cut now, or as soon as the drain begins.
    pub fn cut(&self) {
        self.0.send_replace(true);
    }

    async fn called(&self) {
        // An error would say that there is no sender any more, and we are one.
        let _ = self.0.subscribe().wait_for(|cut| *cut).await;
    }
}

impl Running {
    fn with(mut self, spec: ListenerSpec, pipeline: Pipeline, (listener, transport, tls): Bound) -> Self {
        let lane = Arc::new(Lane {
            name: spec.name.as_str().into(),
            drain: self.switch.signal(),
            gate: Gate::new(&spec.limits, &spec.rates, spec.access, spec.proxy),
            roster: Roster::default(),
            handshakes: Handshakes::new(spec.limits.handshakes),
        });
        let endpoint = listener.endpoint();
        tracing::info!(listener = spec.name, address = %endpoint, "listening");
        match (listener, pipeline) {
            (Listener::Stream(listener), Pipeline { stream: Some(service), .. }) => {
                let door = Door {
                    lane: lane.clone(),
                    handshake: spec.timeouts.handshake,
                    backlog: spec.socket.backlog,
                    service,
                    failed: Pace::default(),
                };
                let bind = Bind { endpoint: endpoint.clone(), options: spec.socket };
                self.doors.spawn(keep_open(door, listener, transport, bind));
            }
            (Listener::Datagram(socket), Pipeline { datagram: Some(driver), .. }) => {
                let (cut, lane) = (self.datagrams_cut.clone(), lane.clone());
                self.sockets.spawn(async move {
                    match AssertUnwindSafe(driver.serve(socket, lane.clone())).catch_unwind().await {
                        Ok(count) => drop(cut.fetch_add(count, SeqCst)),
                        Err(payload) => {
                            let error = Panicked::new(&*payload).to_string();
                            tracing::error!(listener = &*lane.name, error, "a listener is broken");
                        }
                    }
                });
            }
            // `bind` lets no other pair through.
            _ => {}
        }
        self.lines.push(Line { name: spec.name, endpoint, lane, tls });
        self
    }

    /// Each listener's name and where it listens, with the port that the system chose.
    pub fn addresses(&self) -> Vec<(String, Endpoint)> {
        self.lines.iter().map(|line| (line.name.clone(), line.endpoint.clone())).collect()
    }

    /// Where the only, or first, listener listens.
    pub fn address(&self) -> Option<&Endpoint> {
        self.lines.first().map(|line| &line.endpoint)
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.lines.iter().map(|line| line.lane.roster.len()).sum()
    }

    /// Waits until every listener has ended by itself and nobody is connected any more: only transports that run dry do
    /// that.
    pub async fn ended(&self) {
        for tasks in [&self.doors, &self.sockets] {
            tasks.close();
            tasks.wait().await;
        }
        for line in &self.lines {
            line.lane.roster.empty().await;
        }
    }

    /// A handle that ends a drain early.
    pub fn cutter(&self) -> Cutter {
        self.cutter.clone()
    }

    /// Stops politely: the listeners close after `announce`; connections that are idle close at once, busy ones when what is
    /// under way is answered; what is left at the deadline is cut.
    pub async fn drain(&self) -> Drained {
        tracing::info!(open = self.open(), "draining");
        tokio::select! {
            () = tokio::time::sleep(self.drain.announce) => {}
            () = self.cutter.called() => {}
        }
        let deadline = after(Instant::now(), self.drain.deadline);
        let gone: usize = self.lines.iter().map(|line| line.lane.roster.gone()).sum();
        self.switch.advance(Phase::Draining { deadline });
        // The doors take in whom the system has let in before, and close; then everybody is there to be counted and told.
        self.doors.close();
        let _ = tokio::time::timeout(LAST_CALL, self.doors.wait()).await;
        let open = self.lines.iter().map(|line| line.lane.roster.entered()).sum::<usize>() - gone;
        self.tell_all(Order::Leave);
        let by = tokio::select! {
            () = self.ended() => None,
            () = tokio::time::sleep_until(deadline) => Some(Order::Cut),
            () = self.cutter.called() => Some(Order::Kill),
        };
        let mut left = 0;
        if let Some(order) = by {
            self.switch.advance(Phase::Cutting);
            self.tell_all(order);
            if tokio::time::timeout(CUT_GRACE, self.ended()).await.is_err() {
                left = self.open();
            }
        }
        let cut = left
            + self.lines.iter().map(|line| line.lane.roster.cut()).sum::<usize>()
            + self.datagrams_cut.load(SeqCst);
        let open = open + self.datagrams_cut.load(SeqCst);
        tracing::info!(open, cut, "drained");
        Drained { open, cut }
    }

    /// Each listener's name, and the TLS around it.
    pub(super) fn secured(&self) -> impl Iterator<Item = (&str, Option<&tls::Server>)> {
        self.lines.iter().map(|line| (&*line.name, line.tls.as_ref()))
    }

    fn tell_all(&self, order: Order) {
        self.lines.iter().for_each(|line| line.lane.roster.tell_all(order));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.switch.advance(Phase::Cutting);
        self.tell_all(Order::Kill);
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("addresses", &self.addresses()).finish_non_exhaustive()
    }
}
