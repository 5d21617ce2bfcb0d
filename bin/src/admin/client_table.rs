//! The open connections of the admin endpoint. When all places are taken, a new connection takes the place of the one
//! that has been idle for longest, so that silent clients keep nobody out.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use switchboard::{Address, Connection};
use tokio::time::Instant;

pub(super) struct ClientTable {
    max: usize,
    taken: Mutex<HashMap<u64, Arc<Client>>>,
}

/// One open connection.
pub(super) struct Client {
    connection: Connection,
    state: Mutex<State>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// It waits for a complete request since then. Bytes of an incomplete request are no progress.
    Waiting(Instant),
    /// A complete request is being answered since then.
    Answering(Instant),
}

impl ClientTable {
    pub(super) fn new(max: usize) -> Self {
        Self { max, taken: Mutex::default() }
    }

    /// Adds a connection.
    pub(super) fn enter(&self, connection: &Connection) -> ClientGuard<'_> {
        let client = Client { connection: connection.clone(), state: Mutex::new(State::Waiting(Instant::now())) };
        let (id, client) = (connection.id(), Arc::new(client));
        let mut clients = self.taken.lock();
        if clients.len() >= self.max
            && let Some(id) = clients.iter().min_by_key(|(id, client)| (*client.state.lock(), **id)).map(|(id, _)| *id)
            && let Some(longest_idle) = clients.remove(&id)
        {
            longest_idle.connection.kill();
        }
        clients.insert(id, client.clone());
        ClientGuard { clients: self, id, client }
    }
}

/// Removes the connection on drop.
pub(super) struct ClientGuard<'s> {
    clients: &'s ClientTable,
    id: u64,
    pub(super) client: Arc<Client>,
}

impl Drop for ClientGuard<'_> {
    fn drop(&mut self) {
        self.clients.taken.lock().remove(&self.id);
    }
}

impl Client {
    /// The address that the client connected to.
    pub(super) fn local(&self) -> &Address {
        self.connection.local()
    }

    /// Since when the connection waits for a complete request.
    pub(super) fn waiting_since(&self) -> Instant {
        let (State::Waiting(since) | State::Answering(since)) = *self.state.lock();
        since
    }

    pub(super) fn set_answering(&self) {
        *self.state.lock() = State::Answering(Instant::now());
    }

    pub(super) fn set_waiting(&self) {
        *self.state.lock() = State::Waiting(Instant::now());
    }
}
