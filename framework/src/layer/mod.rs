//! Layers: per message, between a driver and a handler; or per connection, between a listener and its driver.
//!
//! Any `tower::Layer` with matching types works. The built-in layers work at both places, because they require the
//! capability [`Connected`] and not a request type. They do their work in `call` and reserve nothing in `poll_ready`.
//! A layer does not poll the call inside it before it has granted the call. All clones of a layer share its counts.
//!
//! The default layers of every message, outermost first: [`Trace`], [`CatchPanic`], [`RatePerSource`], [`Timeout`],
//! then the layers that you add, then the handler.

mod call;
mod concurrency;
mod instance;
mod panic;
mod rate;
mod timeout;
mod trace;

pub use call::{CallLayer, LayerFuture, LayerService, PollCall};
pub use concurrency::Concurrency;
pub(crate) use instance::LayerChain;
pub use instance::{BoxMessageService, LayerInstance, NamedLayer};
pub use panic::{CatchPanic, Panicked};
pub use rate::{OverRate, RatePerSource};
pub use timeout::{Elapsed, Timeout};
pub use trace::Trace;

pub(crate) use {concurrency::ConcurrencyOptions, rate::RateOptions, timeout::TimeoutOptions, trace::TraceOptions};

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use tower::Layer;

use crate::connection::{Connection, Kind};
use crate::error::Result;
use crate::handler::Request;
use crate::settings::{Rates, Timeouts};
use crate::transport::Incoming;

/// A request with a known connection: a message, or a new connection.
pub trait Connected {
    /// The connection of the request.
    fn connection(&self) -> &Connection;

    /// Whether a layer may delay the request.
    ///
    /// A message on a stream may wait: the server reads no further message of that connection meanwhile. A datagram or
    /// a new connection is better rejected.
    fn may_wait(&self) -> bool {
        self.connection().kind() == Kind::Stream
    }
}

impl Connected for Connection {
    #[inline]
    fn connection(&self) -> &Connection {
        self
    }
}

impl<In> Connected for Request<In> {
    fn connection(&self) -> &Connection {
        self.connection()
    }
}

impl Connected for Incoming {
    fn connection(&self) -> &Connection {
        &self.connection
    }

    fn may_wait(&self) -> bool {
        false
    }
}

/// The options of a built-in layer that a configuration can name.
pub(crate) trait LayerOptions: DeserializeOwned + JsonSchema + 'static {
    const NAME: &str;
    const SUMMARY: &str;
    type Layer;

    fn build(self) -> Result<Self::Layer>;
}

/// The default layers of every message. One stack per listener: its connections share the counts.
#[derive(Debug, Clone)]
pub(crate) struct MessageStack {
    trace: Trace,
    catch_panic: CatchPanic,
    rate: RatePerSource,
    timeout: Timeout,
}

impl MessageStack {
    pub(crate) fn new(timeouts: &Timeouts, rates: &Rates) -> Self {
        Self {
            trace: Trace::messages(),
            catch_panic: CatchPanic,
            rate: RatePerSource::new(rates.messages_per_source, rates.burst),
            timeout: Timeout::new(timeouts.message),
        }
    }

    /// The timeout of one call.
    pub(crate) fn timeout(&self) -> Timeout {
        self.timeout
    }

    /// Wraps one call for a message. Where no other layers exist, no services are needed.
    #[inline]
    pub(crate) fn wrap<F, T>(&self, connection: &Connection, call: F) -> impl Future<Output = Result<T>> + use<F, T>
    where
        F: Future<Output = Result<T>>,
    {
        let call = self.rate.wrap(connection, self.timeout.wrap(connection, call));
        self.trace.wrap(connection, self.catch_panic.wrap(connection, call))
    }
}

type Wrapped<S, L> = LayerService<S, L>;

impl<S> Layer<S> for MessageStack {
    type Service = Wrapped<Wrapped<Wrapped<Wrapped<S, Timeout>, RatePerSource>, CatchPanic>, Trace>;

    fn layer(&self, inner: S) -> Self::Service {
        let inner = self.rate.layer(self.timeout.layer(inner));
        self.trace.layer(self.catch_panic.layer(inner))
    }
}

call::tower_layers!(CatchPanic, Concurrency, RatePerSource, Timeout, Trace);
