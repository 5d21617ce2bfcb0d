//! The default layers of every message.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio_util::task::task_tracker::TaskTrackerToken;
use tower::Layer;

use super::timeout::Timer;
use super::trace::TracedCall;
use super::{CatchPanic, Concurrency, LayerService, RatePerSource, Timeout, Trace};
use crate::connection::Connection;
use crate::error::Result;
use crate::layer::call::{CallLayer, CallOutput, PollCall};
use crate::settings::{Limits, Rates, Timeouts};

/// The default layers of every message. One stack per listener: its connections share the counts.
#[derive(Debug, Clone)]
pub(crate) struct MessageStack {
    rate: RatePerSource,
    timeout: Timeout,
    pub(crate) limits: Limits,
    /// Every connection holds the stack, and so counts as a user of the handler.
    _user: TaskTrackerToken,
}

/// The layers around the future of a later reply.
pub(crate) struct LaterCall {
    trace: Option<Box<TracedCall>>,
    timer: Timer,
}

impl LaterCall {
    pub(crate) fn poll<T: CallOutput>(
        &mut self,
        call: Pin<&mut impl Future<Output = Result<T>>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T>> {
        let (Self { trace, timer }, mut call) = (self, call);
        let mut call = pin!(poll_fn(move |cx| CatchPanic.poll_call(call.as_mut(), cx)));
        let call = pin!(poll_fn(move |cx| timer.poll_call(call.as_mut(), cx)));
        trace.poll_call(call, cx)
    }
}

impl MessageStack {
    pub(crate) fn new(limits: &Limits, timeouts: &Timeouts, rates: &Rates, user: TaskTrackerToken) -> Self {
        Self {
            limits: *limits,
            rate: RatePerSource::new(rates.messages_per_source, rates.burst),
            timeout: Timeout::new(timeouts.message),
            _user: user,
        }
    }

    /// The timeout of one call.
    pub(crate) fn timeout(&self) -> Timeout {
        self.timeout
    }

    /// Begins the call of a later reply.
    pub(crate) fn begin_later(&self, connection: &Connection) -> LaterCall {
        LaterCall { trace: Trace::later_replies().begin(connection), timer: self.timeout.begin(connection) }
    }

    /// Wraps one call for a message. Where no other layers exist, no services are needed.
    #[inline]
    pub(crate) fn wrap<F: Future<Output = Result<T>>, T: CallOutput>(
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
