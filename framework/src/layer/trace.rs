//! A log event at level debug for each call: its duration and its result.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::Instant;

use crate::connection::Connection;
use crate::error::{BoxError, Result, chain};
use crate::layer::call::{CallLayer, CallOutput, Connected, PollCall, layer_options};

/// Logs each call when it ends. While level debug is off, a call costs one comparison.
#[derive(Debug, Clone, Copy)]
pub struct Trace {
    event: &'static str,
}

impl Trace {
    /// Logs `message handled`.
    pub fn messages() -> Self {
        Self { event: "message handled" }
    }

    /// Logs `reply ready`.
    pub(crate) fn later_replies() -> Self {
        Self { event: "reply ready" }
    }

    /// Logs `connection served`.
    pub fn connections() -> Self {
        Self { event: "connection served" }
    }
}

layer_options! {
    /// Options of the `trace` layer.
    TraceOptions {}
    "trace" => Trace: "logs each handler call at debug level",
    |_: Self| Ok(Trace::messages())
}

impl<R: Connected> CallLayer<R> for Trace {
    /// Boxed, because most calls are not logged.
    type Call = Option<Box<TracedCall>>;

    #[inline]
    fn begin(&self, request: &R) -> Self::Call {
        tracing::enabled!(tracing::Level::DEBUG).then(|| {
            let connection = request.connection().clone();
            Box::new(TracedCall { event: self.event, connection, start: Instant::now() })
        })
    }
}

/// A call that is logged when it ends.
#[derive(Debug)]
pub struct TracedCall {
    event: &'static str,
    connection: Connection,
    start: Instant,
}

impl TracedCall {
    #[cold]
    fn log(&self, error: Option<&BoxError>) {
        let Self { event, connection, start } = self;
        let (listener, peer, id) = (connection.listener(), connection.peer(), connection.id());
        let micros = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let error = error.map(|error| chain(&**error));
        tracing::debug!(listener, %peer, connection = id, micros, error, "{event}");
    }
}

impl PollCall for Option<Box<TracedCall>> {
    #[inline]
    fn poll_call<T: CallOutput>(
        &mut self,
        call: Pin<&mut impl Future<Output = Result<T>>>,
        cx: &mut Context,
    ) -> Poll<Result<T>> {
        let result = ready!(call.poll(cx));
        if let Some(traced) = self {
            traced.log(result.as_ref().err());
        }
        Poll::Ready(result)
    }
}
