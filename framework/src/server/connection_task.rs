//! The task of one connection: handshake, service, logging.

use std::future::poll_fn;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::Either;
use tower::{Service, ServiceExt};

use crate::close_reason::CloseReason;
use crate::connection::{Admission, Connection, ConnectionGuard, ControlSignal, ListenerContext};
use crate::deadline_timer;
use crate::driver::reason_of;
use crate::error::chain;
use crate::layer::Panicked;
use crate::pipeline::ConnectionService;
use crate::transport::{BoxIo, HandshakeContext, HandshakeState, Incoming};

/// The tracing target of all events of connections. Log filters of operators depend on it.
const TARGET: &str = "switchboard::connection";

pub(super) fn spawn(
    service: ConnectionService,
    handshake: HandshakeState,
    handshake_timeout: Duration,
    connection: Connection,
    guard: ConnectionGuard,
    listener_context: Arc<ListenerContext>,
) {
    match handshake {
        HandshakeState::Ready(io) => drop(tokio::spawn(serve(service, io, connection, guard))),
        handshake => {
            // Boxed, so that an open connection does not keep the memory of its handshake.
            let context = listener_context.clone();
            let handshake = Box::pin(establish(handshake, handshake_timeout, connection.clone(), context));
            tokio::spawn(async move {
                match handshake.await {
                    Ok(io) => {
                        drop(listener_context);
                        serve(service, io, connection, guard).await;
                    }
                    Err(failure) => failure.close(&connection, &listener_context.admission),
                }
            });
        }
    }
}

/// Serves an established connection. The size of the returned future is part of the memory per connection.
fn serve(
    mut service: ConnectionService,
    io: BoxIo,
    connection: Connection,
    guard: ConnectionGuard,
) -> impl Future<Output = ()> + Send {
    let incoming = Incoming { connection: connection.clone(), io };
    async move {
        let served = async move {
            let call = service.ready().await?.call(incoming);
            drop(service);
            call.await
        };
        let served = AssertUnwindSafe(served).catch_unwind();
        let served = if connection.is_of_proxy() {
            Either::Left(Box::pin(log_opened_later(&connection, served)))
        } else {
            log_opened(&connection);
            Either::Right(served)
        };
        let served = served.await;
        let error = served.unwrap_or_else(|payload| Err(Panicked::new(&*payload).into())).err();
        // A driver has already set the reason. A layer that rejects the connection has not.
        connection.finish(error.as_ref().map_or(CloseReason::HandlerClosed, |error| reason_of(&**error)));
        log_closed(&connection, error.map(|error| chain(&*error)).as_deref());
        drop(guard);
    }
}

/// Logs `connection opened` when the client has sent something, or at the end. Only then is it known whether the
/// connection is a health check of a proxy.
async fn log_opened_later<T>(connection: &Connection, served: impl Future<Output = T>) -> T {
    let (mut served, mut is_logged) = (pin!(served), false);
    poll_fn(|cx| {
        let output = served.as_mut().poll(cx);
        if !is_logged && (output.is_ready() || connection.bytes_in() > 0) {
            is_logged = true;
            log_opened(connection);
        }
        output
    })
    .await
}

/// A connection that ended before it was established.
enum Failure {
    /// Admission rejected the effective address, and logged it.
    Rejected,
    /// The handshake failed or was aborted.
    Handshake(CloseReason, Option<String>),
}

impl Failure {
    fn close(self, connection: &Connection, admission: &Admission) {
        match self {
            Self::Rejected => {}
            Self::Handshake(reason, error) => {
                if reason == CloseReason::Handshake {
                    admission.handshake_failed(connection);
                }
                log_opened(connection);
                connection.finish(reason);
                log_closed(connection, error.as_deref());
            }
        }
    }
}

/// Runs the handshake, until it ends, its timeout passes or the connection is signalled to close.
async fn establish(
    handshake: HandshakeState,
    timeout: Duration,
    connection: Connection,
    listener_context: Arc<ListenerContext>,
) -> Result<BoxIo, Failure> {
    let limit = if timeout.is_zero() { Duration::MAX } else { timeout };
    let _handshake = listener_context.handshakes.begin(&connection, listener_context.admission.limits.handshakes);
    // No message can have arrived before the handshake is complete, so a drain does not wait for it.
    let signal = poll_fn(|cx| match connection.poll_signal(cx.waker()) {
        ControlSignal::Continue => Poll::Pending,
        signal => Poll::Ready(signal),
    });
    let established = AssertUnwindSafe(handshake.establish(HandshakeContext::new(&connection, &listener_context)))
        .catch_unwind()
        .map(|established| established.unwrap_or_else(|payload| Err(io::Error::other(Panicked::new(&*payload)))));
    tokio::select! {
        biased; // a complete handshake takes precedence over a signal
        established = deadline_timer::timeout(limit, established) => match established {
            // The transport may return any error, or none, for a rejected client.
            Ok(_) if connection.close_reason().is_some() => Err(Failure::Rejected),
            Ok(established) => established
                .map_err(|error| Failure::Handshake(CloseReason::Handshake, Some(error.to_string()))),
            Err(_) => {
                let error = format!("the handshake did not finish within {timeout:?}");
                Err(Failure::Handshake(CloseReason::Handshake, Some(error)))
            }
        },
        signal = signal => Err(if signal == ControlSignal::AbortHandshake {
            let error = "limits.handshakes is reached: the oldest handshake of the source with most is aborted";
            Failure::Handshake(CloseReason::Limit, Some(error.to_owned()))
        } else {
            Failure::Handshake(signal.immediate_close_reason().unwrap_or(CloseReason::Drain), None)
        }),
    }
}

/// Logs at level info. Logs at debug if the listener asks for it, and for a health check of a proxy, which names no
/// client and sends nothing.
macro_rules! log {
    ($connection:expr, $($event:tt)+) => {
        let is_check = $connection.bytes_in() == 0 && $connection.is_of_proxy();
        if $connection.listener_info().debug_log || is_check {
            tracing::debug!(target: TARGET, $($event)+);
        } else {
            tracing::info!(target: TARGET, $($event)+);
        }
    };
}

fn log_opened(connection: &Connection) {
    let (listener, peer) = (connection.listener(), connection.peer());
    let proxy = connection.proxy().map(|_| tracing::field::display(connection.socket_peer()));
    let client = connection.tls().and_then(|info| info.client.as_ref()).map(|client| &*client.subject);
    let uid = connection.credentials().map(|credentials| credentials.uid);
    log!(connection, listener, %peer, proxy, client, uid, "connection opened");
}

fn log_closed(connection: &Connection, error: Option<&str>) {
    let (listener, peer) = (connection.listener(), connection.peer());
    let reason = connection.close_reason().unwrap_or(CloseReason::HandlerClosed).as_str();
    let (messages, bytes_in, bytes_out) = (connection.messages(), connection.bytes_in(), connection.bytes_out());
    let seconds = connection.opened().elapsed().as_secs_f64();
    log!(
        connection, listener, %peer, reason, messages, bytes_in, bytes_out, seconds, error, "connection closed"
    );
}
