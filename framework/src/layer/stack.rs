//! The default layers of every message.

use tokio_util::task::task_tracker::TaskTrackerToken;
use tower::Layer;

use super::{CallLayer, CatchPanic, Concurrency, LayerService, RatePerSource, Timeout, Trace};
use crate::connection::Connection;
use crate::error::Result;
use crate::settings::{Rates, Timeouts};

/// The default layers of every message. One stack per listener: its connections share the counts.
#[derive(Debug, Clone)]
pub(crate) struct MessageStack {
    rate: RatePerSource,
    timeout: Timeout,
    /// Every connection holds the stack, and so counts as a user of the handler.
    _user: TaskTrackerToken,
}

impl MessageStack {
    pub(crate) fn new(timeouts: &Timeouts, rates: &Rates, user: TaskTrackerToken) -> Self {
        Self {
            rate: RatePerSource::new(rates.messages_per_source, rates.burst),
            timeout: Timeout::new(timeouts.message),
            _user: user,
        }
    }

    /// The timeout of one call.
    pub(crate) fn timeout(&self) -> Timeout {
        self.timeout
    }

    /// Wraps one call for a message. Where no other layers exist, no services are needed.
    #[inline]
    pub(crate) fn wrap<F: Future<Output = Result<T>>, T>(
        &self,
        connection: &Connection,
        call: F,
    ) -> impl Future<Output = Result<T>> + use<F, T> {
        let call = self.rate.wrap(connection, self.timeout.wrap(connection, call));
        Trace::messages().wrap(connection, CatchPanic.wrap(connection, call))
    }
}

type Wrapped<S, L> = LayerService<S, L>;

impl<S> Layer<S> for MessageStack {
    type Service = Wrapped<Wrapped<Wrapped<Wrapped<S, Timeout>, RatePerSource>, CatchPanic>, Trace>;

    fn layer(&self, inner: S) -> Self::Service {
        let inner = self.rate.layer(self.timeout.layer(inner));
        Trace::messages().layer(CatchPanic.layer(inner))
    }
}

/// Makes a `tower::Layer` of each built-in layer: coherence forbids one implementation for every [`CallLayer`].
macro_rules! tower_layers {
    ($($layer:ty),*) => {$(
        impl<S> Layer<S> for $layer {
            type Service = LayerService<S, Self>;

            fn layer(&self, inner: S) -> Self::Service {
                LayerService::new(inner, self.clone())
            }
        }
    )*};
}

tower_layers!(CatchPanic, Concurrency, RatePerSource, Timeout, Trace);
