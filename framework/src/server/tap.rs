//! Reads the messages of an open connection while they arrive.

use std::sync::Arc;
use std::time::Duration;

use crate::connection::Connection;
use crate::recorder::{Facts, RecordKind, Recording};
use crate::script::{Action, Script};
use crate::server::running::Running;

/// Reads the messages of one connection from its recorder. It costs the connection nothing.
#[derive(Debug)]
pub struct Tap {
    connection: Connection,
    recording: Arc<Recording>,
    next: u64,
}

/// A message that a [`Tap`] has read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TapMessage {
    /// The number among all messages of the connection, from 0.
    pub number: u64,
    /// The time since the connection opened.
    pub time: Duration,
    /// The message as a step of a script, without what the handler redacts.
    pub action: Action,
    /// The data are bytes on the wire, although the script of the connection has messages.
    pub is_bytes: bool,
}

/// A connection cannot be tapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TapError {
    /// No such connection is open.
    #[error("not found")]
    NotFound,
    /// The connection has no recorder.
    #[error("has no recorder")]
    NotRecorded,
}

impl Running {
    /// Taps an open connection. The first messages are those that are still stored.
    ///
    /// # Errors
    ///
    /// The connection is not open, or its listener had no recorder when it opened.
    pub fn tap(&self, id: u64) -> Result<Tap, TapError> {
        let connection = self.connection(id).ok_or(TapError::NotFound)?;
        let recording = Recording::of(&connection).ok_or(TapError::NotRecorded)?;
        recording.add_tap();
        Ok(Tap { connection, recording, next: 0 })
    }
}

impl Tap {
    /// The connection.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// A script without steps: its framing and the facts about the connection.
    pub fn head(&self) -> Script {
        self.recording.head(&Facts::of(&self.connection, None))
    }

    /// The messages since the last call, and the number of those between them that were lost: they were replaced by
    /// later ones. While the handler occupies its thread, there are none.
    pub fn read(&mut self) -> (Vec<TapMessage>, u64) {
        let records = self.recording.read(self.next).unwrap_or_default();
        let (mut missed, has_messages) = (0, self.recording.framing().is_some());
        let messages = records.iter().map(|record| {
            missed += record.number - self.next;
            self.next = record.number + 1;
            let is_bytes = has_messages && matches!(record.kind, RecordKind::ReceivedBytes | RecordKind::SentBytes);
            let action = self.recording.action(record);
            TapMessage { number: record.number, time: record.time, action, is_bytes }
        });
        let messages = messages.collect();
        (messages, missed)
    }
}
