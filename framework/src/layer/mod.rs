//! Layers stand between a driver and a handler and see every message, or between a listener and its driver and see every
//! connection.
//!
//! Any `tower::Layer` whose types fit will do. The built-in ones ask for a capability ([`Connected`]), not for a type, so
//! that one of them serves both seams. They count, wait and refuse in the call, and reserve nothing in `poll_ready`; what is
//! inside is not polled before its turn has come. What they count is shared by all clones; one that is off is a setting of
//! the layer.
//!
//! The default stack of every message, outermost first: [`Trace`], [`CatchPanic`], [`RatePerSource`], [`Timeout`], then
//! the layers that you add, then the handler.

mod concurrency;
mod panic;
mod rate;
mod timeout;
mod trace;

pub use concurrency::{Concurrency, ConcurrencyFuture, ConcurrencyService};
pub use panic::{CatchPanic, CatchPanicFuture, CatchPanicService, Panicked};
pub use rate::{OverRate, RateFuture, RatePerSource, RateService};
pub use timeout::{Elapsed, Timeout, TimeoutFuture, TimeoutService};
pub use trace::{Trace, TraceFuture, TraceService};

use tower::Layer;

use crate::connection::{Connection, Kind};
use crate::error::BoxError;
use crate::handler::Request;
use crate::settings::{Rates, Timeouts};
use crate::transport::Incoming;

/// A request that knows whose it is: a message, or a connection at its start.
pub trait Connected {
    /// Whose it is.
    fn connection(&self) -> &Connection;

    /// Whether a layer may let it wait. A message on a stream may: reading stops until it has been handled, and the peer
    /// notices nothing worse. A datagram, or a connection at its start, is better refused.
    fn may_wait(&self) -> bool;
}

impl<In> Connected for Request<In> {
    fn connection(&self) -> &Connection {
        self.connection()
    }

    fn may_wait(&self) -> bool {
        self.connection().kind() == Kind::Stream
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

/// The layers that every message passes before those of the developer: written once, here.
///
/// Made once a listener; each connection has services made by it, and they share what it counts. Around a handler without
/// further layers it needs no services: [`around`](Self::around) a call is the same.
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

    /// The deadline of a call.
    pub(crate) fn deadline(&self) -> Timeout {
        self.timeout
    }

    /// Puts all of them around one call for a message.
    #[inline]
    pub(crate) fn around<F, T>(&self, connection: &Connection, call: F) -> InStack<F>
    where
        F: Future<Output = Result<T, BoxError>>,
    {
        let call = self.rate.around(connection, self.timeout.around(call));
        self.trace.around(connection, self.catch_panic.around(call))
    }
}

type InStack<F> = TraceFuture<CatchPanicFuture<RateFuture<TimeoutFuture<F>>>>;

impl<S> Layer<S> for MessageStack {
    type Service = TraceService<CatchPanicService<RateService<TimeoutService<S>>>>;

    fn layer(&self, inner: S) -> Self::Service {
        let inner = self.rate.layer(self.timeout.layer(inner));
        self.trace.layer(self.catch_panic.layer(inner))
    }
}
