//! The builder of a server with one listener and one handler.

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use futures_util::stream;
use tower::{Layer, Service};

use crate::address::{Endpoint, EndpointError};
use crate::bans::Bans;
use crate::error::{BoxError, Result};
use crate::fleet::Fleet;
use crate::framing::{Framing, Raw};
use crate::handler::{Handler, HandlerLayer, LayerBounds, StreamHandler};
use crate::listener_spec::{ListenerSpec, listener_setters};
use crate::pipeline::HandlerInstance;
#[cfg(feature = "script")]
use crate::recorder::Recorder;
use crate::server::listener_set::ListenerSet;
use crate::server::run::{self, exit_code};
use crate::server::running::{Drained, Running};
use crate::settings::DrainSettings;
use crate::transport::{ConnectionService, Incoming, Transport, Transports};

/// Builds a server with one listener and one handler.
///
/// Settings that are not set have the same defaults as in the configuration file.
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
/// async fn main() -> std::process::ExitCode {
///     Server::bind("tcp://127.0.0.1:9999").framing(Lines::default()).run(Echo).await
/// }
/// ```
#[must_use = "a server does nothing until it is started"]
pub struct Server<F = Raw, L = ()> {
    framing: F,
    layer: L,
    plan: Plan,
}

/// The parts of a server that do not depend on the types of its messages.
struct Plan {
    spec: ListenerSpec,
    /// An error of the address; `spec` then has no valid endpoint.
    invalid: Option<EndpointError>,
    connection_layers: Vec<Box<dyn FnOnce(HandlerInstance) -> HandlerInstance + Send>>,
    transports: Transports,
    drain: DrainSettings,
    bans: Bans,
}

impl Server {
    /// A server on `endpoint`: `"tcp://127.0.0.1:9999"`, `"udp://[::]:53"`, `"unix:/run/app.sock"` … An invalid address
    /// is an error of [`start`](Self::start).
    pub fn bind(endpoint: impl TryInto<Endpoint, Error: Into<EndpointError>>) -> Self {
        let (endpoint, invalid) = match endpoint.try_into() {
            Ok(endpoint) => (endpoint, None),
            Err(error) => (Endpoint::Memory(String::new()), Some(error.into())),
        };
        let plan = Plan {
            spec: ListenerSpec::new("main", endpoint),
            invalid,
            connection_layers: Vec::new(),
            transports: Transports::default(),
            drain: DrainSettings::default(),
            bans: Bans::default(),
        };
        Self { framing: Raw::default(), layer: (), plan }
    }
}

impl<F, L> Server<F, L> {
    /// Sets the framing. The default is [`Raw`].
    pub fn framing<F2: Framing>(self, framing: F2) -> Server<F2, L> {
        Server { framing, layer: self.layer, plan: self.plan }
    }

    /// Adds a layer around the handler, called per message. The first added layer is the outermost. All of them are
    /// inside the [default layers](crate::layer).
    pub fn layer<L2: LayerBounds>(self, layer: L2) -> Server<F, (L, L2)> {
        Server { framing: self.framing, layer: (self.layer, layer), plan: self.plan }
    }

    /// Adds a layer around the driver, called per connection and not for datagrams. The first added layer is the
    /// outermost.
    pub fn connection_layer<L2>(mut self, layer: L2) -> Self
    where
        L2: Layer<ConnectionService> + Send + Sync + 'static,
        L2::Service: Service<Incoming, Response = (), Error = BoxError> + Clone + Send + Sync + 'static,
        <L2::Service as Service<Incoming>>::Future: Send + 'static,
    {
        self.plan.connection_layers.push(Box::new(move |handler| handler.around(layer)));
        self
    }

