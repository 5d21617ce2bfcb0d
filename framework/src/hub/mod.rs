//! Rooms: a handler publishes a frame, and all members of the room get it.
//!
//! ```
//! use switchboard::hub::Hub;
//! use switchboard::prelude::*;
//!
//! /// Sends each line to all other clients.
//! #[derive(Default)]
//! struct Lobby {
//!     rooms: Hub,
//! }
//!
//! impl Handler for Lobby {
//!     type State = ();
//!
//!     async fn open(&self, cx: &mut Context) -> Result<Reply> {
//!         self.rooms.join(cx, "lobby")?; // until the connection ends
//!         Ok(Reply::none())
//!     }
//!
//!     async fn message(&self, cx: &mut Context, line: Bytes) -> Result<Reply> {
//!         self.rooms.except(cx).publish("lobby", line);
//!         Ok(Reply::none())
//!     }
//!
//!     async fn gap(&self, _: &mut Context, _room: &str, missed: u64) -> Result<Reply> {
//!         Ok(Reply::send(format!("you have missed {missed} lines")))
//!     }
//! }
//!
//! # #[cfg(feature = "testing")]
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! # let server = switchboard::testing::Server::new(Lobby::default()).framing(Lines::default()).start().await;
//! # let (mut ann, mut bob) = (server.connect().await, server.connect().await);
//! # bob.send("hi\n").await;
//! # ann.expect("hi\n").await;
//! # }
//! # #[cfg(not(feature = "testing"))]
//! # fn main() {}
//! ```
//!
//! # Delivery
//!
//! [`publish`](Hub::publish) adds the frame to the queue of the room and returns at once. A task offers it to the
//! members, 64 per turn, so that a room with many members delays no other connection. All members of a room see its
//! frames in the same order. There is no order between rooms, or between a room and the replies and pushed frames of a
//! connection. A new member gets the frames that are published after [`join`](Hub::join) has returned.
//!
//! The queue of a room has the last [`queue`](Hub::queue) frames for all members together. A member that is further
//! behind has missed frames: [`Handler::gap`](crate::Handler::gap) is called before the next frame, with their number.
//! [`Slow::Close`] closes the connection instead, if its client does not read. Publishers that are faster than the
//! members can be, and handlers that are busy, cause a gap in both cases. [`Published::overrun`] reports the former to
//! the publisher.
//!
//! Membership ends with [`leave`](Hub::leave), and with the connection, whatever ends it. If the connection closes
//! gracefully, frames that were published before are still sent, up to a gap.
//!
//! # Datagram peers
//!
//! A datagram peer can join. Its frames can be lost like any datagram: they are dropped when the queue of pushed frames
//! is full, and `gap` is not called. Its membership ends with `leave`, or with the first frame after the server has
//! forgotten the peer. Limit the time of a membership in the protocol: a datagram peer does not say that it is gone.
//!
//! # Several instances
//!
//! [`share`](Hub::share) connects the hubs of the instances of a [fleet](crate::fleet):
//!
//! - A frame reaches the members on the other instances through the server of the fleet. All members of a room see the
//!   frames of one instance in one order; frames of several instances can have another order on each instance.
//! - Nothing is lost silently. A member that may have missed frames gets a gap, with their number if it is known, and 0
//!   otherwise: after an interruption of the connection to the server, or when an instance was killed.
//! - While the server is away, members get the frames of their own instance. Up to 4,096 frames wait for the others.
//! - A room is subscribed when its first member joins. Until the server has answered, usually a millisecond, the member
//!   gets the frames of its own instance only.
//!
//! A [`HubLink`] connects hubs in another way.

mod codec;
mod fan_out;
#[cfg(feature = "fleet")]
mod fleet;
mod limits;
mod link;
mod member;
mod origins;
mod outgoing;
mod ring;
mod room;
mod share;
mod table;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;

pub use limits::{JoinError, Slow};
pub use link::HubLink;
pub use origins::Stamp;
pub use outgoing::{LinkEvent, LinkFrame};
pub use room::Published;
pub use share::ShareError;
pub use table::{HubStats, LinkError};

use crate::connection::Connection;
use crate::handler::Context;
use crate::outbox::SourceError;
use member::Member;
use table::RoomTable;

/// Rooms with members, see the [module](self). Clones refer to the same rooms.
///
/// `T` is the type of the published frames. It is cloned for each member, and must be cheap to clone.
/// [`join_with`](Self::join_with) makes other frames of it.
///
/// A reload that replaces a handler creates a new one, with a new hub. To keep the members of the old and the new
/// handler together, create the hub outside of the handlers and give each a clone.
pub struct Hub<T: Clone + Send + Sync + 'static = Bytes> {
    table: Arc<RoomTable<T>>,
}

/// Publishes to all members of a room except one connection: [`Hub::except`].
#[derive(Debug)]
pub struct Except<'a, T: Clone + Send + Sync + 'static = Bytes> {
    hub: &'a Hub<T>,
    connection: u64,
}

