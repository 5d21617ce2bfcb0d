//! The seam between a hub and the network that connects it with the hubs of other instances.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::hub::origins::Stamp;
use crate::hub::outgoing::{LinkEvent, Outgoing};
use crate::hub::table::RoomTable;

/// Connects a hub with the hubs of other instances: [`Hub::link`](crate::hub::Hub::link) creates it, and a task that
/// knows the network drives it. Dropping it ends the link.
///
/// The hub numbers the frames of each room. It notices from the numbers what has not arrived, and tells its members of
/// the gap. The link only transports frames with their [`Stamp`], and reports what it knows to be lost.
///
/// ```
/// use switchboard::hub::{Hub, LinkEvent, Slow};
/// use switchboard::prelude::*;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let (here, there): (Hub, Hub) = (Hub::new(), Hub::new());
/// let (mut link, other) = (here.link(1)?, there.link(2)?);
/// here.publish("lobby", "hello");
/// if let LinkEvent::Publish(sent) = link.next().await {
///     other.deliver(&sent.room, sent.stamp, sent.frame);
/// }
/// # Ok(())
/// # }
/// ```
pub struct HubLink<T: Clone + Send + Sync + 'static = Bytes> {
    table: Arc<RoomTable<T>>,
    outgoing: Arc<Outgoing<T>>,
}

impl<T: Clone + Send + Sync + 'static> HubLink<T> {
    pub(super) fn new(table: Arc<RoomTable<T>>, outgoing: Arc<Outgoing<T>>) -> Self {
        Self { table, outgoing }
    }

    /// Waits for what to do next. Changes of rooms come before frames. Rooms that exist already when the link begins
    /// are changes.
    ///
    /// Frames wait in a queue of 4,096. If the link is slower, the hub drops further frames, and the other instances
    /// notice it from the stamps. Cancel safe.
    pub async fn next(&mut self) -> LinkEvent<T> {
        self.outgoing.next().await
    }

    /// Delivers a frame of another instance to the members of the room here. Frames of this instance and stamps that
    /// are not newer than the last one are ignored. If stamps are missing, the members get a gap first.
    pub fn deliver(&self, room: &str, stamp: Stamp, frame: T) {
        if stamp.instance != self.outgoing.instance() {
            self.table.receive(room, stamp, Some(frame));
        }
    }

    /// Another instance has published up to this stamp: one of [its stamps](Self::stamps), in a heartbeat. If they have
    /// not all arrived, the members get a gap without waiting for the next frame. A heartbeat must not
    /// overtake frames: it takes the same way.
    pub fn published(&self, room: &str, stamp: Stamp) {
        if stamp.instance != self.outgoing.instance() {
            self.table.receive(room, stamp, None);
        }
    }

    /// Tells the members of a room, or of all rooms, that frames were lost. 0: an unknown number, for example because
    /// the network was interrupted.
    pub fn lost(&self, room: Option<&str>, missed: u64) {
        self.table.lost(room, missed);
    }

    /// Another instance has sent nothing for some time, not even heartbeats: the members of the rooms where it has
    /// published get a gap of an unknown number of frames.
    pub fn silent(&self, instance: u64) {
        self.table.silent(instance);
    }

    /// Another instance has ended, and sends nothing more.
    pub fn ended(&self, instance: u64) {
        self.table.ended(instance);
    }

    /// The last stamp of this instance in each room, for heartbeats: at most one for each of
    /// [`Hub::rooms`](crate::hub::Hub::rooms). Rooms with frames that [`next`](Self::next) has not returned yet are
    /// left out.
    pub fn stamps(&self) -> Vec<(Arc<str>, Stamp)> {
        self.outgoing.stamps()
    }

    /// The rooms of all [`Subscribe`](LinkEvent::Subscribe) events without an [`Unsubscribe`](LinkEvent::Unsubscribe)
    /// event: what the link subscribes to again when it has reconnected.
    pub fn subscribed(&self) -> Vec<Arc<str>> {
        self.outgoing.subscribed()
    }
}

#[cfg(feature = "fleet")]
impl<T: Clone + Send + Sync + 'static> HubLink<T> {
    pub(super) fn outgoing(&self) -> &Outgoing<T> {
        &self.outgoing
    }

    pub(super) fn instance(&self) -> u64 {
        self.outgoing.instance()
    }

    /// The current epoch of the stamps.
    pub(super) fn epoch(&self) -> u64 {
        self.outgoing.epoch()
    }
}

impl<T: Clone + Send + Sync + 'static> Drop for HubLink<T> {
    fn drop(&mut self) {
        self.table.unlink();
    }
}

impl<T: Clone + Send + Sync + 'static> fmt::Debug for HubLink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubLink").field("instance", &self.outgoing.instance()).finish_non_exhaustive()
    }
}
