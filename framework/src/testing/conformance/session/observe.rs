//! What a run has shown so far.

use super::{Client, Session};
use crate::close_reason::CloseReason;
use crate::testing::conformance::record::CallRecord;

impl Session<'_> {
    /// What a client has received, in normalised replies.
    pub(in crate::testing::conformance) fn frames(&self, client: usize) -> Vec<Vec<u8>> {
        let Client { codec, received, .. } = &self.clients[client];
        self.record.split(*codec, received).iter().map(|frame| self.subject.normalise(frame)).collect()
    }

    /// Bytes that the client has received.
    pub(in crate::testing::conformance) fn received(&self, client: usize) -> usize {
        self.clients[client].received.len()
    }

    /// Bytes that were encoded for the client, and that it has not received.
    pub(in crate::testing::conformance) fn undelivered(&self, client: usize) -> usize {
        let Client { codec, received, .. } = &self.clients[client];
        self.record.encoded_bytes(*codec).saturating_sub(received.len())
    }

    /// The close reason of a client whose connection is closing or closed.
    pub(in crate::testing::conformance) fn reason(&self, client: usize) -> Option<CloseReason> {
        let connection = self.clients[client].connection.get()?;
        connection.close_reason().or_else(|| self.record.calls(connection.id()).closes.first().copied())
    }

    pub(in crate::testing::conformance) fn calls(&self, client: usize) -> CallRecord {
        let connection = self.clients[client].connection.get();
        connection.map(|connection| self.record.calls(connection.id())).unwrap_or_default()
    }
}