impl<T: Clone + Send + Sync + 'static> Hub<T> {
    /// A hub without rooms.
    pub fn new() -> Self {
        Self { table: Arc::new(RoomTable::new()) }
    }

    /// How many frames a member can be behind: the number of frames that a room keeps, 256 by default.
    ///
    /// It must exceed what is published while the members take their turns: a room with 10,000 members needs about
    /// 0.1 s for a round. The memory of a room is this number of frames, however many members are slow.
    pub fn queue(self, frames: usize) -> Self {
        self.table.limits.queue.store(frames.max(1), Relaxed);
        self
    }

    /// What happens to a member that is more frames behind. By default it misses the frames.
    pub fn slow(self, slow: Slow) -> Self {
        self.table.limits.closes_slow.store(slow == Slow::Close, Relaxed);
        self
    }

    /// Maximum number of rooms, 10,000 by default.
    pub fn rooms(self, rooms: usize) -> Self {
        self.table.limits.rooms.store(rooms, Relaxed);
        self
    }

    /// Maximum number of members of a room, 100,000 by default.
    pub fn members(self, members: usize) -> Self {
        self.table.limits.members.store(members, Relaxed);
        self
    }

    /// Maximum number of rooms that a connection is in, 64 by default. Rooms of other hubs count too.
    pub fn rooms_per_connection(self, rooms: usize) -> Self {
        self.table.limits.rooms_per_connection.store(rooms, Relaxed);
        self
    }

    /// Makes the connection a member of a room until it ends. The first member creates the room. The name of a room has
    /// at most 255 bytes. If the connection is a member already, nothing changes.
    pub fn join<S>(&self, cx: &Context<S, T>, room: &str) -> Result<(), JoinError> {
        self.join_with(cx, room, Some)
    }

    /// Like [`join`](Self::join), with a function that makes the frames of this member: another type, a number of its
    /// own, or `None` to skip a frame. It runs in the task of the connection, in the order of the frames.
    ///
    /// A skipped frame is not missed, but one that was lost before the function has seen it is. If the connection is a
    /// member already, the new function gets the frames from now on. The old one still gets those that were published
    /// before, and they are sent before the frames that the handler pushes after this call.
    ///
    /// ```
    /// use switchboard::hub::Hub;
    /// use switchboard::prelude::*;
    ///
    /// # struct Prices { hub: Hub<(String, u64)> }
    /// # impl Handler for Prices {
    /// #     type State = ();
    /// /// The client sends the name of a share, and gets its prices from then on, with numbers.
    /// async fn message(&self, cx: &mut Context, share: Bytes) -> Result<Reply> {
    ///     let mut number = 0;
    ///     self.hub.join_with(cx, "prices", move |(name, price)| {
    ///         if share != name {
    ///             return None;
    ///         }
    ///         number += 1;
    ///         Some(format!("{number}: {price}").into())
    ///     })?;
    ///     Ok(Reply::none())
    /// }
    /// # }
    /// ```
    pub fn join_with<S, Out, View>(&self, cx: &Context<S, Out>, room: &str, view: View) -> Result<(), JoinError>
    where
        Out: Send + 'static,
        View: FnMut(T) -> Option<Out> + Send + 'static,
    {
        let (table, pusher) = (self.table.clone(), cx.pusher());
        let create = move |room, cursor| Member::new(table, room, cursor, pusher, view);
        let (member, is_new) = self.table.join(room, cx.id(), create)?;
        let limit = if is_new { self.table.limits.rooms_per_connection.load(Relaxed) } else { usize::MAX };
        member.attach(limit).map_err(|error| {
            self.table.remove(room, cx.id());
            match error {
                SourceError::Full => JoinError::RoomsPerConnection(limit),
                SourceError::Closed => JoinError::Closed,
            }
        })
    }

    /// Ends the membership. No further frame of the room is written. False if the connection is not a member.
    pub fn leave<S, Out>(&self, cx: &Context<S, Out>, room: &str) -> bool {
        let Some(member) = self.table.remove(room, cx.id()) else { return false };
        member.leave();
        if let Some(outbox) = cx.pusher().outbox() {
            outbox.forget_ended_sources();
        }
        true
    }

    /// Sends a frame to all members of a room. Never waits.
    pub fn publish(&self, room: &str, frame: impl Into<T>) -> Published {
        self.table.publish(room, frame.into(), None)
    }

    /// Publishes to all members except this connection.
    pub fn except(&self, connection: &Connection) -> Except<'_, T> {
        Except { hub: self, connection: connection.id() }
    }

    /// The number of members of a room in this process.
    pub fn members_of(&self, room: &str) -> usize {
        self.table.room(room).map_or(0, |room| room.len())
    }

    /// The counters of the hub, for metrics of the handler.
    pub fn stats(&self) -> HubStats {
        self.table.stats()
    }

    /// Begins a link to the hubs of other instances. `instance`: a random number that no other process has.
    ///
    /// # Errors
    ///
    /// The hub has a link already.
    pub fn link(&self, instance: u64) -> Result<HubLink<T>, LinkError> {
        Ok(HubLink::new(self.table.clone(), self.table.link(instance)?))
    }
}

impl<T: Clone + Send + Sync + 'static> Except<'_, T> {
    /// Sends a frame to the members of a room, see [`Hub::publish`].
    pub fn publish(&self, room: &str, frame: impl Into<T>) -> Published {
        self.hub.table.publish(room, frame.into(), Some(self.connection))
    }
}

impl<T: Clone + Send + Sync + 'static> Default for Hub<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone + Send + Sync + 'static> Clone for Hub<T> {
    fn clone(&self) -> Self {
        Self { table: self.table.clone() }
    }
}

impl<T: Clone + Send + Sync + 'static> fmt::Debug for Hub<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
