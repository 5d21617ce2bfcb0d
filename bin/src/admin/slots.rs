//! The open connections of the admin endpoint. When all places are taken, a new connection takes the place of the one
//! that has been idle for longest, so that silent clients keep nobody out.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use switchboard::Connection;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(super) struct Slots {
    max: usize,
    taken: Mutex<HashMap<u64, Arc<Slot>>>,
}

/// The place of one connection.
pub(super) struct Slot {
    state: Mutex<State>,
    evicted: CancellationToken,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// It waits for a complete request since then. Bytes of an incomplete request are no progress.
    Waiting(Instant),
    /// A complete request is being answered since then.
    Answering(Instant),
}

impl Slots {
    pub(super) fn new(max: usize) -> Self {
        Self { max, taken: Mutex::default() }
    }

    /// Takes a place for a connection.
    pub(super) fn enter(&self, connection: &Connection) -> Guard<'_> {
        let slot = Slot { state: Mutex::new(State::Waiting(Instant::now())), evicted: CancellationToken::new() };
        let (id, slot) = (connection.id(), Arc::new(slot));
        let mut slots = self.taken.lock();
        if slots.len() >= self.max
            && let Some(id) = slots.iter().min_by_key(|(id, slot)| (*slot.state.lock(), **id)).map(|(id, _)| *id)
            && let Some(longest_idle) = slots.remove(&id)
        {
            longest_idle.evicted.cancel();
        }
        slots.insert(id, slot.clone());
        Guard { slots: self, id, slot }
    }
}

/// Gives the place back on drop.
pub(super) struct Guard<'s> {
    slots: &'s Slots,
    id: u64,
    pub(super) slot: Arc<Slot>,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.slots.taken.lock().remove(&self.id);
    }
}

impl Slot {
    /// Waits until another connection takes the place.
    pub(super) async fn evicted(&self) {
        self.evicted.cancelled().await;
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
