//! The driver of connections of a `StreamHandler`: control signals and the idle timeout. The handler does all I/O.

use std::future::poll_fn;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tower::Service;

use crate::close_reason::CloseReason;
use crate::deadline_timer::DeadlineTimer;
use crate::driver::close_outcome::{CloseOutcome, reason_of};
use crate::driver::stream::linger::lingering_close;
use crate::error::{BoxError, Panicked, find_cause};
use crate::handler::{ByteStream, StreamHandler};
use crate::settings::{Timeouts, deadline_after};
use crate::transport::{Incoming, SessionFuture};

pub(crate) struct RawDriver<H> {
    pub(crate) handler: Arc<H>,
    pub(crate) timeouts: Timeouts,
    /// Every connection holds the driver, and so counts as a user of the handler.
    pub(crate) _user: TaskTrackerToken,
}

impl<H: StreamHandler> Service<Incoming> for Arc<RawDriver<H>> {
    type Response = ();
    type Error = BoxError;
    type Future = SessionFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, incoming: Incoming) -> Self::Future {
        let driver = self.clone();
        Box::pin(async move {
            let Incoming { connection, io, .. } = incoming;
            let idle = driver.timeouts.idle;
            let (stream, activity) = ByteStream::new(io, connection.clone());
            let outcome = {
                let serve = async { driver.handler.serve(connection.clone(), stream).await };
                let mut work = pin!(AssertUnwindSafe(serve).catch_unwind());
                let mut armed = deadline_after(activity.last(&connection), idle);
                let mut timer = pin!(DeadlineTimer::new(armed));
                poll_fn(|cx| {
                    if let Some(reason) = connection.poll_signal(cx.waker()).immediate_close_reason() {
                        return Poll::Ready(CloseOutcome::plain(reason));
                    }
                    if let Poll::Ready(result) = work.as_mut().poll(cx) {
                        return Poll::Ready(match result {
                            Ok(result) => outcome_of(result, activity.input_ended()),
                            Err(payload) => CloseOutcome::from_service(Panicked::new(&*payload).into()),
                        });
                    }
                    if idle.is_zero() {
                        return Poll::Pending;
                    }
                    let deadline = deadline_after(activity.last(&connection), idle);
                    if timer.has_fired() && deadline != armed {
                        armed = deadline;
                        timer.as_mut().reset(deadline);
                    }
                    timer.as_mut().poll(cx).map(|()| CloseOutcome::plain(CloseReason::Idle))
                })
                .await
            };
            connection.finish(outcome.reason);
            // `None`: the handler has moved the stream elsewhere.
            if let Some(mut io) = activity.take_io() {
                let last_write = (!activity.input_ended()).then(|| activity.last(&connection));
                lingering_close(&mut io, &connection, outcome.reason, last_write).await;
            }
            outcome.into_result()
        })
    }
}

fn outcome_of(result: Result<(), BoxError>, input_ended: bool) -> CloseOutcome {
    match result {
        Ok(()) if input_ended => CloseOutcome::plain(CloseReason::PeerClosed),
        Ok(()) => CloseOutcome::plain(CloseReason::HandlerClosed),
        Err(error) => {
            let disconnected = find_cause::<io::Error>(&*error).is_some_and(|error| {
                use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
                matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset)
            });
            let reason = if disconnected { CloseReason::IoError } else { reason_of(&*error) };
            CloseOutcome::new(reason, Some(error))
        }
    }
}
