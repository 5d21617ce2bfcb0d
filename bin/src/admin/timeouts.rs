//! How long a connection of the admin endpoint may be silent.

use std::time::Duration;

/// Idle timeout of a connection.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Something is sent after this time without other output, so that neither this endpoint nor a proxy closes the
/// connection.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(15);
