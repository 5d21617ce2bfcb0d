//! The task of one connection: handshake, service, logging.

use std::future::{poll_fn, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use tower::{Service, ServiceExt};

use crate::close_reason::CloseReason;
use crate::connection::{Connection, ConnectionGuard};
use crate::driver::{ServiceSnapshot, reason_of};
use crate::error::{BoxError, Panicked, chain};
use crate::transport::{ConnectionService, HandshakeState, Incoming, SessionFuture, StartTls, establish};

/// The tracing target of all events of connections. Log filters of operators depend on it.
const TARGET: &str = "switchboard::connection";

/// Serves a connection after its handshake, if it has one. `snapshot` has the current settings of the listener.
pub(super) fn spawn(snapshot: ServiceSnapshot<ConnectionService>, handshake: HandshakeState, connection: Connection) {
    let guard = ConnectionGuard::new(connection.clone());
    let ServiceSnapshot { listener_context, service, start_tls, handshake_timeout, .. } = snapshot;
    let start_tls =
        start_tls.map(|acceptor| Box::new(StartTls::new(acceptor, handshake_timeout, listener_context.clone())));
    match handshake {
        HandshakeState::Ready(io) => serve(service, Incoming { connection, io, start_tls }, guard),
        handshake => {
            tokio::spawn(async move {
                match establish(handshake, handshake_timeout, connection.clone(), listener_context).await {
                    // In a task of its own: an open connection does not keep the memory of its handshake.
                    Ok(io) => serve(service, Incoming { connection, io, start_tls }, guard),
                    // Admission has rejected the effective address, and logged it.
                    Err(_) if connection.close_reason().is_some() => {}
                    Err(failure) => {
                        log_opened(&connection);
                        connection.finish(failure.reason());
                        log_closed(&connection, failure.error.as_deref());
                        guard.remember(failure.error.as_deref());
                    }
                }
            });
        }
    }
}

/// Spawns the task of an established connection.
fn serve(service: ConnectionService, incoming: Incoming, guard: ConnectionGuard) {
    let connection = guard.connection();
    let is_of_proxy = connection.is_of_proxy();
    if !is_of_proxy {
        log_opened(connection);
    }
    let started = catch_unwind(AssertUnwindSafe(|| start(service, incoming)));
    let mut session = started.unwrap_or_else(|payload| Box::pin(ready(Err(Panicked::new(&*payload).into()))));
    if is_of_proxy {
        session = Box::pin(log_opened_later(connection.clone(), session));
    }
    tokio::spawn(ConnectionTask { session, guard });
}

/// Calls the service, at once if it is ready. Drivers always are; a connection layer can wait.
fn start(mut service: ConnectionService, incoming: Incoming) -> SessionFuture {
    match service.ready().now_or_never() {
        Some(Ok(service)) => service.call(incoming),
        Some(Err(error)) => Box::pin(ready(Err(error))),
        None => Box::pin(service.oneshot(incoming)),
    }
}

/// The task of an established connection. A task of the runtime with this future has 128 bytes, which is a part of the
/// memory of each connection; one byte more would make it 256.
struct ConnectionTask {
    session: SessionFuture,
    guard: ConnectionGuard,
}

impl Future for ConnectionTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let polled = catch_unwind(AssertUnwindSafe(|| self.session.as_mut().poll(cx)));
        let ended = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(ended)) => ended,
            Err(payload) => Err(Panicked::new(&*payload).into()),
        };
        let (connection, error) = (self.guard.connection(), ended.err());
        // A driver has already set the reason. A layer that rejects the connection has not.
        connection.finish(error.as_ref().map_or(CloseReason::HandlerClosed, |error| reason_of(&**error)));
        let error = error.map(|error| chain(&*error));
        log_closed(connection, error.as_deref());
        self.guard.remember(error.as_deref());
        Poll::Ready(())
    }
}

/// Logs `connection opened` when the client has sent something, or at the end. Only then is it known whether the
/// connection is a health check of a proxy.
async fn log_opened_later(connection: Connection, mut session: SessionFuture) -> Result<(), BoxError> {
    let mut is_logged = false;
    poll_fn(|cx| {
        let output = session.as_mut().poll(cx);
        if !is_logged && (output.is_ready() || connection.bytes_in() > 0) {
            is_logged = true;
            log_opened(&connection);
        }
        output
    })
    .await
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
    log!(connection, listener, id = connection.id(), %peer, proxy, client, uid, "connection opened");
}

fn log_closed(connection: &Connection, error: Option<&str>) {
    let (listener, peer) = (connection.listener(), connection.peer());
    let reason = connection.close_reason().unwrap_or(CloseReason::HandlerClosed).as_str();
    let (messages, bytes_in, bytes_out) = (connection.messages(), connection.bytes_in(), connection.bytes_out());
    let seconds = connection.opened().elapsed().as_secs_f64();
    log!(
        connection, listener, id = connection.id(), %peer, reason, messages, bytes_in, bytes_out, seconds, error,
        "connection closed"
    );
}
