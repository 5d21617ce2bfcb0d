//! The drivers: they read, decode, call the handler, encode and write.
//!
//! [`stream`] drives framed connections, one task per connection; [`stream::raw`] drives connections of a
//! `StreamHandler`; [`datagram`] drives a datagram socket in one task.

pub(crate) mod close_outcome;
pub(crate) mod datagram;
pub(crate) mod handler_calls;
pub(crate) mod snapshot;
pub(crate) mod stream;

pub(crate) use close_outcome::reason_of;
pub(crate) use datagram::{DatagramDriver, DatagramLoop, DatagramService, MAX_DATAGRAM, MAX_PENDING_BYTES};
pub(crate) use snapshot::ServiceSnapshot;
pub(crate) use stream::{FRAME_OVERHEAD, LARGE_BUFFER, MAX_READ_AHEAD, RawDriver, StreamDriver};
