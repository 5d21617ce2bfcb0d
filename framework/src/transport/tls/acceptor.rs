//! The TLS acceptor: certificates and keys that can be replaced while the server runs.

use std::fmt;
use std::io;
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::ServerConfig;

use crate::settings::TlsSettings;
use crate::transport::accepted::{BoxIo, HandshakeContext};
use crate::transport::tls::error::TlsError;
use crate::transport::tls::{info, load};

/// Performs TLS handshakes with the loaded certificates.
///
/// Clones share their certificates: [`reload`](Self::reload) on one applies to all clones and to all listeners that use
/// them.
#[derive(Clone)]
pub struct TlsAcceptor {
    /// Locked only for the clone of the `Arc`, once per handshake.
    config: Arc<RwLock<Arc<ServerConfig>>>,
}

impl TlsAcceptor {
    /// Loads certificates and keys, and checks that they match each other and are valid today. Of a certificate chain,
    /// only the first certificate is checked.
    ///
    /// # Errors
    ///
    /// A file cannot be used. The message names the file.
    pub fn load(settings: &TlsSettings) -> Result<Self, TlsError> {
        load::config(settings).map(|config| Self { config: Arc::new(RwLock::new(Arc::new(config))) })
    }

    /// Loads certificates and keys again and uses them for new handshakes.
    ///
    /// Open connections and handshakes in progress keep the old certificates. Earlier sessions cannot be resumed
    /// afterwards, because the client authority may have changed. This reads files and can block.
    ///
    /// # Errors
    ///
    /// A file cannot be used, as in [`load`](Self::load). The old certificates stay in use.
    pub fn reload(&self, settings: &TlsSettings) -> Result<(), TlsError> {
        Self::load(settings).map(|loaded| self.replace_with(&loaded))
    }

    /// Uses the certificates of another acceptor for new handshakes. To reload several acceptors or none of them, load
    /// all of them first, and then replace all.
    pub fn replace_with(&self, loaded: &Self) {
        let config = loaded.config();
        *self.config.write() = config;
    }

    /// Performs the handshake on a byte stream and stores its result in the connection.
    pub(super) async fn accept(&self, io: BoxIo, context: HandshakeContext) -> io::Result<BoxIo> {
        let accept = tokio_rustls::TlsAcceptor::from(self.config()).accept(io);
        let stream = accept.await.map_err(|error| handshake_failed(&error))?;
        context.set_tls_info(info::of(stream.get_ref().1));
        Ok(Box::new(stream))
    }

    fn config(&self) -> Arc<ServerConfig> {
        self.config.read().clone()
    }
}

impl fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsAcceptor").finish_non_exhaustive() // never prints keys
    }
}

fn handshake_failed(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the TLS handshake failed: {error}"))
}
