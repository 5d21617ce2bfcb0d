//! The drivers: they read, decode, call the handler, encode and write.
//!
//! [`stream`] drives framed connections, one task per connection; [`stream::raw`] serves connections whose bytes belong to a
//! `StreamHandler`; [`datagram`] drives a whole datagram socket in one task.

pub(crate) mod close_outcome;
pub(crate) mod datagram;
pub(crate) mod handler_calls;
pub(crate) mod snapshot;
pub(crate) mod stream;

pub(crate) use close_outcome::reason_of;
pub(crate) use datagram::{DatagramDriver, DatagramLoop, DatagramService, LARGEST, WAITING_BYTES};
pub(crate) use snapshot::ServiceSnapshot;
pub(crate) use stream::{CHUNK, OVERHEAD, READ_AHEAD, RawDriver, StreamDriver};
