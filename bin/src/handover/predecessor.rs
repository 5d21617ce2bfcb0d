//! Receives the history of the old process, and its counters until it ends, and adds them to those of this process.

use std::collections::HashMap;
use std::io::{self, Cursor};
use std::sync::Arc;
use std::time::Duration;

use switchboard::Running;
use switchboard::deadline_timer::timeout;
use switchboard::metrics::{Counted, Counts};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::watch;

use crate::admin::History;
use crate::handover::protocol::{COUNTS_VERSION, CountsMessage, MAX_COUNTS};

/// How long the old process may take after the commit until it does not show its counters any more. It waits a second
/// for this process to keep running.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(10);

/// What the old process has sent so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Committed,
    HandedOver,
    Ended,
}

/// The old process after the commit. It serves its connections until it has drained.
#[derive(Debug)]
pub(crate) struct Predecessor(watch::Receiver<Phase>);

impl Predecessor {
    /// Receives the counters in a task. `received` are the bytes that were read after the commit.
    pub(super) fn new(
        stream: std::os::unix::net::UnixStream,
        received: Vec<u8>,
        running: Arc<Running>,
        history: Arc<History>,
    ) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let reader = BufReader::new(Cursor::new(received).chain(UnixStream::from_std(stream)?));
        let (phase, receiver) = watch::channel(Phase::Committed);
        tokio::spawn(async move {
            receive(reader, &running, &history, &phase).await;
            phase.send_replace(Phase::Ended);
        });
        Ok(Self(receiver))
    }

    /// Waits until the old process does not show its counters any more, and all of them are added to those of this
    /// process. Does not wait forever for a process that was stopped.
    pub(crate) async fn handed_over(&self) {
        let _ = timeout(HANDOVER_TIMEOUT, self.reaches(Phase::HandedOver)).await;
    }

    /// Waits until the old process has sent its last counters.
    pub(crate) async fn ended(&self) {
        self.reaches(Phase::Ended).await;
    }

    async fn reaches(&self, phase: Phase) {
        // An error: the task has ended with the runtime.
        let _ = self.0.clone().wait_for(|now| *now >= phase).await;
    }
}

async fn receive(
    mut reader: impl AsyncBufRead + Unpin,
    running: &Running,
    history: &History,
    phase: &watch::Sender<Phase>,
) {
    let mut counters = Counters::default();
    let mut is_known_version = false;
    loop {
        let mut line = Vec::new();
        let read = (&mut reader).take(MAX_COUNTS as u64).read_until(b'\n', &mut line).await;
        if read.is_err() || !line.ends_with(b"\n") {
            break; // the end of the old process, or a line that is too long
        }
        match serde_json::from_slice(&line) {
            Ok(CountsMessage::Version(COUNTS_VERSION)) => is_known_version = true,
            Ok(CountsMessage::Version(version)) => {
                let hint = "the counters of the old process are not continued";
                tracing::warn!(target: "switchboard", version, supported = COUNTS_VERSION, "other version: {hint}");
                return;
            }
            Ok(CountsMessage::Counts(counts)) if is_known_version => counters.add(running, &counts),
            Ok(CountsMessage::History(part)) => history.continue_from(part),
            Ok(CountsMessage::HandedOver) => drop(phase.send_replace(Phase::HandedOver)),
            Ok(CountsMessage::Ended) => return,
            // A line of a newer version.
            Ok(CountsMessage::Counts(_)) | Err(_) => {}
        }
    }
    if is_known_version {
        let effect = "what it has counted since then is missing in the metrics";
        tracing::warn!(target: "switchboard", effect, "the old process ended before it had sent its last counters");
    }
}

/// The counts of the old process that are part of those of this process.
#[derive(Default)]
struct Counters(HashMap<Counted, Counts>);

impl Counters {
    /// Adds what is new. Only names that this process knows are stored.
    fn add(&mut self, running: &Running, counts: &Counts) {
        match self.0.get_mut(&counts.of) {
            Some(known) => {
                let more = counts.since(known);
                if running.add_counts(&more) {
                    known.add(&more);
                }
            }
            None if running.add_counts(counts) => drop(self.0.insert(counts.of.clone(), counts.clone())),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;
