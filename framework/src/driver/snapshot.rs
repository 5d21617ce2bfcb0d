//! The service of a listener with the settings that apply to new connections; a reload replaces it as a whole.

use std::sync::Arc;
use std::time::Duration;

use crate::connection::ListenerContext;

/// What is done with what comes, and under which settings.
#[derive(Clone)]
pub(crate) struct ServiceSnapshot<S> {
    pub(crate) listener_context: Arc<ListenerContext>,
    pub(crate) service: S,
    /// How long the handshakes of one client may take.
    pub(crate) handshake: Duration,
    /// How long what was begun before a change has to finish.
    pub(crate) finish_timeout: Duration,
}
