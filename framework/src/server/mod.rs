//! Servers: what listens, and how it starts and stops.
//!
//! [`Server`] is one listener with one handler, [`ListenerSet`] any number of them. Both give a [`Running`] server, which
//! drains when asked. This module knows nothing of bytes and messages.

mod accept_error;
mod acceptor;
mod bind;
mod connection_task;
mod handover;
mod listener;
mod listener_set;
mod reload;
mod reload_plan;
mod report;
mod running;
mod signals;
mod spec;

pub use handover::Inherited;
pub use listener_set::ListenerSet;
pub use reload::{Changes, ReloadError};
pub use report::{ListenerReport, ListenerStatus};
pub use running::{AbortHandle, Drained, Running};
pub use spec::{ListenerSpec, StartError};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower::{Layer, Service};

use crate::address::{Endpoint, EndpointError};
use crate::error::{BoxError, Result};
use crate::framing::{Framing, Raw};
use crate::handler::{Handler, HandlerLayer, StreamHandler};
use crate::layer::MessageStack;
use crate::pipeline::{ConnectionService, Pipeline};
use crate::settings::Access;
use crate::settings::ProxySettings;
use crate::settings::TlsSettings;
use crate::settings::{DrainSettings, Limits, Rates, SocketOptions, Timeouts};
use crate::transport::Incoming;
use crate::transport::{Transport, Transports};

/// One listener and one handler, put together.
///
/// Everything that is not said has the default that an operator gets: limits, deadlines, panic isolation, drain.
///
/// ```no_run
/// use switchboard::prelude::*;
///
/// struct Echo;
///
/// impl Handler for Echo {
///     type State = ();
///     async fn message(&self, _: &mut Context, message: Bytes) -> Result<Reply> {
///         Ok(Reply::send(message))
///     }
/// }
///
/// #[tokio::main]
/// async fn main() -> Result<()> {
///     Server::bind("tcp://127.0.0.1:9999").framing(Lines::default()).serve(Echo).await
/// }
/// ```
pub struct Server<F = Raw, L = ()> {
    framing: F,
    layer: L,
    plan: Plan,
}

/// Everything about a server that does not depend on the types of its messages.
struct Plan {
    endpoint: Result<Endpoint, EndpointError>,
    name: String,
    connection_layers: Vec<Box<dyn FnOnce(Pipeline) -> Pipeline + Send>>,
    transports: Transports,
    limits: Limits,
    timeouts: Timeouts,
    rates: Rates,
    access: Access,
    socket: SocketOptions,
    proxy: Option<ProxySettings>,
    tls: Option<TlsSettings>,
    drain: DrainSettings,
}

impl Server {
    /// A server that will listen on `endpoint`: `"tcp://127.0.0.1:9999"`, `"udp://[::]:53"`, `"unix:/run/app.sock"` … A text
    /// that is no address is told when the server starts.
    pub fn bind(endpoint: impl TryInto<Endpoint, Error: Into<EndpointError>>) -> Self {
        let plan = Plan {
            endpoint: endpoint.try_into().map_err(Into::into),
            name: "main".to_owned(),
            connection_layers: Vec::new(),
            transports: Transports::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            rates: Rates::default(),
            access: Access::default(),
            socket: SocketOptions::default(),
            proxy: None,
            tls: None,
            drain: DrainSettings::default(),
        };
        Self { framing: Raw::default(), layer: (), plan }
    }
}

impl<F, L> Server<F, L> {
    /// How bytes are cut into messages; [`Raw`] unless said.
    pub fn framing<F2: Framing>(self, framing: F2) -> Server<F2, L> {
        Server { framing, layer: self.layer, plan: self.plan }
    }

    /// A layer around the handler: it sees every message. The first that is added is the outermost; all of them are inside
    /// the [default stack](crate::layer).
    pub fn layer<L2>(self, layer: L2) -> Server<F, (L, L2)> {
        Server { framing: self.framing, layer: (self.layer, layer), plan: self.plan }
    }

