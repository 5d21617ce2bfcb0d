//! The last connections of a listener that closed, with their reasons.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::address::{Address, Credentials};
use crate::close_reason::CloseReason;
use crate::connection::handle::Connection;

/// Closed connections that each listener remembers.
pub const RECENTLY_CLOSED: usize = 100;
/// Maximum bytes of an error text.
const MAX_ERROR: usize = 200;

/// A connection that has closed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClosedConnection {
    /// The id, as in [`Connection::id`].
    pub id: u64,
    /// The address of the client.
    pub peer: Address,
    /// The credentials of the peer process on a Unix socket.
    pub credentials: Option<Credentials>,
    /// When it closed.
    pub closed: Instant,
    /// How long it was open.
    pub age: Duration,
    /// Why it closed.
    pub reason: CloseReason,
    /// The error, if the reason has one. At most 200 bytes. Text of the peer is not escaped.
    pub error: Option<String>,
    /// Messages received.
    pub messages: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
}

/// The last [`RECENTLY_CLOSED`] connections of one listener. The memory is allocated as they close.
#[derive(Debug, Default)]
pub(crate) struct RecentlyClosed(Mutex<VecDeque<ClosedConnection>>);

impl RecentlyClosed {
    /// Adds a connection. The lock is held for a move of the entry.
    pub(crate) fn add(&self, connection: &Connection, error: Option<&str>) {
        let closed = Instant::now();
        let entry = ClosedConnection {
            id: connection.id(),
            peer: connection.peer().clone(),
            credentials: connection.credentials(),
            closed,
            age: closed.saturating_duration_since(connection.opened()),
            reason: connection.close_reason().unwrap_or(CloseReason::HandlerClosed),
            error: error.map(|error| error[..error.floor_char_boundary(MAX_ERROR)].to_owned()),
            messages: connection.messages(),
            bytes_in: connection.bytes_in(),
            bytes_out: connection.bytes_out(),
        };
        let mut entries = self.0.lock();
        let oldest = if entries.len() < RECENTLY_CLOSED { None } else { entries.pop_front() };
        entries.push_back(entry);
        drop(entries);
        drop(oldest); // outside the lock, because it may free memory
    }

    /// The connections, the newest first.
    pub(crate) fn read(&self) -> Vec<ClosedConnection> {
        self.0.lock().iter().rev().cloned().collect()
    }
}
