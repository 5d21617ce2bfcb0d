//! A rate limit per source that the instances of a fleet share.
//!
//! Each instance enforces the whole rate by itself (GCRA), as without a fleet. In addition, a source has a balance: the
//! events that it may still cause here. A new source begins with one slice. Below half of it, the fleet renews the
//! balance from the bucket of the source at the server. A source that causes few events never needs the server.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use hashbrown::hash_table::{self as table, HashTable};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::address::Source;
use crate::fleet::{Ask, Bucket, Fleet, Lease, Request, Terms};
use crate::settings::SharedLimit;

/// Parts of the table, each with its own lock.
const SHARDS: usize = 64;
/// Maximum sources of a part that are counted separately; further ones are counted in groups.
const MAX_SOURCES: usize = 1_024;
/// Number of groups of all parts together.
const GROUPS: u32 = 4_096;
/// Leases after which a source that causes no events is forgotten. It then begins with one slice again.
const IDLE_LEASES: u32 = 60;

/// The fleet, and the key of a limit at its server.
#[derive(Debug, Clone)]
pub(crate) struct SharedBy {
    pub(crate) fleet: Fleet,
    pub(crate) key: String,
}

impl SharedBy {
    /// `None` if the fleet does not share this limit of a listener.
    pub(crate) fn new(fleet: Option<&Fleet>, limit: SharedLimit, listener: &str, kind: &str) -> Option<Self> {
        let fleet = fleet.filter(|fleet| fleet.shares(limit))?.clone();
        Some(Self { fleet, key: format!("{listener}:{kind}") })
    }
}

#[derive(Debug)]
pub(crate) struct SharedRate {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    origin: Instant,
    key: String,
    /// Nanoseconds per event.
    each: u64,
    /// Nanoseconds of a full burst.
    burst: u64,
    slice: u32,
    bucket: Bucket,
    lease: Duration,
    /// How long a message waits for the next renewal.
    interval: Duration,
    is_shared: AtomicBool,
    instances: AtomicU32,
    /// The shard that is asked first in the next renewal.
    first: AtomicUsize,
}

#[derive(Debug, Default)]
struct Shard {
    entries: HashTable<Entry>,
    /// The sources whose balance must be renewed.
    queued: VecDeque<Source>,
}

#[derive(Debug)]
struct Entry {
    source: Source,
    /// When the local burst is full again, in nanoseconds since `origin`: the theoretical arrival time of GCRA.
    full_at: u64,
    balance: u32,
    /// Whether the source caused an event, or was rejected, since the last request.
    is_active: bool,
    /// Whether the source is queued, or a request for it is under way.
    is_queued: bool,
}

impl Entry {
    fn is_group(&self) -> bool {
        matches!(self.source, Source::V4(ip) if u32::from(ip) < GROUPS)
    }
}

impl SharedRate {
    /// `each` is the time per event.
    pub(super) fn new(each: Duration, burst: u32, lease: Duration, interval: Duration, key: String) -> Self {
        let nanos = nanos(each).max(1);
        let slice = u32::try_from(lease.as_nanos() / u128::from(nanos)).unwrap_or(u32::MAX).max(1);
        // A bucket keeps what accrues between two renewals. Together with one slice it allows the burst.
        let initial = burst.saturating_sub(slice);
        let bucket = Bucket { each: Duration::from_nanos(nanos), capacity: initial.max(slice), initial };
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            origin: Instant::now(),
            key,
            each: nanos,
            burst: nanos.saturating_mul(u64::from(burst)),
            slice,
            bucket,
            lease,
            interval,
            is_shared: AtomicBool::new(false),
            instances: AtomicU32::new(1),
            first: AtomicUsize::new(0),
        }
    }

    /// Counts an event of a source. `Err` with the time to wait if the source exceeds its rate here, or if its balance
    /// is used up.
    pub(super) fn check(&self, source: Source) -> Result<(), Duration> {
        let is_shared = self.is_shared.load(Relaxed);
        self.count(source, is_shared, false).unwrap_or_else(|| {
            let group = self.hash(source) as u32 % GROUPS;
            // No client has an address in 0.0.0.0/16. A group has no lease.
            self.count(Source::V4(Ipv4Addr::from(group)), false, true).unwrap_or(Ok(()))
        })
    }

    /// `None` if the table has no room for the source.
    fn count(&self, source: Source, is_shared: bool, is_group: bool) -> Option<Result<(), Duration>> {
        let (now, hash) = (self.now(), self.hash(source));
        let mut shard = self.shard(hash).lock();
        let Shard { entries, queued } = &mut *shard;
        let is_full = entries.len() >= MAX_SOURCES && !is_group;
        let rehash = |entry: &Entry| self.hash(entry.source);
        let entry = match entries.entry(hash, |entry| entry.source == source, rehash) {
            table::Entry::Occupied(entry) => entry.into_mut(),
            table::Entry::Vacant(_) if is_full => return None,
            table::Entry::Vacant(vacant) => {
                let new = Entry { source, full_at: 0, balance: self.slice, is_active: false, is_queued: is_group };
                vacant.insert(new).into_mut()
            }
        };
        let each = if is_shared { self.each } else { self.divided() };
        let full_at = entry.full_at.max(now).saturating_add(each);
        entry.is_active = true;
        let excess = (full_at - now).saturating_sub(self.burst.max(each));
        if excess > 0 {
            return Some(Err(Duration::from_nanos(excess)));
        }
        let is_covered = entry.balance > 0 || !is_shared;
        if is_covered {
            entry.full_at = full_at;
            // Without leases, events are part of the divided limit. The balance stays for the time after that, when a
            // source within its rate must not wait for the first renewal.
            entry.balance = entry.balance.saturating_sub(u32::from(is_shared));
        }
        if entry.balance <= self.slice / 2 && !entry.is_queued {
            entry.is_queued = true;
            queued.push_back(source);
        }
        Some(if is_covered { Ok(()) } else { Err(self.interval) })
    }

    /// The time per event of the part of one instance.
    fn divided(&self) -> u64 {
        self.each.saturating_mul(u64::from(self.instances.load(Relaxed)))
    }

    fn now(&self) -> u64 {
        nanos(self.origin.elapsed())
    }

    /// A keyed hash of one number, which costs less than a hash of the parts.
    fn hash(&self, source: Source) -> u64 {
        self.hasher.hash_one(match source {
            Source::V4(ip) => u64::from(u32::from(ip)),
            Source::V6([a, b, c, d]) => [a, b, c, d].iter().fold(0, |all, part| all << 16 | u64::from(*part)),
        })
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard> {
        // The table uses the other bits.
        &self.shards[(hash >> 32) as usize % SHARDS]
    }

    fn request(&self, source: Source, want: u32, is_idle: bool) -> Request {
        let ask = Ask::Tokens { bucket: self.bucket, want, is_idle };
        Request::of(&self.key, Some(source), ask)
    }
}

