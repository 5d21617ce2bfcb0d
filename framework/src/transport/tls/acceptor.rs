//! The TLS acceptor: it performs handshakes, with certificates and keys that can be replaced while the server runs.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::address::Endpoint;
use crate::connection::{ClientCertificate, TlsInfo, TlsVersion};
use crate::settings::TlsSettings;
use crate::transport::accepted::{Accepted, HandshakeContext};
use crate::transport::box_io::BoxIo;
use crate::transport::listener::{HandshakeListener, StreamListener};
use crate::transport::tls::failure;
use crate::transport::tls::load;
use crate::transport::tls::stream::TlsIo;
use crate::transport::tls::{LoadedCertificates, TlsError};

/// Performs TLS handshakes with the loaded certificates.
///
/// Clones share their certificates: [`reload`](Self::reload) on one applies to all clones and to all listeners that use
/// them.
#[derive(Clone)]
pub struct TlsAcceptor {
    /// Locked only for the clone of the `Arc`s, once per handshake.
    loaded: Arc<RwLock<Loaded>>,
}

#[derive(Clone)]
struct Loaded {
    config: Arc<ServerConfig>,
    certificates: LoadedCertificates,
}

impl TlsAcceptor {
    /// Loads certificates and keys, and checks that they match each other and are valid today. Of a certificate chain,
    /// only the first certificate is checked.
    ///
    /// # Errors
    ///
    /// A file cannot be used. The message names the file.
    pub fn load(settings: &TlsSettings) -> Result<Self, TlsError> {
        let (config, certificates) = load::config(settings)?;
        let loaded = Loaded { config: Arc::new(config), certificates };
        Ok(Self { loaded: Arc::new(RwLock::new(loaded)) })
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
        let loaded = loaded.loaded.read().clone();
        *self.loaded.write() = loaded;
    }

    /// Adds TLS to another listener.
    pub fn wrap(&self, listener: Box<dyn StreamListener>) -> Box<dyn StreamListener> {
        let endpoint = match listener.endpoint() {
            Endpoint::Tcp(host_port) => Endpoint::Tls(host_port),
            other => other,
        };
        let acceptor = self.clone();
        let add_handshake = move |accepted: Accepted| {
            let acceptor = acceptor.clone();
            accepted.then(|io, context| async move { acceptor.accept(io, context).await })
        };
        Box::new(HandshakeListener { inner: listener, endpoint, add_handshake })
    }

    /// Performs the handshake on a byte stream and stores its result in the connection.
    pub(crate) async fn accept(&self, io: BoxIo, context: HandshakeContext) -> io::Result<BoxIo> {
        let accept = tokio_rustls::TlsAcceptor::from(self.config()).accept(io);
        let failed = |error: io::Error| {
            io::Error::new(error.kind(), format!("the TLS handshake failed: {}", failure::reason(&error)))
        };
        let stream = accept.await.map_err(failed)?;
        context.set_tls_info(tls_info(stream.get_ref().1));
        Ok(BoxIo::new(TlsIo(stream)))
    }

    /// The certificates that new handshakes use.
    pub fn certificates(&self) -> LoadedCertificates {
        self.loaded.read().certificates.clone()
    }

    fn config(&self) -> Arc<ServerConfig> {
        self.loaded.read().config.clone()
    }
}

impl fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsAcceptor").finish_non_exhaustive() // never prints keys
    }
}

fn tls_info(connection: &ServerConnection) -> TlsInfo {
    let mut info = TlsInfo::new(match connection.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => TlsVersion::V1_3,
        _ => TlsVersion::V1_2, // the only other enabled version
    });
    info.server_name = connection.server_name().map(Into::into);
    info.alpn = connection.alpn_protocol().map(Into::into);
    info.resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
    info.client = connection.peer_certificates().and_then(<[_]>::first).map(|end_entity| Box::new(client(end_entity)));
    info
}

/// The identity in a verified certificate. Fields that cannot be parsed are empty.
fn client(certificate: &[u8]) -> ClientCertificate {
    let (subject, names) = match X509Certificate::from_der(certificate) {
        Ok((_, parsed)) => (parsed.subject().to_string(), names(&parsed)),
        Err(_) => Default::default(),
    };
    ClientCertificate::new(subject, names, Bytes::copy_from_slice(certificate))
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
