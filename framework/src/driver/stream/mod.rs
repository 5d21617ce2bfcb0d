//! The stream drivers: framed connections, and connections whose handler owns the bytes.

pub(crate) mod buffer_pool;
pub(crate) mod deadlines;
pub(crate) mod framed_connection;
pub(crate) mod latency;
pub(crate) mod linger;
pub(crate) mod raw;
pub(crate) mod read_buffer;
pub(crate) mod session;

pub(crate) use buffer_pool::CHUNK;
pub(crate) use framed_connection::READ_AHEAD;
pub(crate) use raw::RawDriver;
pub(crate) use read_buffer::OVERHEAD;
pub(crate) use session::StreamDriver;
