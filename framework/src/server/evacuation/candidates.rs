//! The connections that an evacuation can close, ordered by how long they have been idle.
//!
//! No time of the last activity is stored per connection, because every connection would pay for it. The counters of
//! each candidate are compared instead while the evacuation runs.

use std::cmp::Reverse;
use std::time::Duration;

use tokio::time::Instant;

use crate::connection::{Connection, ControlSignal};

#[derive(Debug, Default)]
pub(in crate::server) struct Candidates(Vec<Candidate>);

#[derive(Debug)]
pub(in crate::server) struct Candidate {
    pub(super) connection: Connection,
    /// The sum of its counters, which only grow.
    activity: u64,
    /// Since when the counters are known to be the same.
    quiet_since: Instant,
    /// The average time between two messages since it was opened.
    interval: Duration,
}

impl Candidate {
    fn new(connection: Connection, now: Instant) -> Self {
        let activity = activity(&connection);
        let mut candidate = Self { connection, activity, quiet_since: now, interval: Duration::ZERO };
        candidate.update(now);
        candidate
    }

    fn update(&mut self, now: Instant) {
        let activity = activity(&self.connection);
        if activity != self.activity {
            (self.activity, self.quiet_since) = (activity, now);
        }
        let messages = u32::try_from(self.connection.messages()).unwrap_or(u32::MAX).saturating_add(1);
        self.interval = now.saturating_duration_since(self.connection.opened()) / messages;
    }

    /// The first is closed first. The average decides between connections that were equally long observed.
    fn order(&self) -> (Instant, Reverse<Duration>, u64) {
        (self.quiet_since, Reverse(self.interval), self.connection.id())
    }

    /// Whether it is open, and nothing closes it yet.
    pub(super) fn is_open(&self) -> bool {
        self.connection.close_reason().is_none() && self.connection.current_signal() < ControlSignal::Drain
    }
}

fn activity(connection: &Connection) -> u64 {
    connection.messages().wrapping_add(connection.bytes_in()).wrapping_add(connection.bytes_out())
}

impl Candidates {
    pub(in crate::server) fn new(connections: Vec<Connection>) -> Self {
        let now = Instant::now();
        Self(connections.into_iter().map(|connection| Candidate::new(connection, now)).collect())
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Removes the connections that have closed, and takes at most `count` of those that are idle for longest. The last
    /// of them is to be closed first.
    pub(super) fn take(&mut self, count: usize) -> Vec<Candidate> {
        let now = Instant::now();
        self.0.retain(Candidate::is_open);
        self.0.iter_mut().for_each(|candidate| candidate.update(now));
        let count = count.min(self.0.len());
        if count == 0 {
            return Vec::new();
        }
        // Linear: only the taken ones are sorted.
        self.0.select_nth_unstable_by_key(count - 1, Candidate::order);
        let mut taken: Vec<Candidate> = self.0.drain(..count).collect();
        taken.sort_unstable_by_key(|candidate| Reverse(candidate.order()));
        taken
    }

    /// Returns connections that were taken and not signalled.
    pub(super) fn put_back(&mut self, candidates: Vec<Candidate>) {
        self.0.extend(candidates);
    }
}
