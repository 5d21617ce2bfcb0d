//! What a handshake found out about a connection: the TLS session, and the PROXY header.

use bytes::Bytes;

use crate::address::Address;

/// What the TLS handshake of one connection found out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsInfo {
    /// The version of the protocol, as it is written: `TLS 1.3`.
    pub version: &'static str,
    /// The host that the client asked for.
    pub server_name: Option<String>,
    /// The protocol that both sides agreed on.
    pub alpn: Option<Bytes>,
    /// Whether this goes on where an earlier session of the same client ended.
    pub resumed: bool,
    /// Who the client is. Only there when certificates were asked for, and then verified.
    pub client: Option<ClientCertificate>,
}

/// A client whose certificate was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientCertificate {
    /// The subject of its certificate: `CN=alice, O=Example`.
    pub subject: String,
    /// The other names that its certificate has: hosts, mail addresses, URIs and IP addresses.
    pub names: Vec<String>,
    /// The certificate itself (DER).
    pub certificate: Bytes,
}

impl TlsInfo {
    /// The result of a handshake with this protocol version and without further facts.
    pub fn new(version: &'static str) -> Self {
        Self { version, server_name: None, alpn: None, resumed: false, client: None }
    }
}

impl ClientCertificate {
    /// A verified client certificate.
    pub fn new(subject: String, names: Vec<String>, certificate: Bytes) -> Self {
        Self { subject, names, certificate }
    }
}

/// What a proxy said of a connection that it passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxyInfo {
    /// The client and the address that it had connected to. `None` when the proxy speaks for itself (a health check, `LOCAL`),
    /// or does not know (`UNKNOWN`): then its own address counts.
    pub addresses: Option<(Address, Address)>,
    /// The proxy says that it speaks for itself (`LOCAL`). Nobody came through it, so access, limits by source and rates, which are
    /// about clients, do not apply; a health check is not turned away.
    pub is_local: bool,
    /// What else the header carried (version 2), in its order: the type of each and its bytes. Padding and the checksum are
    /// not among them.
    pub tlvs: Vec<(u8, Bytes)>,
}

impl ProxyInfo {
    /// A proxy that speaks for itself.
    pub fn local() -> Self {
        Self { addresses: None, is_local: true, tlvs: Vec::new() }
    }

    /// What a header said: the client and what it connected to, if that is known, and what else was in it.
    pub fn new(addresses: Option<(Address, Address)>, tlvs: Vec<(u8, Bytes)>) -> Self {
        Self { addresses, is_local: false, tlvs }
    }

    /// The first value of that type: `0x02` is the host that the client asked for, `0x05` a unique id …
    pub fn tlv(&self, kind: u8) -> Option<&Bytes> {
        self.tlvs.iter().find(|(of, _)| *of == kind).map(|(_, value)| value)
    }
}
