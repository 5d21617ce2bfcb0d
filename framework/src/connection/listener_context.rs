//! What the connections of one listener share. TLS and PROXY handshakes are bounded by `limits.handshakes`.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::connection::admission::Admission;
use crate::connection::control_signal::ControlSignal;
use crate::connection::handle::Connection;
use crate::connection::info::ListenerInfo;
use crate::connection::table::ConnectionTable;

/// Everything needed to accept a client of one listener. A reload creates a new one with the same table.
#[derive(Debug)]
pub(crate) struct ListenerContext {
    pub(crate) info: Arc<ListenerInfo>,
    pub(crate) admission: Admission,
    pub(crate) table: Arc<ConnectionTable>,
    pub(crate) handshakes: Arc<Handshakes>,
}

/// Handshakes in progress, by connection id: the lowest id is the oldest.
#[derive(Debug, Default)]
pub(crate) struct Handshakes(Mutex<BTreeMap<u64, Connection>>);

pub(crate) struct HandshakeGuard(Arc<Handshakes>, u64);

impl Handshakes {
    /// Adds a handshake. If `limit` (at least 1) is reached, aborts the oldest one, and frees its slot immediately.
    pub(crate) fn begin(self: &Arc<Self>, connection: &Connection, limit: usize) -> HandshakeGuard {
        let mut in_progress = self.0.lock();
        while in_progress.len() >= limit.max(1)
            && let Some((_, oldest)) = in_progress.pop_first()
        {
            oldest.signal(ControlSignal::AbortHandshake);
        }
        in_progress.insert(connection.id(), connection.clone());
        HandshakeGuard(self.clone(), connection.id())
    }
}

impl Drop for HandshakeGuard {
    fn drop(&mut self) {
        self.0.0.lock().remove(&self.1);
    }
}
