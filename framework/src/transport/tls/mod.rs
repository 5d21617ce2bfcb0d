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

use std::fmt;
#[cfg(feature = "tls")]
use std::path::Path;
use std::sync::Arc;

use crate::error::debug_as_display;

/// TLS settings that cannot be used: at least one problem.
#[derive(thiserror::Error)]
#[error("{}", self.problems.iter().map(TlsProblem::to_string).collect::<Vec<_>>().join("; "))]
pub struct TlsError {
    problems: Vec<TlsProblem>,
}

debug_as_display!(TlsError);

/// A setting that cannot be used. The message names the file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsProblem {
    /// The path of the setting: `["key"]`, or `["sni", "example.com", "certificate"]`.
    pub setting: Vec<String>,
    /// What is wrong, and with which file.
    pub message: String,
}

impl fmt::Display for TlsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// A certificate that a listener uses. Two are equal if they and their chains have the same content.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateInfo {
    /// The host name of a certificate in `tls.sni`; `None` for another certificate.
    pub host: Option<String>,
    /// The subject: `CN=example.com, O=Example`.
    pub subject: String,
    /// When the certificate expires, in seconds of Unix time.
    pub not_after: i64,
    /// The serial number in hexadecimal digits.
    pub serial: String,
    /// A hash of the certificate and its chain.
    content: u64,
}

/// The certificates of an acceptor or listener.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadedCertificates {
    /// The default certificate, then those by host name.
    pub own: Arc<[CertificateInfo]>,
    /// The authorities of client certificates: those of `tls.client_ca`.
    pub client_authorities: Arc<[CertificateInfo]>,
}

impl LoadedCertificates {
    /// The own certificate that expires first.
    pub fn first_to_expire(&self) -> Option<&CertificateInfo> {
        self.own.iter().min_by_key(|certificate| certificate.not_after)
    }
}

impl TlsError {
    pub(super) fn new(setting: &[&str], message: impl Into<String>) -> Self {
        let setting = setting.iter().map(|part| (*part).to_owned()).collect();
        Self { problems: vec![TlsProblem { setting, message: message.into() }] }
    }

    /// The problems, at least one.
    pub fn problems(&self) -> &[TlsProblem] {
        &self.problems
    }
}

/// Reads the certificates of a PEM file, in DER. There is at least one.
///
/// # Errors
///
/// The file cannot be read, or contains no certificate. The message names the file and says what it contains.
#[cfg(feature = "tls")]
pub fn read_certificates(path: &Path) -> Result<Vec<Vec<u8>>, TlsError> {
    let certificates = pem::certificates(path).map_err(|message| TlsError::new(&[], message))?;
    Ok(certificates.iter().map(|certificate| certificate.to_vec()).collect())
}

/// Reads the private key of a PEM file, in DER (PKCS #8, PKCS #1 or SEC 1).
///
/// # Errors
///
/// The file cannot be read, contains no private key or several, or the key is encrypted. The message names the file.
#[cfg(feature = "tls")]
pub fn read_private_key(path: &Path) -> Result<Vec<u8>, TlsError> {
    let key = pem::private_key(path).map_err(|message| TlsError::new(&[], message))?;
    Ok(key.secret_der().to_vec())
}
