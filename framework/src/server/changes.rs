//! The result of a reload.

use std::time::Duration;

use crate::error::debug_as_display;
use crate::server::start_error::StartError;
use crate::transport::tls::TlsError;

/// How long the handlers may take to start, and a reload to start handlers, resolve names and read files, unless the
/// listener set has another value.
pub(super) const PREPARE_TIMEOUT: Duration = Duration::from_secs(30);

/// A rejected reload. Nothing has changed.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// No listener has this name.
    #[error("there is no listener {0}")]
    Unknown(String),
    /// This listener was started without TLS.
    #[error("listener {0} has no TLS")]
    Plain(String),
    /// The TLS files of this listener cannot be used.
    #[error("listener {0}: {1}")]
    Tls(String, #[source] TlsError),
    /// These handlers cannot be started, or these listeners cannot be started or changed.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Start(Vec<StartError>),
    /// Resolving names or reading files took too long.
    #[error("names were not resolved or files not read in time")]
    Late,
    /// The server is draining.
    #[error("the server is draining")]
    Draining,
}

debug_as_display!(ReloadError);

/// The names of the listeners that a reload has changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Changes {
    /// New listeners, and listeners with a new address.
    pub started: Vec<String>,
    /// Listeners with other settings or another handler.
    pub changed: Vec<String>,
    /// Removed listeners. Their connections drain.
    pub stopped: Vec<String>,
}