impl Lease for SharedRate {
    fn due(&self, most: usize, idle_turn: bool) -> Vec<Request> {
        let mut requests = Vec::new();
        let first = self.first.fetch_add(1, Relaxed);
        for at in 0..SHARDS {
            let mut shard = self.shards[(first + at) % SHARDS].lock();
            let Shard { entries, queued } = &mut *shard;
            for _ in 0..queued.len() {
                if requests.len() == most {
                    return requests;
                }
                let Some(source) = queued.pop_front() else { break };
                let hash = self.hash(source);
                let Some(entry) = entries.find_mut(hash, |entry| entry.source == source) else { continue };
                if entry.balance >= self.slice {
                    entry.is_queued = false;
                } else if entry.is_active || idle_turn {
                    let is_idle = !std::mem::take(&mut entry.is_active);
                    requests.push(self.request(source, self.slice - entry.balance, is_idle));
                } else {
                    queued.push_back(source);
                }
            }
        }
        requests
    }

    fn answer(&self, request: &Request, granted: Option<u32>) {
        let (Some(source), Ask::Tokens { is_idle, .. }) = (request.source, &request.ask) else { return };
        let hash = self.hash(source);
        let mut shard = self.shard(hash).lock();
        let Shard { entries, queued } = &mut *shard;
        let Some(entry) = entries.find_mut(hash, |entry| entry.source == source) else { return };
        entry.balance = entry.balance.saturating_add(granted.unwrap_or_default()).min(self.slice);
        entry.is_active |= granted.is_none() && !is_idle;
        entry.is_queued = entry.balance < self.slice;
        if entry.is_queued {
            queued.push_back(source);
        }
    }

    fn set_terms(&self, Terms { is_shared, instances }: Terms) {
        self.instances.store(instances, Relaxed);
        self.is_shared.store(is_shared, Relaxed);
    }

    /// Forgets idle sources. Those that are queued stay until the balance is full, as long as the server answers.
    fn clean(&self) {
        let idle = nanos(self.lease.saturating_mul(IDLE_LEASES));
        let is_shared = self.is_shared.load(Relaxed);
        for shard in &self.shards {
            let now = self.now();
            let mut shard = shard.lock();
            // A full table forgets a source as soon as it is idle.
            let idle = if shard.entries.len() < MAX_SOURCES / 2 { idle } else { nanos(self.lease) };
            shard.entries.retain(|entry| {
                let is_new = entry.balance == self.slice && entry.full_at <= now;
                let is_idle = entry.full_at.saturating_add(idle) <= now;
                !(is_new || is_idle) || (entry.is_queued && !entry.is_group() && is_shared)
            });
            let Shard { entries, queued } = &mut *shard;
            entries.shrink_to(entries.len() * 2, |entry| self.hash(entry.source));
            queued.shrink_to(entries.len());
        }
    }

    fn sources(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().queued.len()).sum()
    }
}

/// A rate limit that a fleet shares, and the fleet that renews it.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) rate: Arc<SharedRate>,
    /// The fleet renews the limit as long as it exists.
    _fleet: Fleet,
}

impl Shared {
    /// `each` is the time per event.
    pub(super) fn new(each: Duration, burst: u32, SharedBy { fleet, key }: SharedBy) -> Self {
        let rate = Arc::new(SharedRate::new(each, burst, fleet.lease(), fleet.interval(), key));
        fleet.register(&rate);
        Self { rate, _fleet: fleet }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
