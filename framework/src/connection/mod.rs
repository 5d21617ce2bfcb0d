//! The drivers: what happens on a connection from its first byte to its last.
//!
//! Two shapes of I/O, never forced into one. [`stream`] drives framed connections, one task each; [`owned`] looks after
//! connections whose bytes belong to a `StreamHandler`; [`datagram`] drives a whole datagram socket in one task.
//! This module knows nothing of how connections are accepted, and nothing of what handlers do.

mod answers;
mod calls;
mod clocks;
mod datagram;
mod desk;
mod dropped;
mod end;
mod farewell;
mod input;
mod owned;
mod pool;
mod sanity;
mod sessions;
mod stream;
mod tempo;
mod wire;

pub(crate) use desk::{LARGEST, WAITING_BYTES};
pub(crate) use input::OVERHEAD;
pub(crate) use pool::CHUNK;
pub(crate) use wire::READ_AHEAD;

pub(crate) use datagram::{DatagramDesk, DatagramDriver, ServeDatagrams, Stage};
pub(crate) use end::reason_of;
pub(crate) use owned::OwnedDriver;
pub(crate) use stream::StreamDriver;
