//! An established connection, the request of the per-connection service.

use std::fmt;

use crate::connection::Connection;
use crate::transport::box_io::BoxIo;
use crate::transport::start_tls::StartTls;

/// An established connection: the request of the per-connection `tower::Service`.
#[non_exhaustive]
pub struct Incoming {
    /// The handle to the connection.
    pub connection: Connection,
    /// Its byte stream.
    pub io: BoxIo,
    /// Starts TLS. `None` unless the listener has TLS on request. Boxed: most connections have none.
    pub start_tls: Option<Box<StartTls>>,
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("connection", &self.connection).finish_non_exhaustive()
    }
}
