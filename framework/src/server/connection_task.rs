//! One connection from its handshake to its end.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use tower::{Service, ServiceExt};

use crate::connection::{Connection, ConnectionGuard, ControlSignal, ListenerContext};
use crate::driver::reason_of;
use crate::error::chain;
use crate::layer::Panicked;
use crate::pipeline::ConnectionService;
use crate::reason::CloseReason;
use crate::transport::{BoxIo, HandshakeContext, Incoming, Stage};

/// Shakes hands, has the connection served, and says when it opened and how it ended: in a task of its own.
pub(super) fn spawn(
    service: ConnectionService,
    stage: Stage,
    handshake: Duration,
    connection: Connection,
    guard: ConnectionGuard,
    listener_context: Arc<ListenerContext>,
) {
    match stage {
        Stage::Ready(io) => drop(tokio::spawn(serve(service, io, connection, guard))),
        stage => {
            // Boxed: an open connection does not reserve memory for its handshake.
            let handshake = Box::pin(establish(stage, handshake, connection.clone(), listener_context));
            tokio::spawn(async move {
                match handshake.await {
                    Ok(io) => serve(service, io, connection, guard).await,
                    Err(Failed::Rejected) => {} // admission has logged it
                    Err(Failed::Ended(reason, error)) => {
                        log_opened(&connection);
                        connection.finish(reason);
                        log_closed(&connection, error.as_deref());
                    }
                }
            });
        }
    }
}

/// Has an established connection served. What is awaited here is what an open connection weighs.
fn serve(
    mut service: ConnectionService,
    io: BoxIo,
    connection: Connection,
    guard: ConnectionGuard,
) -> impl Future<Output = ()> + Send {
    let incoming = Incoming { connection: connection.clone(), io };
    async move {
        log_opened(&connection);
        let served = async move {
            let call = service.ready().await?.call(incoming);
            drop(service);
            call.await
        };
        let served = AssertUnwindSafe(served).catch_unwind().await;
        let error = served.unwrap_or_else(|payload| Err(Panicked::new(&*payload).into())).err();
        // What a driver ended has its reason already; this is for layers that refused it.
        connection.finish(error.as_ref().map_or(CloseReason::HandlerClosed, |error| reason_of(&**error)));
        log_closed(&connection, error.map(|error| chain(&*error)).as_deref());
        drop(guard);
    }
}

/// DropReason a client never came to be served.
enum Failed {
    /// Admission rejected its effective address.
    Rejected,
    /// Its handshake failed, or was ended.
    Ended(CloseReason, Option<String>),
}

async fn establish(
    stage: Stage,
    handshake: Duration,
    connection: Connection,
    listener_context: Arc<ListenerContext>,
) -> Result<BoxIo, Failed> {
    let finish_timeout = if handshake.is_zero() { Duration::MAX } else { handshake };
    let guard = listener_context.handshakes.begin(&connection, listener_context.admission.max_handshakes());
    // Nothing of a message can have arrived before the handshake is over, so a drain does not wait for it.
    let signalled = std::future::poll_fn(|cx| match connection.poll_signal(cx.waker()) {
        ControlSignal::Continue => Poll::Pending,
        signal => Poll::Ready(signal),
    });
    let establish = AssertUnwindSafe(stage.establish(HandshakeContext::new(&connection, &listener_context)))
        .catch_unwind()
        .map(|established| established.unwrap_or_else(|payload| Err(io::Error::other(Panicked::new(&*payload)))));
    let io = tokio::select! {
        biased; // who has finished its handshake is in, whatever is told
        io = tokio::time::timeout(finish_timeout, establish) => match io {
            Ok(_) if connection.close_reason().is_some() => Err(Failed::Rejected),
            Ok(Ok(io)) => Ok(io),
            Ok(Err(error)) => Err(Failed::Ended(CloseReason::Handshake, Some(error.to_string()))),
            Err(_) => Err(Failed::Ended(CloseReason::Handshake, Some(format!("not finished within {handshake:?}")))),
        },
        signal = signalled => Err(match signal {
            ControlSignal::AbortHandshake => {
                let error = "limits.handshakes: the longest unfinished one yields to a new one";
                Failed::Ended(CloseReason::Limit, Some(error.to_owned()))
            }
            signal => Failed::Ended(signal.immediate_close_reason().unwrap_or(CloseReason::Drain), None),
        }),
    };
    drop(guard);
    io
}

fn log_opened(connection: &Connection) {
    let (listener, peer) = (connection.listener(), connection.peer());
    let proxy = connection.proxy().map(|_| tracing::field::display(connection.socket_peer()));
    let client = connection.tls().and_then(|facts| facts.client.as_ref()).map(|client| &*client.subject);
    let uid = connection.credentials().map(|credentials| credentials.uid);
    tracing::info!(listener, %peer, proxy, client, uid, "connection opened");
}

fn log_closed(connection: &Connection, error: Option<&str>) {
    let (listener, peer) = (connection.listener(), connection.peer());
    let reason = connection.close_reason().unwrap_or(CloseReason::HandlerClosed).as_str();
    let (messages, bytes_in, bytes_out) = (connection.messages(), connection.bytes_in(), connection.bytes_out());
    let seconds = connection.opened().elapsed().as_secs_f64();
    tracing::info!(listener, %peer, reason, messages, bytes_in, bytes_out, seconds, error, "connection closed");
}
