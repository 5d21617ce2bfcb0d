//! The signals that the server handles.

use std::io;

use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// One stream per request. Once created, none of these signals ends the process, and a signal that arrives before its
/// stream is polled is kept.
pub(crate) struct Signals {
    /// SIGTERM and SIGINT: drain; the second one aborts the remaining connections.
    pub(crate) stop: BoxStream<'static, ()>,
    /// SIGHUP: reload the configuration.
    pub(crate) reload: Signal,
    /// SIGUSR2: start the new binary.
    pub(crate) upgrade: Signal,
}

impl Signals {
    /// Installs the signal handlers. Must be called inside a tokio runtime.
    pub(crate) fn new() -> io::Result<Self> {
        let stop = stream::select(stream_of(SignalKind::terminate())?, stream_of(SignalKind::interrupt())?);
        Ok(Self {
            stop: stop.boxed(),
            reload: signal(SignalKind::hangup())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }
}

fn stream_of(kind: SignalKind) -> io::Result<BoxStream<'static, ()>> {
    let mut signal = signal(kind)?;
    Ok(stream::poll_fn(move |cx| signal.poll_recv(cx)).boxed())
}
