//! The signals of this process: which ones ask for a stop, and which ones this build does not serve.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Every signal that means something to a server. From its making on, none of them ends the process.
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

    /// Waits for the next request to stop. The others are answered in the log meanwhile. Cancel safe.
    pub(crate) async fn stop(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => {
                    tracing::warn!(target: "switchboard", error = "not in this build", "reload refused");
                }
                _ = self.upgrade.recv() => {
                    tracing::warn!(target: "switchboard", error = "not in this build", "upgrade refused");
                }
            }
        }
    }
}