    /// A layer around the driver: it sees every connection, not datagrams. The first that is added is the outermost.
    pub fn connection_layer<L2>(mut self, layer: L2) -> Self
    where
        L2: Layer<ConnectionService> + Send + 'static,
        L2::Service: Service<Incoming, Response = (), Error = BoxError> + Clone + Send + Sync + 'static,
        <L2::Service as Service<Incoming>>::Future: Send + 'static,
    {
        self.plan.connection_layers.push(Box::new(move |pipeline| pipeline.around(&layer)));
        self
    }

    /// Adds a transport of your own, for the schemes that it names.
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.plan.transports.add(transport);
        self
    }

    /// The listener's name in logs; `main` unless said.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.plan.name = name.into();
        self
    }

    /// How much at once.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.plan.limits = limits;
        self
    }

    /// How long.
    pub fn timeouts(mut self, timeouts: Timeouts) -> Self {
        self.plan.timeouts = timeouts;
        self
    }

    /// How fast one source may be.
    pub fn rates(mut self, rates: Rates) -> Self {
        self.plan.rates = rates;
        self
    }

    /// Who is let in; everybody unless said.
    pub fn access(mut self, access: Access) -> Self {
        self.plan.access = access;
        self
    }

    /// A proxy stands in front: its PROXY header (version 1 or 2) is required, and believed from these networks alone.
    pub fn proxy(mut self, settings: ProxySettings) -> Self {
        self.plan.proxy = Some(settings);
        self
    }

    /// How the sockets are made.
    pub fn socket(mut self, socket: SocketOptions) -> Self {
        self.plan.socket = socket;
        self
    }

    /// TLS around the transport, whichever that is: `tls://host:port`, but also a Unix socket. A file that is missing or wrong is
    /// told when the server starts.
    pub fn tls(mut self, settings: TlsSettings) -> Self {
        self.plan.tls = Some(settings);
        self
    }

    /// How long a drain may take; 30 s unless said.
    pub fn drain_deadline(mut self, deadline: Duration) -> Self {
        self.plan.drain.deadline = deadline;
        self
    }

    /// Listens, and answers with the running server.
    pub async fn start<H>(self, handler: H) -> Result<Running>
    where
        F: Framing,
        H: Handler<F::In, F::Out>,
        L: HandlerLayer<H, F::In, F::Out>,
    {
        let Self { framing, layer, plan } = self;
        let stack = MessageStack::new(&plan.timeouts, &plan.rates);
        let pipeline =
            Pipeline::of_handler(Arc::new(handler), Arc::new(framing), stack, layer, plan.limits, plan.timeouts);
        plan.start(pipeline).await
    }

    /// Listens and serves until SIGTERM or SIGINT (Ctrl-C), then drains; a second one cuts. An error if the server could not
    /// start, or if connections had to be cut.
    pub async fn serve<H>(self, handler: H) -> Result<()>
    where
        F: Framing,
        H: Handler<F::In, F::Out>,
        L: HandlerLayer<H, F::In, F::Out>,
    {
        signals::run(self.start(handler).await?).await
    }

    /// Like [`start`](Self::start), for a handler that owns the bytes. Framing and message layers do not apply.
    pub async fn start_stream<H: StreamHandler>(self, handler: H) -> Result<Running> {
        let pipeline = Pipeline::of_stream_handler(Arc::new(handler), self.plan.timeouts);
        self.plan.start(pipeline).await
    }

    /// Like [`serve`](Self::serve), for a handler that owns the bytes.
    pub async fn serve_stream<H: StreamHandler>(self, handler: H) -> Result<()> {
        signals::run(self.start_stream(handler).await?).await
    }
}

impl Plan {
    async fn start(self, pipeline: Pipeline) -> Result<Running> {
        let pipeline = self.connection_layers.into_iter().rev().fold(pipeline, |pipeline, around| around(pipeline));
        let mut spec = ListenerSpec::new(self.name, self.endpoint?);
        (spec.limits, spec.timeouts, spec.rates) = (self.limits, self.timeouts, self.rates);
        (spec.access, spec.socket, spec.proxy, spec.tls) = (self.access, self.socket, self.proxy, self.tls);
        let mut board = ListenerSet::new(self.transports);
        board.drain_spec(self.drain).listen(spec, pipeline);
        Ok(board.start().await?)
    }
}

impl<F, L> fmt::Debug for Server<F, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("endpoint", &self.plan.endpoint)
            .field("name", &self.plan.name)
            .finish_non_exhaustive()
    }
}
