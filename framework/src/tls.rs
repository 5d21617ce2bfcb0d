//! TLS in plain words: what a listener is told ([`TlsSettings`]), and what a handshake found out ([`TlsFacts`]).
//!
//! Plain values without I/O. The machinery that reads the files and shakes hands is [`transport::tls`](crate::transport::tls).

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;

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

/// What the TLS handshake of one connection found out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsFacts {
    /// The version of the protocol, as it is written: `TLS 1.3`.
    pub version: &'static str,
    /// The host that the client asked for.
    pub server_name: Option<String>,
    /// The protocol that both sides agreed on.
    pub alpn: Option<Bytes>,
    /// Whether this goes on where an earlier session of the same client ended.
    pub resumed: bool,
    /// Who the client is. Only there when certificates were asked for, and then verified.
    pub client: Option<ClientIdentity>,
}

/// A client whose certificate was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientIdentity {
    /// The subject of its certificate: `CN=alice, O=Example`.
    pub subject: String,
    /// The other names that its certificate has: hosts, mail addresses, URIs and IP addresses.
    pub names: Vec<String>,
    /// The certificate itself (DER).
    pub certificate: Bytes,
}

impl TlsFacts {
    pub(crate) fn new(version: &'static str) -> Self {
        Self { version, server_name: None, alpn: None, resumed: false, client: None }
    }
}

impl ClientIdentity {
    pub(crate) fn new(subject: String, names: Vec<String>, certificate: Bytes) -> Self {
        Self { subject, names, certificate }
    }
}
