//! TLS, server side.
//!
//! [`TlsAcceptor`] holds certificates and keys, which a reload can replace. [`TlsAcceptor::wrap`] adds a TLS handshake
//! to a listener. The handshake runs in the task of the connection and under the handshake timeout. `tls://` is TLS
//! over TCP; any other transport of connections keeps its endpoint.

#[cfg(feature = "tls")]
mod acceptor;
#[cfg(not(feature = "tls"))]
#[path = "disabled.rs"]
mod acceptor;
#[cfg(feature = "tls")]
mod client_verifier;
#[cfg(feature = "tls")]
mod failure;
#[cfg(feature = "tls")]
mod load;
#[cfg(feature = "tls")]
mod pem;
#[cfg(feature = "tls")]
mod stream;

pub use acceptor::TlsAcceptor;

use crate::error::debug_as_display;

/// TLS settings that cannot be used. The message names the file.
#[derive(thiserror::Error)]
#[error("{message}")]
pub struct TlsError {
    setting: Vec<String>,
    message: String,
}

debug_as_display!(TlsError);

/// A certificate that a listener uses.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateInfo {
    /// The host name of a certificate in `tls.sni`; `None` for the default certificate.
    pub host: Option<String>,
    /// The subject: `CN=example.com, O=Example`.
    pub subject: String,
    /// When the certificate expires, in seconds of Unix time.
    pub not_after: i64,
}

impl TlsError {
    pub(super) fn new(setting: &[&str], message: impl Into<String>) -> Self {
        Self { setting: setting.iter().map(|part| (*part).to_owned()).collect(), message: message.into() }
    }

    /// The path of the invalid setting: `["key"]`, or `["sni", "example.com", "certificate"]`.
    pub fn setting(&self) -> &[String] {
        &self.setting
    }
}