    /// Adds a transport for its schemes.
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.plan.transports.add(transport);
        self
    }

    /// Sets the name of the listener in logs and metrics. The default is `main`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.plan.spec.name = name.into();
        self
    }

    listener_setters!();

    fn spec_mut(&mut self) -> &mut ListenerSpec {
        &mut self.plan.spec
    }

    /// Sets the timeout of a drain. The default is 30 s.
    pub fn drain_deadline(mut self, deadline: Duration) -> Self {
        self.plan.drain.deadline = deadline;
        self
    }

    /// Shares limits, bans and the rooms of [hubs](crate::hub::Hub::share) with the other instances of a fleet.
    pub fn fleet(mut self, fleet: Fleet) -> Self {
        self.plan.spec.fleet = Some(fleet);
        self
    }

    /// Sets the bans of the server; see [`ListenerSet::bans`].
    pub fn bans(mut self, bans: Bans) -> Self {
        self.plan.bans = bans;
        self
    }

    /// Records the last messages of each connection.
    #[cfg(feature = "script")]
    pub fn recorder(mut self, recorder: Recorder) -> Self {
        self.plan.spec.recorder = Some(recorder);
        self
    }

    /// Starts the handler, binds the endpoint and starts serving.
    ///
    /// # Errors
    ///
    /// The settings are invalid, the handler cannot be started, or the endpoint cannot be bound.
    pub async fn start<H>(self, handler: H) -> Result<Running>
    where
        F: Framing,
        H: Handler<F::In, F::Out>,
        L: HandlerLayer<H, F::In, F::Out>,
    {
        Ok(self.listeners(handler)?.start().await?)
    }

    /// Serves until SIGTERM or SIGINT (Ctrl-C), then drains. A second signal aborts the remaining connections. A signal
    /// during the start ends the start.
    ///
    /// The exit code is 0 after a complete drain, 1 if the server could not start, and 3 if connections were aborted or
    /// the handler's `stop` failed.
    /// The error is logged; without a `tracing` subscriber it is written to standard error.
    pub async fn run<H>(self, handler: H) -> ExitCode
    where
        F: Framing,
        H: Handler<F::In, F::Out>,
        L: HandlerLayer<H, F::In, F::Out>,
    {
        exit_code(self.listeners(handler)).await
    }

    /// Like [`run`](Self::run), with a result instead of an exit code.
    ///
    /// # Errors
    ///
    /// The server could not start, connections were aborted, or the handler's `stop` failed.
    pub async fn serve<H>(self, handler: H) -> Result<()>
    where
        F: Framing,
        H: Handler<F::In, F::Out>,
        L: HandlerLayer<H, F::In, F::Out>,
    {
        run::run(self.listeners(handler)).await.map_err(|failure| failure.error)
    }

    /// Serves until `stop` resolves, then drains.
    ///
    /// ```
    /// use switchboard::prelude::*;
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// let echo = handler_fn(|_: Context, message: Bytes| async move { Ok(Reply::send(message)) });
    /// let stop = tokio::time::sleep(Duration::from_millis(1));
    /// let drained = Server::bind("tcp://127.0.0.1:0").serve_until(echo, stop).await?;
    /// assert_eq!(drained.cut, 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The server could not start.
    pub async fn serve_until<H>(self, handler: H, stop: impl Future<Output = ()>) -> Result<Drained>
    where
        F: Framing,
        H: Handler<F::In, F::Out>,
        L: HandlerLayer<H, F::In, F::Out>,
    {
        let running = self.start(handler).await?;
        Ok(running.serve_until(stream::once(stop)).await)
    }

    /// Like [`start`](Self::start), for a handler of the raw byte stream. Framing and message layers do not apply.
    ///
    /// # Errors
    ///
    /// The settings are invalid, the handler cannot be started, or the endpoint cannot be bound.
    pub async fn start_stream<H: StreamHandler>(self, handler: H) -> Result<Running> {
        Ok(self.plan.listeners(HandlerInstance::stream(handler))?.start().await?)
    }

    /// Like [`run`](Self::run), for a handler of the raw byte stream.
    pub async fn run_stream<H: StreamHandler>(self, handler: H) -> ExitCode {
        exit_code(self.plan.listeners(HandlerInstance::stream(handler))).await
    }

    /// Like [`serve`](Self::serve), for a handler of the raw byte stream.
    ///
    /// # Errors
    ///
    /// The server could not start, connections were aborted, or the handler's `stop` failed.
    pub async fn serve_stream<H: StreamHandler>(self, handler: H) -> Result<()> {
        let listeners = self.plan.listeners(HandlerInstance::stream(handler));
        run::run(listeners).await.map_err(|failure| failure.error)
    }

    fn listeners<H>(self, handler: H) -> Result<ListenerSet>
    where
        F: Framing,
        H: Handler<F::In, F::Out>,
        L: HandlerLayer<H, F::In, F::Out>,
    {
        let Self { framing, layer, plan } = self;
        plan.listeners(HandlerInstance::layered(handler, framing, layer))
    }
}

impl Plan {
    fn listeners(self, handler: HandlerInstance) -> Result<ListenerSet> {
        if let Some(error) = self.invalid {
            return Err(error.into());
        }
        let handler = self.connection_layers.into_iter().rev().fold(handler, |handler, around| around(handler));
        let mut listeners = ListenerSet::new(self.transports);
        listeners.drain_settings(self.drain).bans(self.bans).listen(self.spec, &handler);
        Ok(listeners)
    }
}

impl<F, L> fmt::Debug for Server<F, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("spec", &self.plan.spec).finish_non_exhaustive()
    }
}
