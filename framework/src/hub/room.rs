//! One room: its members, and the ring of its last frames.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use parking_lot::{Mutex, RwLock};

use crate::hub::origins::{Origins, Stamp};
use crate::hub::ring::{Cursor, Missed, Read, Ring};

/// Locks are taken in this order: the members, the ring. No outbox is used under one of them.
pub(super) struct Room<T> {
    pub(super) name: Arc<str>,
    /// By the id of the connection.
    members: Mutex<BTreeMap<u64, Arc<dyn RoomMember>>>,
    ring: RwLock<Ring<T>>,
    /// The entries that were offered to all members.
    offered: AtomicU64,
    /// The fan-out has the room in its queue.
    pub(super) is_ready: AtomicBool,
    origins: Mutex<Origins>,
}

/// A member as the fan-out sees it.
pub(super) trait RoomMember: Send + Sync {
    /// Gives the connection a turn to take the new entries, whose numbers are in `start..end`. True if the member needs
    /// another offer.
    fn offer(self: Arc<Self>, start: u64, end: u64) -> bool;

    /// The number of frames so far that exclude the member.
    fn excluded(&self) -> &AtomicU64;

    /// The member gets no further frame.
    fn leave(&self);

    /// The member gets only the entries before this one: another member of the connection has taken its place.
    fn finish(self: Arc<Self>, end: u64);
}

/// A member whose place another one has taken, and where it ends.
type Previous = (Arc<dyn RoomMember>, u64);

/// What a publish has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// The members of the room in this process.
    pub members: usize,
    /// The queue of the room was full, and the frame has replaced one that not every member was offered yet: publishers
    /// are faster than the members can be. These members get a gap.
    pub overrun: bool,
}

impl<T> Room<T> {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            members: Mutex::default(),
            ring: RwLock::default(),
            offered: AtomicU64::new(0),
            is_ready: AtomicBool::new(false),
            origins: Mutex::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.members.lock().len()
    }

    pub(super) fn has(&self, connection: u64) -> bool {
        self.members.lock().contains_key(&connection)
    }

    /// Adds a member that `create` makes of its cursor. It gets the frames that are published from now on. Also returns
    /// the previous member of the connection.
    pub(super) fn add<M: RoomMember + 'static>(
        &self,
        connection: u64,
        create: impl FnOnce(Cursor) -> Arc<M>,
    ) -> (Arc<M>, Option<Previous>) {
        let mut members = self.members.lock();
        let cursor = self.ring.read().cursor(connection);
        let member = create(cursor);
        let previous = members.insert(connection, member.clone());
        (member, previous.map(|previous| (previous, cursor.entries())))
    }

    pub(super) fn remove(&self, connection: u64) -> Option<Arc<dyn RoomMember>> {
        self.members.lock().remove(&connection)
    }

    /// Adds a frame to the ring, which has at most `limit` entries.
    pub(super) fn publish(&self, frame: T, except: Option<u64>, limit: usize) -> Published {
        let members = self.members.lock();
        if let Some(member) = except.and_then(|id| members.get(&id)) {
            member.excluded().fetch_add(1, SeqCst);
        }
        let mut ring = self.ring.write();
        ring.push(frame, except, limit);
        Published { members: members.len(), overrun: ring.start() > self.offered.load(SeqCst) }
    }

    /// Adds what another instance has published: the frame, or up to where it has published, and the hole before it.
    /// False if it is known already.
    pub(super) fn receive(&self, stamp: Stamp, frame: Option<T>, limit: usize) -> bool {
        let mut origins = self.origins.lock();
        let Some(hole) = origins.receive(stamp, frame.is_some()) else { return false };
        let mut ring = self.ring.write();
        if hole > 0 {
            ring.push_gap(Missed::new(hole), limit);
        }
        if let Some(frame) = frame {
            ring.push(frame, None, limit);
        }
        true
    }

    /// A gap of an unknown number of frames, if the instance has published here.
    pub(super) fn silent(&self, instance: u64, limit: usize) -> bool {
        let origins = self.origins.lock();
        let has_published = origins.has(instance);
        if has_published {
            self.push_gap(0, limit);
        }
        has_published
    }

    pub(super) fn ended(&self, instance: u64) {
        self.origins.lock().forget(instance);
    }

    pub(super) fn push_gap(&self, missed: u64, limit: usize) {
        self.ring.write().push_gap(Missed::new(missed), limit);
    }

    pub(super) fn has_lost(&self, cursor: &Cursor, excluded: &AtomicU64) -> bool {
        cursor.has_lost(&self.ring.read(), excluded)
    }

    pub(super) fn read(&self, cursor: &mut Cursor, end: u64, excluded: &AtomicU64) -> Read<T>
    where
        T: Clone,
    {
        cursor.read(&self.ring.read(), end, excluded)
    }

    /// The numbers of the entries in the ring.
    pub(super) fn window(&self) -> (u64, u64) {
        let ring = self.ring.read();
        (ring.start(), ring.end())
    }

    pub(super) fn set_offered(&self, entries: u64) {
        self.offered.store(entries, SeqCst);
    }

    /// Up to `max` members, in the order of their connections, behind the connection `after`.
    pub(super) fn slice(&self, after: u64, max: usize) -> Vec<(u64, Arc<dyn RoomMember>)> {
        let members = self.members.lock();
        let next = members.range((Excluded(after), Unbounded)).take(max);
        next.map(|(id, member)| (*id, member.clone())).collect()
    }
}
