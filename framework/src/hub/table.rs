//! The rooms of a hub by name. A room exists while it has members.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};

use crate::handler::Background;
use crate::hub::fan_out::FanOut;
use crate::hub::limits::{HubLimits, JoinError, MAX_ROOM_NAME};
use crate::hub::origins::Stamp;
use crate::hub::outgoing::Outgoing;
use crate::hub::ring::Cursor;
use crate::hub::room::{Published, Room, RoomMember};

pub(super) struct RoomTable<T> {
    pub(super) limits: HubLimits,
    rooms: RwLock<HashMap<Arc<str>, Arc<Room<T>>>>,
    fan_out: Arc<FanOut<T>>,
    /// The queue of the link, while there is one.
    outgoing: RwLock<Option<Arc<Outgoing<T>>>>,
    shared: Mutex<Weak<Background>>,
    members: AtomicUsize,
    published: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) closed: AtomicU64,
}

/// Counters of a hub.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubStats {
    /// Rooms with members now.
    pub rooms: usize,
    /// Memberships now: a connection counts once in each of its rooms.
    pub members: usize,
    /// Frames published in this process so far.
    pub published: u64,
    /// Frames that members have missed so far, each member by itself.
    pub dropped: u64,
    /// Members closed so far because they were too slow.
    pub closed: u64,
    /// Frames so far that the queue of the link had no place for.
    pub link_dropped: u64,
}

/// There is a link already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the hub has a link already; drop it first")]
pub struct LinkError;

impl<T: Clone + Send + Sync + 'static> RoomTable<T> {
    pub(super) fn new() -> Self {
        Self {
            limits: HubLimits::default(),
            rooms: RwLock::default(),
            fan_out: Arc::default(),
            outgoing: RwLock::new(None),
            shared: Mutex::default(),
            members: AtomicUsize::new(0),
            published: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            closed: AtomicU64::new(0),
        }
    }

    pub(super) fn room(&self, name: &str) -> Option<Arc<Room<T>>> {
        self.rooms.read().get(name).cloned()
    }

    /// Adds a member to a room. If the connection is a member already, the new one takes its place. Also returns
    /// whether the connection was no member.
    pub(super) fn join<M: RoomMember + 'static>(
        &self,
        name: &str,
        connection: u64,
        create: impl FnOnce(Arc<Room<T>>, Cursor) -> M,
    ) -> Result<(Arc<M>, bool), JoinError> {
        if name.len() > MAX_ROOM_NAME {
            return Err(JoinError::Name(name.len()));
        }
        self.fan_out.joined();
        let mut rooms = self.rooms.write();
        let room = match rooms.get(name) {
            Some(room) => room.clone(),
            None => {
                let limit = self.limits.rooms.load(Relaxed);
                if rooms.len() >= limit {
                    return Err(JoinError::Rooms(limit));
                }
                Arc::new(Room::new(name))
            }
        };
        let (limit, members) = (self.limits.members.load(Relaxed), room.len());
        if members >= limit && !room.has(connection) {
            return Err(JoinError::Members(limit));
        }
        let (member, previous) = room.add(connection, |cursor| Arc::new(create(room.clone(), cursor)));
        if members == 0 {
            self.room_changed(&room, true);
            rooms.insert(room.name.clone(), room);
        }
        drop(rooms);
        let is_new = previous.is_none();
        match previous {
            Some((previous, end)) => previous.finish(end),
            None => {
                self.members.fetch_add(1, Relaxed);
            }
        }
        Ok((member, is_new))
    }

    /// Ends a membership, and the room with its last one.
    pub(super) fn remove(&self, name: &str, connection: u64) -> Option<Arc<dyn RoomMember>> {
        let mut rooms = self.rooms.write();
        let room = rooms.get(name)?;
        let member = room.remove(connection)?;
        self.members.fetch_sub(1, Relaxed);
        if room.len() == 0
            && let Some(room) = rooms.remove(name)
        {
            self.room_changed(&room, false);
        }
        Some(member)
    }

    fn room_changed(&self, room: &Room<T>, has_members: bool) {
        if let Some(outgoing) = &*self.outgoing.read() {
            outgoing.room_changed(&room.name, has_members);
        }
    }

    pub(super) fn publish(&self, name: &str, frame: T, except: Option<u64>) -> Published {
        self.published.fetch_add(1, Relaxed);
        if let Some(outgoing) = &*self.outgoing.read()
            && name.len() <= MAX_ROOM_NAME
        {
            outgoing.publish(name, frame.clone());
        }
        let Some(room) = self.room(name) else { return Published::default() };
        let published = room.publish(frame, except, self.limits.queue());
        self.fan_out.start(&room);
        published
    }

    /// Adds what another instance has published, see [`Room::receive`].
    pub(super) fn receive(&self, name: &str, stamp: Stamp, frame: Option<T>) {
        if let Some(room) = self.room(name)
            && room.receive(stamp, frame, self.limits.queue())
        {
            self.fan_out.start(&room);
        }
    }

    /// Tells the members of a room, or of all rooms, of a gap.
    pub(super) fn lost(&self, name: Option<&str>, missed: u64) {
        let rooms: Vec<_> = match name {
            Some(name) => self.room(name).into_iter().collect(),
            None => self.rooms.read().values().cloned().collect(),
        };
        for room in rooms {
            room.push_gap(missed, self.limits.queue());
            self.fan_out.start(&room);
        }
    }

    /// Tells the members of the rooms where another instance has published of a gap.
    pub(super) fn silent(&self, instance: u64) {
        let rooms: Vec<_> = self.rooms.read().values().cloned().collect();
        for room in rooms {
            if room.silent(instance, self.limits.queue()) {
                self.fan_out.start(&room);
            }
        }
    }

    pub(super) fn ended(&self, instance: u64) {
        self.rooms.read().values().for_each(|room| room.ended(instance));
    }

    /// The task that links the hub with a fleet. Creates it if there is none.
    pub(super) fn shared(&self, create: impl FnOnce() -> Background) -> Arc<Background> {
        let mut known = self.shared.lock();
        known.upgrade().unwrap_or_else(|| {
            let task = Arc::new(create());
            *known = Arc::downgrade(&task);
            task
        })
    }

    /// Starts to collect what a link needs.
    pub(super) fn link(&self, instance: u64) -> Result<Arc<Outgoing<T>>, LinkError> {
        let rooms = self.rooms.read();
        let mut outgoing = self.outgoing.write();
        if outgoing.is_some() {
            return Err(LinkError);
        }
        let link = Arc::new(Outgoing::new(instance, self.limits.rooms.load(Relaxed)));
        rooms.keys().for_each(|name| link.room_changed(name, true));
        *outgoing = Some(link.clone());
        Ok(link)
    }

    pub(super) fn unlink(&self) {
        *self.outgoing.write() = None;
    }

    pub(super) fn stats(&self) -> HubStats {
        HubStats {
            rooms: self.rooms.read().len(),
            members: self.members.load(Relaxed),
            published: self.published.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
            closed: self.closed.load(Relaxed),
            link_dropped: self.outgoing.read().as_ref().map_or(0, |outgoing| outgoing.dropped()),
        }
    }
}
