//! A limit of open connections that the instances of a fleet share: per source, or of a whole listener.
//!
//! Without a lease, a source may have one slice of connections here: half of the part of this instance. From half a
//! slice on, it is tracked, and the fleet renews its lease: the number of connections that it may have here. For one
//! lease after the limit was divided, every source keeps the part of this instance: leases have yet to be renewed.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Weak;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::address::Source;
use crate::connection::table::ConnectionTable;
use crate::fleet::{Ask, Lease, Request, Terms};
use crate::settings::deadline_after;

/// Maximum sources of one limit that are tracked; each further one has the part of this instance.
const MAX_TRACKED: usize = 10_000;
/// Leases after which the connections of an instance that has not renewed them are not counted any more.
const EXPIRY_LEASES: u32 = 6;
/// The shortest such time.
const MIN_EXPIRY: Duration = Duration::from_secs(5);

pub(crate) struct SharedCounts {
    table: Weak<ConnectionTable>,
    limit: u32,
    key: String,
    lease: Duration,
    state: Mutex<State>,
}

struct State {
    terms: Terms,
    /// When the limit was divided last. It is at the start.
    divided_at: Instant,
    /// Until when every source may have the part of this instance.
    part_until: Option<Instant>,
    /// The sources with a lease. `None` is the whole listener.
    tracked: HashMap<Option<Source>, Tracked>,
    /// The sources whose lease must be renewed.
    queued: VecDeque<Option<Source>>,
    /// The idle turns since the leases of all sources were renewed.
    turns: u8,
}

#[derive(Default)]
struct Tracked {
    /// The connections that the source may have here; `None` until the server has answered.
    allowed: Option<u32>,
    /// Whether a connection was opened or rejected since the last request.
    is_growing: bool,
    /// Whether the source is queued, or a request for it is under way.
    is_queued: bool,
}

impl State {
    /// The connections that a source may have without a lease.
    fn least(&mut self, limit: u32) -> u32 {
        self.part_until = self.part_until.filter(|until| *until > Instant::now());
        if self.part_until.is_some() { self.part(limit) } else { self.slice(limit) }
    }

    /// The part of this instance.
    fn part(&self, limit: u32) -> u32 {
        (limit / self.terms.instances).max(1)
    }

    /// The connections that need no lease. A single instance needs none.
    fn slice(&self, limit: u32) -> u32 {
        match self.terms.instances {
            1 => limit,
            instances => (limit / instances / 2).max(1),
        }
    }

    fn queue(&mut self, source: Option<Source>) {
        if let Some(tracked) = self.tracked.get_mut(&source).filter(|tracked| !tracked.is_queued) {
            tracked.is_queued = true;
            self.queued.push_back(source);
        }
    }

    fn queue_all(&mut self) {
        let State { tracked, queued, .. } = self;
        for (source, tracked) in tracked.iter_mut().filter(|(_, tracked)| !tracked.is_queued) {
            tracked.is_queued = true;
            queued.push_back(*source);
        }
    }
}

impl SharedCounts {
    pub(super) fn new(table: Weak<ConnectionTable>, limit: usize, lease: Duration, key: String) -> Self {
        let terms = Terms { is_shared: false, instances: 1 };
        let (tracked, queued) = (HashMap::new(), VecDeque::new());
        let divided_at = Instant::now();
        let state = Mutex::new(State { terms, divided_at, part_until: None, tracked, queued, turns: 0 });
        Self { table, limit: u32::try_from(limit).unwrap_or(u32::MAX), key, lease, state }
    }

    /// The connections that a source may have here, if it has `open` of them and another one arrives.
    pub(super) fn allowed(&self, source: Option<Source>, open: usize) -> usize {
        let mut state = self.state.lock();
        let part = state.part(self.limit);
        if !state.terms.is_shared {
            return part as usize;
        }
        let (slice, least) = (state.slice(self.limit), state.least(self.limit));
        if open < slice as usize / 2 && !state.tracked.contains_key(&source) {
            return least as usize;
        }
        if state.tracked.len() >= MAX_TRACKED && !state.tracked.contains_key(&source) {
            return part as usize;
        }
        let tracked = state.tracked.entry(source).or_default();
        tracked.is_growing = true;
        let allowed = tracked.allowed.unwrap_or_default().max(least);
        let is_near = tracked.allowed.is_none_or(|allowed| open + 1 >= allowed.saturating_sub(slice / 2) as usize);
        // At the limit, the server is asked only when all leases are renewed.
        if is_near && allowed < self.limit {
            state.queue(source);
        }
        allowed as usize
    }

    fn request(&self, source: Option<Source>, open: u32, want: u32) -> Request {
        let expiry = self.lease.saturating_mul(EXPIRY_LEASES).max(MIN_EXPIRY);
        Request::of(&self.key, source, Ask::Open { limit: self.limit, open, want, expiry })
    }
}

impl Lease for SharedCounts {
    /// All leases are renewed in every second idle turn.
    fn due(&self, most: usize, idle_turn: bool) -> Vec<Request> {
        let Some(table) = self.table.upgrade() else { return Vec::new() };
        let mut state = self.state.lock();
        if idle_turn {
            state.turns = (state.turns + 1) % 2;
            if state.turns == 0 {
                state.queue_all();
            }
        }
        let slice = state.slice(self.limit);
        let count = state.queued.len().min(most);
        let sources: Vec<_> = state.queued.drain(..count).collect();
        drop(state); // the table is locked while `allowed` is called
        let open: Vec<_> = sources.iter().map(|source| table.open_of(*source)).collect();
        let mut state = self.state.lock();
        let requests = sources.into_iter().zip(open).filter_map(|(source, open)| {
            let open = u32::try_from(open).unwrap_or(u32::MAX);
            let tracked = state.tracked.get_mut(&source)?;
            let is_growing = std::mem::take(&mut tracked.is_growing);
            if (open == 0 || open < slice / 2) && !is_growing {
                state.tracked.remove(&source);
                return Some(self.request(source, open, 0));
            }
            let room = if is_growing { open.saturating_add(slice) } else { slice.div_ceil(4) };
            Some(self.request(source, open, open.saturating_add(room)))
        });
        requests.collect()
    }

    fn answer(&self, request: &Request, granted: Option<u32>) {
        let mut state = self.state.lock();
        let Some(tracked) = state.tracked.get_mut(&request.source) else { return };
        tracked.is_queued = false;
        match granted {
            Some(granted) => tracked.allowed = Some(granted),
            None => state.queue(request.source),
        }
    }

    fn set_terms(&self, terms: Terms) {
        let mut state = self.state.lock();
        if terms.is_shared && !state.terms.is_shared {
            state.queue_all();
            // The first answer after the start takes less time.
            let was_divided = state.divided_at.elapsed() >= self.lease;
            state.part_until = was_divided.then(|| deadline_after(Instant::now(), self.lease));
        } else if state.terms.is_shared && !terms.is_shared {
            state.divided_at = Instant::now();
        }
        state.terms = terms;
    }

    fn clean(&self) {
        let mut state = self.state.lock();
        let tracked = state.tracked.len();
        state.tracked.shrink_to(tracked * 2);
    }

    fn sources(&self) -> usize {
        self.state.lock().tracked.len()
    }
}

impl fmt::Debug for SharedCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedCounts").field("key", &self.key).field("limit", &self.limit).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
