//! The TLS and PROXY handshakes in progress of one listener, bounded by `limits.handshakes`.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::connection::control::ControlSignal;
use crate::connection::handle::Connection;

/// Handshakes in progress, by connection id: the lowest id is the oldest.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    in_progress: Mutex<BTreeMap<u64, Connection>>,
}

/// A handshake in progress; it ends on drop.
#[derive(Debug)]
pub(crate) struct HandshakeGuard {
    handshakes: Arc<Handshakes>,
    connection: Connection,
}

impl Handshakes {
    /// Adds a handshake. If `limit` (at least 1) is reached, aborts the oldest one, whose place is free at once.
    pub(crate) fn begin(self: &Arc<Self>, connection: &Connection, limit: usize) -> HandshakeGuard {
        let mut in_progress = self.in_progress.lock();
        while in_progress.len() >= limit.max(1)
            && let Some((_, oldest)) = in_progress.pop_first()
        {
            oldest.signal(ControlSignal::AbortHandshake);
        }
        in_progress.insert(connection.id(), connection.clone());
        HandshakeGuard { handshakes: self.clone(), connection: connection.clone() }
    }
}

impl Drop for HandshakeGuard {
    fn drop(&mut self) {
        self.handshakes.in_progress.lock().remove(&self.connection.id());
    }
}
