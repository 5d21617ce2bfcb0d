//! Offers the new frames of rooms to their members, a slice of members per turn.
//!
//! A publisher does not visit the members. One task per hub does, while a room has new frames. After each slice it
//! yields, so that the members of the slice and all other connections get a turn before the next slice. Rooms take
//! turns too.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::SeqCst;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::yield_now;

use crate::hub::room::Room;

/// Members that are offered new frames per turn, before other tasks get a turn.
const MEMBERS_PER_TURN: usize = 64;

pub(super) struct FanOut<T> {
    queue: Mutex<Queue<T>>,
    /// The runtime of the connections, for a publisher outside a runtime.
    runtime: OnceLock<Handle>,
}

struct Queue<T> {
    /// Each room at most once.
    passes: VecDeque<Pass<T>>,
    is_running: bool,
}

/// The visit of all members of a room.
struct Pass<T> {
    room: Arc<Room<T>>,
    /// The last connection that was visited.
    after: u64,
    /// The entries of the ring when the pass began.
    end: u64,
    /// A member needs another offer.
    again: bool,
}

impl<T> Default for FanOut<T> {
    fn default() -> Self {
        let queue = Queue { passes: VecDeque::new(), is_running: false };
        Self { queue: Mutex::new(queue), runtime: OnceLock::new() }
    }
}

impl<T: Send + Sync + 'static> FanOut<T> {
    /// Remembers the runtime of the connections.
    pub(super) fn joined(&self) {
        if self.runtime.get().is_none()
            && let Ok(runtime) = Handle::try_current()
        {
            let _ = self.runtime.set(runtime);
        }
    }

    /// Offers the new frames of a room to its members, soon.
    pub(super) fn start(self: &Arc<Self>, room: &Arc<Room<T>>) {
        if room.is_ready.swap(true, SeqCst) {
            return;
        }
        let mut queue = self.queue.lock();
        queue.passes.push_back(Pass { room: room.clone(), after: 0, end: 0, again: false });
        if queue.is_running {
            return;
        }
        // Without a runtime no connection can have joined.
        let Some(runtime) = Handle::try_current().ok().or_else(|| self.runtime.get().cloned()) else { return };
        queue.is_running = true;
        drop(queue);
        runtime.spawn(run(RunGuard { fan_out: self.clone(), is_running: true }));
    }

    fn next(&self, guard: &mut RunGuard<T>) -> Option<Pass<T>> {
        let mut queue = self.queue.lock();
        let next = queue.passes.pop_front();
        if next.is_none() {
            (queue.is_running, guard.is_running) = (false, false);
        }
        next
    }
}

/// The runtime can drop the task while it yields. The next publish then starts another one.
struct RunGuard<T> {
    fan_out: Arc<FanOut<T>>,
    is_running: bool,
}

impl<T> Drop for RunGuard<T> {
    fn drop(&mut self) {
        if self.is_running {
            self.fan_out.queue.lock().is_running = false;
        }
    }
}

async fn run<T: Send + Sync + 'static>(mut guard: RunGuard<T>) {
    let fan_out = guard.fan_out.clone();
    while let Some(mut pass) = fan_out.next(&mut guard) {
        if pass.visit_slice() {
            fan_out.queue.lock().passes.push_back(pass);
        }
        yield_now().await;
    }
}

impl<T> Pass<T> {
    /// Visits the next members. False if there is nothing more to do.
    fn visit_slice(&mut self) -> bool {
        let (start, end) = self.room.window();
        if self.after == 0 {
            self.end = end;
        }
        let slice = self.room.slice(self.after, MEMBERS_PER_TURN);
        let is_last = slice.len() < MEMBERS_PER_TURN;
        for (connection, member) in slice {
            self.again |= member.offer(start, end);
            self.after = connection;
        }
        if !is_last {
            return true;
        }
        self.room.set_offered(self.end);
        // A publish that finds the room ready does not start a pass: its frame is seen here.
        self.room.is_ready.store(false, SeqCst);
        let has_more = self.again || self.room.window().1 > self.end;
        (self.after, self.again) = (0, false);
        has_more && !self.room.is_ready.swap(true, SeqCst)
    }
}
