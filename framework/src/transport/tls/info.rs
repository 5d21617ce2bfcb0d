//! The result of a TLS handshake, independent of the TLS library.

use std::net::IpAddr;

use bytes::Bytes;
use rustls::{HandshakeKind, ProtocolVersion, ServerConnection};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::connection::{ClientCertificate, TlsInfo};

/// The result of a completed handshake.
pub(super) fn of(connection: &ServerConnection) -> TlsInfo {
    TlsInfo {
        version: match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            _ => "TLS 1.2", // the only other enabled version
        },
        server_name: connection.server_name().map(str::to_owned),
        alpn: connection.alpn_protocol().map(Bytes::copy_from_slice),
        resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        client: connection.peer_certificates().and_then(<[_]>::first).map(|leaf| client(leaf)),
    }
}

/// The identity in a verified certificate. Fields that cannot be parsed are empty.
fn client(certificate: &[u8]) -> ClientCertificate {
    let (subject, names) = match X509Certificate::from_der(certificate) {
        Ok((_, parsed)) => (parsed.subject().to_string(), names(&parsed)),
        Err(_) => Default::default(),
    };
    ClientCertificate { subject, names, certificate: Bytes::copy_from_slice(certificate) }
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = extension.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => Some((*text).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    });
    names.collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
