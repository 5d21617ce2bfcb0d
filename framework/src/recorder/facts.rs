//! What a script says about its connection.

use crate::close_reason::CloseReason;

/// What a script says about its connection.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) connection: u64,
    pub(crate) peer: String,
    pub(crate) local: String,
    /// Why the connection closed; `None` while it is open.
    pub(crate) reason: Option<CloseReason>,
    pub(crate) error: Option<String>,
}
