//! TLS in a build without the feature `tls`: settings cannot be loaded, so no acceptor exists.

use std::io;

use crate::settings::TlsSettings;
use crate::transport::accepted::HandshakeContext;
use crate::transport::box_io::BoxIo;
use crate::transport::listener::StreamListener;
use crate::transport::tls::{LoadedCertificates, TlsError};

/// TLS needs the cargo feature `tls`.
#[derive(Debug, Clone)]
pub enum TlsAcceptor {}

impl TlsAcceptor {
    /// Loads nothing.
    ///
    /// # Errors
    ///
    /// Always: this build does not support TLS.
    pub fn load(_: &TlsSettings) -> Result<Self, TlsError> {
        Err(TlsError::new(&[], "this build does not support TLS (cargo feature \"tls\")"))
    }

    /// Uses the certificates of another acceptor.
    pub fn replace_with(&self, _: &Self) {
        match *self {}
    }

    /// The certificates.
    pub fn certificates(&self) -> LoadedCertificates {
        match *self {}
    }

    pub(crate) async fn accept(&self, _: BoxIo, _: HandshakeContext) -> io::Result<BoxIo> {
        match *self {}
    }

    /// Adds TLS to another listener.
    pub fn wrap(&self, _: Box<dyn StreamListener>) -> Box<dyn StreamListener> {
        match *self {}
    }
}
