//! Runs the handshake of a connection within its timeout and `limits.handshakes`, until the connection is signalled to
//! close.

use std::future::poll_fn;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;

use crate::close_reason::CloseReason;
use crate::connection::{Connection, ControlSignal, ListenerContext};
use crate::deadline_timer;
use crate::error::Panicked;
use crate::transport::accepted::{HandshakeContext, HandshakeState};
use crate::transport::box_io::BoxIo;

/// A TLS or PROXY handshake failed, timed out or was aborted. Displays the cause.
///
/// A connection layer that returns this error closes the connection with its [`reason`](Self::reason).
#[derive(Debug, thiserror::Error)]
#[error("{}", .error.as_deref().unwrap_or("the handshake was aborted, because the connection must close"))]
pub struct HandshakeFailure {
    reason: CloseReason,
    /// `None`: the connection was signalled to close.
    pub(crate) error: Option<String>,
}

impl HandshakeFailure {
    /// Why the connection closes.
    pub fn reason(&self) -> CloseReason {
        self.reason
    }

    fn failed(error: String) -> Self {
        Self { reason: CloseReason::Handshake, error: Some(error) }
    }
}

/// Runs a handshake, until it ends, its timeout passes or the connection is signalled to close. A failed handshake
/// counts for `rate.failed_handshakes_per_source`.
///
/// If admission has rejected the effective address, the connection has a close reason already.
pub(crate) async fn establish(
    handshake: HandshakeState,
    timeout: Duration,
    connection: Connection,
    listener_context: Arc<ListenerContext>,
) -> Result<BoxIo, HandshakeFailure> {
    let admission = &listener_context.admission;
    let result = {
        let limit = if timeout.is_zero() { Duration::MAX } else { timeout };
        let _handshake = listener_context.handshakes.begin(&connection, admission.limits.handshakes);
        // No message can arrive before the handshake is complete, so a drain does not wait for it.
        let signal = poll_fn(|cx| match connection.poll_signal(cx.waker()) {
            ControlSignal::Continue => Poll::Pending,
            signal => Poll::Ready(signal),
        });
        let established = AssertUnwindSafe(handshake.establish(HandshakeContext::new(&connection, &listener_context)))
            .catch_unwind()
            .map(|established| established.unwrap_or_else(|payload| Err(io::Error::other(Panicked::new(&*payload)))));
        tokio::select! {
            biased; // a complete handshake takes precedence over a signal
            established = deadline_timer::timeout(limit, established) => match (connection.close_reason(), established) {
                // The transport may return any error, or none, for a rejected client.
                (Some(reason), Ok(_)) => Err(HandshakeFailure { reason, error: None }),
                (_, Ok(established)) => established.map_err(|error| HandshakeFailure::failed(error.to_string())),
                (_, Err(_)) => {
                    Err(HandshakeFailure::failed(format!("the handshake did not finish within {timeout:?}")))
                }
            },
            signal = signal => Err(if signal == ControlSignal::AbortHandshake {
                let error = "limits.handshakes is reached: the oldest handshake of the source with most is aborted";
                HandshakeFailure { reason: CloseReason::Limit, error: Some(error.to_owned()) }
            } else {
                let reason = signal.close_reason().unwrap_or(CloseReason::Handshake);
                HandshakeFailure { reason, error: None }
            }),
        }
    };
    if result.as_ref().is_err_and(|failure| failure.reason == CloseReason::Handshake) {
        admission.handshake_failed(&connection);
    }
    result
}
