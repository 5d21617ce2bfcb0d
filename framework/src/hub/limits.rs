//! The limits of a hub, and the errors of a join.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// Rooms of a hub, by default.
const ROOMS: usize = 10_000;
/// Members of a room of a hub, by default.
const MEMBERS: usize = 100_000;
/// Rooms of one hub that a connection can be a member of, by default.
const ROOMS_PER_CONNECTION: usize = 64;
/// Frames that a room of a hub keeps for members that are behind, by default.
const QUEUE: usize = 256;
/// Maximum length of the name of a room, in bytes.
pub(super) const MAX_ROOM_NAME: usize = 255;

/// What happens to a member that is more frames behind than the queue of its room has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Slow {
    /// The member misses the oldest frames, and its handler is called with their number.
    #[default]
    Drop,
    /// The connection closes with reason `outbox_full` if its client does not read. A member that is behind because its
    /// handler is busy misses frames.
    Close,
}

/// Atomics, because a hub that is shared already can still be configured.
pub(super) struct HubLimits {
    pub(super) rooms: AtomicUsize,
    pub(super) members: AtomicUsize,
    pub(super) rooms_per_connection: AtomicUsize,
    pub(super) queue: AtomicUsize,
    pub(super) closes_slow: AtomicBool,
}

impl Default for HubLimits {
    fn default() -> Self {
        Self {
            rooms: ROOMS.into(),
            members: MEMBERS.into(),
            rooms_per_connection: ROOMS_PER_CONNECTION.into(),
            queue: QUEUE.into(),
            closes_slow: AtomicBool::new(false),
        }
    }
}

impl HubLimits {
    pub(super) fn queue(&self) -> usize {
        self.queue.load(Relaxed)
    }
}

/// Why a connection did not become a member of a room.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The hub has as many rooms as [`Hub::rooms`](crate::hub::Hub::rooms) allows.
    #[error("the hub has {0} rooms, its limit (Hub::rooms)")]
    Rooms(usize),
    /// The room has as many members as [`Hub::members`](crate::hub::Hub::members) allows.
    #[error("the room has {0} members, its limit (Hub::members)")]
    Members(usize),
    /// The connection is in as many rooms as
    /// [`Hub::rooms_per_connection`](crate::hub::Hub::rooms_per_connection) allows.
    #[error("the connection is in {0} rooms, its limit (Hub::rooms_per_connection)")]
    RoomsPerConnection(usize),
    /// The name of the room is too long.
    #[error("the name of the room has {0} bytes; {MAX_ROOM_NAME} are allowed")]
    Name(usize),
    /// The connection has closed.
    #[error("the connection has closed")]
    Closed,
}
