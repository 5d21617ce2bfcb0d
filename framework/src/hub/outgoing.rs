//! What a hub tells its link: frames for other instances, and the rooms that have members here.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::hub::origins::Stamp;

/// Maximum frames that wait for the link. Further frames are dropped; the other instances notice the hole.
const MAX_WAITING: usize = 4_096;

/// A frame for the other instances.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LinkFrame<T> {
    /// The room.
    pub room: Arc<str>,
    /// The number of the frame.
    pub stamp: Stamp,
    /// The frame. The members on this instance have it already.
    pub frame: T,
}

/// What a link does next.
#[derive(Debug)]
#[non_exhaustive]
pub enum LinkEvent<T> {
    /// A room has its first member on this instance.
    Subscribe(Arc<str>),
    /// The last member on this instance has left the room.
    Unsubscribe(Arc<str>),
    /// A frame was published on this instance.
    Publish(LinkFrame<T>),
}

pub(super) struct Outgoing<T> {
    queue: Mutex<Queue<T>>,
    changed: Notify,
}

struct Queue<T> {
    frames: VecDeque<LinkFrame<T>>,
    /// The last stamp in each room. At most `max_rooms`; above it, all rooms are numbered anew in another epoch.
    stamps: HashMap<Arc<str>, Stamp>,
    next: Stamp,
    max_rooms: usize,
    /// The rooms that the link has subscribed to.
    subscribed: HashSet<Arc<str>>,
    /// The rooms whose subscription must change, and whether they have members.
    changes: BTreeMap<Arc<str>, bool>,
    dropped: u64,
}

impl<T> Outgoing<T> {
    pub(super) fn new(instance: u64, max_rooms: usize) -> Self {
        let queue = Queue {
            frames: VecDeque::new(),
            stamps: HashMap::new(),
            next: Stamp { instance, epoch: 0, sequence: 1 },
            max_rooms,
            subscribed: HashSet::new(),
            changes: BTreeMap::new(),
            dropped: 0,
        };
        Self { queue: Mutex::new(queue), changed: Notify::new() }
    }

    pub(super) fn instance(&self) -> u64 {
        self.queue.lock().next.instance
    }

    pub(super) fn publish(&self, room: &str, frame: T) {
        self.queue.lock().publish(room, frame);
        self.changed.notify_one();
    }

    /// A room has members from now on, or none.
    pub(super) fn room_changed(&self, room: &Arc<str>, has_members: bool) {
        let mut queue = self.queue.lock();
        if queue.subscribed.contains(room) == has_members {
            queue.changes.remove(room);
        } else {
            queue.changes.insert(room.clone(), has_members);
        }
        self.changed.notify_one();
    }

    pub(super) async fn next(&self) -> LinkEvent<T> {
        loop {
            if let Some(event) = self.queue.lock().pop() {
                return event;
            }
            self.changed.notified().await;
        }
    }

    #[cfg(feature = "fleet")]
    pub(super) fn epoch(&self) -> u64 {
        self.queue.lock().next.epoch
    }

    /// What is ready.
    #[cfg(feature = "fleet")]
    pub(super) fn try_next(&self) -> Option<LinkEvent<T>> {
        self.queue.lock().pop()
    }

    /// Without the rooms whose frames still wait: their last frame would arrive behind its stamp.
    pub(super) fn stamps(&self) -> Vec<(Arc<str>, Stamp)> {
        let queue = self.queue.lock();
        let waiting: HashSet<&str> = queue.frames.iter().map(|frame| &*frame.room).collect();
        let sent = queue.stamps.iter().filter(|(room, _)| !waiting.contains(&***room));
        sent.map(|(room, stamp)| (room.clone(), *stamp)).collect()
    }

    pub(super) fn subscribed(&self) -> Vec<Arc<str>> {
        self.queue.lock().subscribed.iter().cloned().collect()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.queue.lock().dropped
    }
}

impl<T> Queue<T> {
    fn publish(&mut self, room: &str, frame: T) {
        let (room, stamp) = self.number(room);
        if self.frames.len() < MAX_WAITING {
            self.frames.push_back(LinkFrame { room, stamp, frame });
        } else {
            self.dropped += 1;
        }
    }

    /// The stamp of the next frame in a room.
    fn number(&mut self, room: &str) -> (Arc<str>, Stamp) {
        if let Some((room, stamp)) = self.stamps.get_key_value(room) {
            let (room, stamp) = (room.clone(), Stamp { sequence: stamp.sequence + 1, ..*stamp });
            self.stamps.insert(room.clone(), stamp);
            return (room, stamp);
        }
        if self.stamps.len() >= self.max_rooms {
            self.stamps.clear();
            self.next.epoch += 1;
        }
        let (room, stamp) = (Arc::from(room), self.next);
        self.stamps.insert(Arc::clone(&room), stamp);
        (room, stamp)
    }

    /// Changes of rooms first: their number is bounded by the rooms of the hub and of the link.
    fn pop(&mut self) -> Option<LinkEvent<T>> {
        if let Some((room, has_members)) = self.changes.pop_first() {
            return Some(if has_members {
                self.subscribed.insert(room.clone());
                LinkEvent::Subscribe(room)
            } else {
                self.subscribed.remove(&room);
                LinkEvent::Unsubscribe(room)
            });
        }
        self.frames.pop_front().map(LinkEvent::Publish)
    }
}
