//! Settings of TLS and of the PROXY protocol.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

use super::define::settings;
use super::network::Networks;
use super::text::{deserialize_optional_path, deserialize_path, deserialize_text};

settings! {
    /// TLS of a listener. All files are PEM.
    pub struct TlsSettings {
        /// When TLS starts. immediately: with the first byte, after a PROXY header. on_request: when the handler starts
        /// it (STARTTLS); until then, and if the client does not request it, the connection is not encrypted.
        pub start: TlsStart = TlsStart::Immediately,
        /// Certificate file: the certificate followed by its intermediates (PEM).
        #[serde(deserialize_with = "deserialize_path")]
        #[schemars(example = "cert.pem")]
        pub certificate: PathBuf = PathBuf::new(),
        /// Private key file (PEM), not encrypted.
        #[serde(deserialize_with = "deserialize_path")]
        #[schemars(example = "key.pem")]
        pub key: PathBuf = PathBuf::new(),
        /// CA certificates for client authentication (PEM). If set, TLS requires a client certificate.
        #[serde(deserialize_with = "deserialize_optional_path")]
        pub client_ca: Option<PathBuf> = None,
        /// ALPN protocols, the preferred one first. Empty: ALPN is not negotiated.
        #[serde(deserialize_with = "protocols")]
        pub alpn: Vec<String> = Vec::new(),
        /// Certificates by the host name that the client requests: `example.com`, or `*.example.com` for one label.
        pub sni: BTreeMap<String, TlsIdentity> = BTreeMap::new(),
    }
}

/// When TLS starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum TlsStart {
    /// With the first byte of the connection, after a PROXY header.
    #[default]
    Immediately,
    /// When the handler starts it (STARTTLS).
    OnRequest,
}

/// A certificate and its private key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TlsIdentity {
    /// Certificate file: the certificate followed by its intermediates (PEM).
    #[serde(deserialize_with = "deserialize_path")]
    #[schemars(example = "cert.pem")]
    pub certificate: PathBuf,
    /// Private key file (PEM): PKCS#8, PKCS#1 or SEC1, not encrypted.
    #[serde(deserialize_with = "deserialize_path")]
    #[schemars(example = "key.pem")]
    pub key: PathBuf,
}

impl TlsSettings {
    /// One certificate for all host names and no client authentication.
    pub fn new(certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self::default().certificate(certificate.into()).key(key.into())
    }

    /// The certificate and key for clients that request no host name, or none of `sni`.
    pub fn identity(&self) -> TlsIdentity {
        TlsIdentity { certificate: self.certificate.clone(), key: self.key.clone() }
    }
}

settings! {
    /// The PROXY protocol (versions 1 and 2). With these settings, every connection must begin with a header.
    pub struct ProxySettings {
        /// Networks of your proxies. Connections from elsewhere are rejected. Not checked for Unix sockets: use the
        /// mode of the socket there.
        pub trusted: Networks = Networks::default(),
    }
}

fn protocols<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(transparent)]
    struct Protocol(#[serde(deserialize_with = "protocol")] String);

    Vec::<Protocol>::deserialize(deserializer).map(|protocols| protocols.into_iter().map(|name| name.0).collect())
}

/// RFC 7301 limits the name of a protocol to 255 bytes.
fn protocol<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let what = "the name of a protocol; write it in quotes, like \"irc\"";
    deserialize_text(deserializer, what, |text| match text.len() {
        1..=255 => Ok(text.to_owned()),
        bytes => Err(format!("the name of a protocol has 1 to 255 bytes, not {bytes}")),
    })
}
