//! Runs a server as a process: until SIGTERM or SIGINT, with an exit code.

use std::io::{self, Write};
use std::pin::pin;
use std::process::ExitCode;
use std::task::Poll;

use futures_util::{FutureExt, Stream, StreamExt, stream};
use tokio::signal::unix::{SignalKind, signal};

use crate::error::{BoxError, Result, chain};
use crate::server::listener_set::ListenerSet;
use crate::server::running::Drained;

impl ListenerSet {
    /// Like [`start`](Self::start), then serves until SIGTERM or SIGINT, and drains; see [`Server::run`].
    ///
    /// ```no_run
    /// use switchboard::prelude::*;
    /// use switchboard::registry::HandlerInstance;
    /// use switchboard::server::ListenerSpec;
    /// use switchboard::transport::Transports;
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<std::process::ExitCode> {
    /// let echo = handler_fn(|_: Context, message: Bytes| async move { Ok(Reply::send(message)) });
    /// let echo = HandlerInstance::new(echo);
    /// let mut listeners = ListenerSet::new(Transports::default());
    /// listeners
    ///     .listen(ListenerSpec::new("stream", "tcp://127.0.0.1:9999".parse()?), &echo)
    ///     .listen(ListenerSpec::new("datagram", "udp://127.0.0.1:9999".parse()?), &echo);
    /// Ok(listeners.run().await)
    /// # }
    /// ```
    ///
    /// [`Server::run`]: crate::Server::run
    pub async fn run(self) -> ExitCode {
        exit_code(Ok(self)).await
    }

    /// Like [`run`](Self::run), with a result instead of an exit code.
    ///
    /// # Errors
    ///
    /// The server could not start, connections were aborted, or the `stop` of a handler failed.
    pub async fn serve(self) -> Result<()> {
        run(Ok(self)).await.map_err(|failure| failure.error)
    }
}

/// Why a server did not start or did not stop completely, with the exit code.
pub(super) struct Failure {
    pub(super) error: BoxError,
    code: u8,
}

impl<E: Into<BoxError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { error: error.into(), code: 1 }
    }
}

/// Serves until SIGTERM or SIGINT, then drains. A second signal aborts the remaining connections. A signal during the
/// start ends the start.
pub(super) async fn run(listeners: Result<ListenerSet>) -> Result<(), Failure> {
    let listeners = listeners?;
    // Before the start, so that a signal never ends the process while it serves a client.
    let mut stops = pin!(stop_signals()?);
    let (handlers, deadline) = (listeners.handlers(), listeners.drain_deadline());
    let started = tokio::select! {
        started = listeners.start() => Some(started?),
        Some(()) = stops.next() => None,
    };
    let cut = match started {
        Some(running) => {
            let Drained { cut, .. } = running.serve_until(stops).await;
            cut
        }
        None => {
            handlers.stop(deadline, stops.next().map(drop)).await;
            0
        }
    };
    let cut = (cut > 0).then(|| format!("{cut} connections did not finish before the drain deadline and were aborted"));
    let failures: Vec<String> = cut.into_iter().chain(handlers.first_failure()).collect();
    if failures.is_empty() { Ok(()) } else { Err(Failure { error: failures.join("; ").into(), code: 3 }) }
}

/// Like [`run`], with an exit code. The error is logged, or written to standard error.
pub(super) async fn exit_code(listeners: Result<ListenerSet>) -> ExitCode {
    let Err(Failure { error, code }) = run(listeners).await else { return ExitCode::SUCCESS };
    let error = chain(&*error);
    if tracing::dispatcher::has_been_set() {
        tracing::error!("{error}");
    } else {
        let _ = writeln!(io::stderr(), "error: {error}"); // standard error may be closed
    }
    ExitCode::from(code)
}

/// One item for each SIGTERM or SIGINT. From now on, these signals do not end the process.
fn stop_signals() -> io::Result<impl Stream<Item = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(stream::poll_fn(move |cx| match terminate.poll_recv(cx) {
        Poll::Pending => interrupt.poll_recv(cx),
        stop => stop,
    }))
}
