//! Sends the counters of this process to the new process, until this process ends.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use switchboard::deadline_timer::timeout;
use switchboard::metrics::{Counted, Counts};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::admin::HistoryPart;
use crate::handover::protocol::{COUNTS_VERSION, CountsMessage, MAX_COUNTS};

/// How long the new process may take to read. A slower one gets no more counters.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// The new process after the commit.
#[derive(Debug)]
pub(crate) struct Successor {
    /// `None` if the new process does not read: it has ended, or is an older version.
    stream: Option<UnixStream>,
    sent: HashMap<Counted, Counts>,
}

impl Successor {
    pub(super) async fn new(stream: UnixStream, counts: Vec<Counts>) -> Self {
        let mut successor = Self { stream: Some(stream), sent: HashMap::new() };
        let messages = [CountsMessage::Version(COUNTS_VERSION)].into_iter().chain(successor.changed(counts));
        let messages = messages.collect();
        successor.send(messages).await;
        successor
    }

    /// Sends the counts that have changed since the last call.
    pub(crate) async fn send_counts(&mut self, counts: Vec<Counts>) {
        let messages = self.changed(counts);
        self.send(messages).await;
    }

    /// Sends the counts and the history, and that this process does not show them any more.
    pub(crate) async fn hand_over(&mut self, counts: Vec<Counts>, history: Vec<HistoryPart>) {
        let mut messages = self.changed(counts);
        messages.extend(history.into_iter().map(CountsMessage::History));
        messages.push(CountsMessage::HandedOver);
        self.send(messages).await;
    }

    /// Sends the last counts of this process.
    pub(crate) async fn end(mut self, counts: Vec<Counts>) {
        let mut messages = self.changed(counts);
        messages.push(CountsMessage::Ended);
        self.send(messages).await;
    }

    fn changed(&mut self, counts: Vec<Counts>) -> Vec<CountsMessage> {
        let sent = &mut self.sent;
        let changed = counts.into_iter().filter(|counts| {
            let is_known = sent.get(&counts.of).map_or(counts.is_empty(), |known| known == counts);
            if !is_known {
                sent.insert(counts.of.clone(), counts.clone());
            }
            !is_known
        });
        changed.map(CountsMessage::Counts).collect()
    }

    async fn send(&mut self, messages: Vec<CountsMessage>) {
        let Some(stream) = &mut self.stream else { return };
        let mut text = String::new();
        for message in messages {
            // A message is always valid JSON. The names of a series are short, see the limits of metrics.
            if let Ok(line) = serde_json::to_string(&message)
                && line.len() < MAX_COUNTS
            {
                text += &line;
                text.push('\n');
            }
        }
        let sent = timeout(WRITE_TIMEOUT, stream.write_all(text.as_bytes())).await;
        if let Err(error) = sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            tracing::debug!(target: "switchboard", %error, "the new process does not read the counters");
            self.stream = None;
        }
    }
}
