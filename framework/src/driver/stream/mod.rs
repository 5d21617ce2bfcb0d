//! The stream drivers: framed connections, and connections of a `StreamHandler`.

pub(crate) mod buffer_pool;
pub(crate) mod deadlines;
pub(crate) mod framed_connection;
pub(crate) mod framed_io;
pub(crate) mod latency;
pub(crate) mod linger;
pub(crate) mod raw;
pub(crate) mod read_buffer;
pub(crate) mod reader;
pub(crate) mod session;
pub(crate) mod writer;

pub(crate) use buffer_pool::LARGE_BUFFER;
pub(crate) use framed_io::MAX_READ_AHEAD;
pub(crate) use raw::RawDriver;
pub(crate) use read_buffer::FRAME_OVERHEAD;
