//! What changes in a server that runs: the certificates of its listeners.

use crate::server::Running;
use crate::tls::TlsSettings;
use crate::transport::tls::{self, TlsError};

/// A change that was not made. Everything is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// No listener has this name.
    #[error("there is no listener {0}")]
    Unknown(String),
    /// This listener was started without TLS, which is not something that it learns later.
    #[error("listener {0} has no TLS")]
    Plain(String),
    /// The files for this listener cannot be used.
    #[error("listener {0}: {1}")]
    Tls(String, #[source] TlsError),
}

impl Running {
    /// Reads the certificates of these listeners again, or other ones, and uses them for every handshake that begins from now
    /// on: all of them, or after an error none. Nothing else is disturbed; see
    /// [`tls::Server::reload`](crate::transport::tls::Server::reload) for what becomes of connections and sessions.
    ///
    /// It reads files: in a task call it through `tokio::task::spawn_blocking`.
    ///
    /// ```no_run
    /// # use switchboard::{TlsSettings, server::{ReloadError, Running}};
    /// fn renewed(running: &Running) -> Result<(), ReloadError> {
    ///     running.reload_tls([("main", &TlsSettings::new("new.pem", "new.key"))])
    /// }
    /// ```
    pub fn reload_tls<'a>(
        &self,
        settings: impl IntoIterator<Item = (&'a str, &'a TlsSettings)>,
    ) -> Result<(), ReloadError> {
        let mut fresh = Vec::new();
        for (listener, settings) in settings {
            let found = self.secured().find(|(name, _)| *name == listener);
            let (_, server) = found.ok_or_else(|| ReloadError::Unknown(listener.to_owned()))?;
            let server = server.ok_or_else(|| ReloadError::Plain(listener.to_owned()))?;
            let loaded = tls::Server::load(settings).map_err(|error| ReloadError::Tls(listener.to_owned(), error))?;
            fresh.push((server, loaded));
        }
        fresh.iter().for_each(|(server, loaded)| server.adopt(loaded));
        Ok(())
    }
}
