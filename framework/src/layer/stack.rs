//! The default layers of every message.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use tokio_util::task::task_tracker::TaskTrackerToken;
use tower::Layer;
use tracing::level_filters::LevelFilter;

use super::rate::Permit;
use super::timeout::Timer;
use super::trace::TracedCall;
use super::{CatchPanic, Concurrency, LayerService, RatePerSource, Timeout, Trace};
use crate::connection::Connection;
use crate::error::Result;
use crate::layer::call::{CallLayer, CallOutput, PollCall};
use crate::rate_limiter::SharedBy;
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

/// The layers around one call: of a handler for a message, or of the future of a later reply.
pub(crate) struct StackCall {
    trace: Option<Box<TracedCall>>,
    permit: Permit,
    timer: Timer,
}

impl StackCall {
    pub(crate) fn poll<T: CallOutput>(
        &mut self,
        call: Pin<&mut impl Future<Output = Result<T>>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<T>> {
        let (Self { trace, permit, timer }, mut call) = (self, call);
        let mut call = pin!(poll_fn(move |cx| timer.poll_call(call.as_mut(), cx)));
        let mut call = pin!(poll_fn(move |cx| permit.poll_call(call.as_mut(), cx)));
        let call = pin!(poll_fn(move |cx| CatchPanic.poll_call(call.as_mut(), cx)));
        trace.poll_call(call, cx)
    }
}

impl MessageStack {
    pub(crate) fn new(
        limits: &Limits,
        timeouts: &Timeouts,
        rates: &Rates,
        shared_by: Option<SharedBy>,
        user: TaskTrackerToken,
    ) -> Self {
        Self {
            limits: *limits,
            rate: RatePerSource::shared(rates.messages_per_source, rates.burst, shared_by),
            timeout: Timeout::new(timeouts.message),
            _user: user,
        }
    }

    /// Whether the layers do nothing for a call that is ready immediately, except to catch a panic.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        !self.rate.is_limited() && LevelFilter::current() < LevelFilter::DEBUG
    }

    /// The timeout of one call.
    pub(crate) fn timeout(&self) -> Timeout {
        self.timeout
    }

    /// Begins a call for a message. Where no other layers exist, no services are needed.
    pub(crate) fn begin(&self, connection: &Connection) -> StackCall {
        let (permit, timer) = (self.rate.begin(connection), self.timeout.begin(connection));
        StackCall { trace: Trace::messages().begin(connection), permit, timer }
    }

    /// Begins the call of a later reply.
    pub(crate) fn begin_later(&self, connection: &Connection) -> StackCall {
        let (permit, timer) = (Permit::Granted, self.timeout.begin(connection));
        StackCall { trace: Trace::later_replies().begin(connection), permit, timer }
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
