//! The signals of this process: which ones ask for a stop, for a reload, for an upgrade. What is done then is known elsewhere.

use std::io;
use std::task::Poll;

use futures_util::{Stream, stream};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Every signal that means something to a server. From its making on, none of them ends the process; one that comes before
/// somebody waits for it is kept.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    upgrade: Signal,
}

impl Signals {
    /// Begins to listen. Must be called inside a tokio runtime.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }

    /// The requests to stop, those to reload, and those to upgrade.
    pub(crate) fn split(self) -> (impl Stream<Item = ()> + Unpin, Signal, Signal) {
        let Self { mut terminate, mut interrupt, hangup, upgrade } = self;
        // Both are asked, so that either wakes us.
        let stops = stream::poll_fn(move |cx| match terminate.poll_recv(cx) {
            Poll::Pending => interrupt.poll_recv(cx),
            stop => stop,
        });
        (stops, hangup, upgrade)
    }
}
