//! Settings of TLS and of the PROXY protocol.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::settings::Networks;

/// How a listener speaks TLS. All files are PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsSettings {
    /// The certificate for clients that ask for no name, or for none in `sni`.
    pub identity: TlsIdentity,
    /// Certificates of those who may sign a client's; with it a client without such a certificate is turned away.
    pub client_ca: Option<PathBuf>,
    /// Protocols to choose from (ALPN), the preferred one first. Empty: the question is not answered.
    pub alpn: Vec<String>,
    /// Certificates by the host that the client asks for: `example.com`, or `*.example.com` for one more label.
    pub sni: BTreeMap<String, TlsIdentity>,
}

/// A certificate and the key that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsIdentity {
    /// The file of the certificate, and behind it in the same file those that signed it.
    pub certificate: PathBuf,
    /// The file of the private key: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: PathBuf,
}

impl TlsSettings {
    /// One certificate for everybody, and nothing asked of clients; set the fields you want otherwise.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        let identity = TlsIdentity { certificate: certificate.into(), key: key.into() };
        Self { identity, client_ca: None, alpn: Vec::new(), sni: BTreeMap::new() }
    }
}

/// Where a PROXY header (version 1 or 2) is required, and from whom. There is no optional header: whoever may send one
/// must, and nobody else is let in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxySettings {
    /// The networks of the proxies. A peer on a Unix socket is believed: who may connect there is a matter of the socket's mode.
    /// One that a transport only names is believed where no network is given.
    pub trusted: Networks,
}
