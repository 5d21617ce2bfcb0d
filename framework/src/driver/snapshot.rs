//! The service of a listener with the settings that apply to new connections; a reload replaces it as a whole.

use std::sync::Arc;
use std::time::Duration;

use crate::connection::ListenerContext;

/// The service and settings of a listener at one time.
#[derive(Clone)]
pub(crate) struct ServiceSnapshot<S> {
    pub(crate) listener_context: Arc<ListenerContext>,
    pub(crate) service: S,
    /// `timeouts.handshake`.
    pub(crate) handshake_timeout: Duration,
    /// How long a replaced service may take to finish its pending messages.
    pub(crate) finish_timeout: Duration,
}
