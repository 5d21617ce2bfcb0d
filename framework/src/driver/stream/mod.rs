//! The stream drivers: framed connections, and connections of a `StreamHandler`.

pub(crate) mod buffer;
pub(crate) mod deadlines;
mod drive;
pub(crate) mod ending;
pub(crate) mod framed_connection;
pub(crate) mod framed_io;
mod gap;
pub(crate) mod latency;
mod later_replies;
pub(crate) mod linger;
pub(crate) mod raw;
pub(crate) mod reader;
#[cfg_attr(not(feature = "script"), path = "recorded/disabled.rs")]
pub(crate) mod recorded;
pub(crate) mod replies;
pub(crate) mod session;
pub(crate) mod switch;
pub(crate) mod writer;

pub(crate) use buffer::{FRAME_OVERHEAD, LARGE_BUFFER};
pub(crate) use framed_io::MAX_READ_AHEAD;
pub(crate) use raw::RawDriver;
#[cfg(feature = "script")]
pub(crate) use recorded::RecordedListener;
