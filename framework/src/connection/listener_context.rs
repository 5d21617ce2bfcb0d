//! What the connections of one listener share.

use std::sync::Arc;

use crate::connection::admission::Admission;
use crate::connection::handshakes::Handshakes;
use crate::connection::info::ListenerInfo;
use crate::connection::table::ConnectionTable;

/// Everything needed to accept a client of one listener. A reload creates a new one with the same table.
#[derive(Debug)]
pub(crate) struct ListenerContext {
    pub(crate) info: Arc<ListenerInfo>,
    pub(crate) admission: Admission,
    pub(crate) table: Arc<ConnectionTable>,
    pub(crate) handshakes: Arc<Handshakes>,
}
