//! TLS, client side: trusted certificates, the certificate of the client, and the handshake.

mod failure;
mod options;
mod verifier;

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, InconsistentKeys, ProtocolVersion, RootCertStore};
use switchboard::transport::tls::{read_certificates, read_private_key};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use self::failure::{Expected, Trust};
pub(crate) use self::options::TlsOptions;
use self::verifier::Verifier;

/// The TLS configuration of the client.
#[derive(Debug)]
pub(crate) struct TlsClient {
    config: Arc<ClientConfig>,
    expected: Expected,
}

impl TlsClient {
    /// Reads the files of the options.
    pub(crate) fn new(options: &TlsOptions, host: &str) -> Result<Self, String> {
        // Explicit: rustls panics on the default provider if two crates have enabled different providers.
        let provider = Arc::new(ring::default_provider());
        let (name, flag) = match &options.server_name {
            Some(name) => (name.as_str(), "--server-name "),
            None => (host, ""),
        };
        let hint = if flag.is_empty() { "; use --server-name NAME" } else { "" };
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("{flag}{name:?} is not a name that a certificate can have{hint}"))?;
        let (roots, trust) = trusted(options)?;
        let verifier = Arc::new(match &trust {
            Trust::All => Verifier::accept_all(&provider),
            Trust::System(_) | Trust::File(_) => verifier(roots, &provider)?,
        });
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("cannot configure TLS: {error}"))?;
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier.clone());
        let mut config = match (&options.cert, &options.key) {
            (Some(certificate), Some(key)) => {
                let (chain, private) = identity(certificate, key)?;
                builder.with_client_auth_cert(chain, private).map_err(|error| unusable(&error, certificate, key))?
            }
            _ => builder.with_no_client_auth(),
        };
        for protocol in &options.alpn {
            if !(1..=255).contains(&protocol.len()) {
                return Err(format!("--alpn {protocol:?}: a protocol name must have 1 to 255 bytes"));
            }
            config.alpn_protocols.push(protocol.as_bytes().to_vec());
        }
        // Each handshake of a benchmark is a whole one.
        config.resumption = Resumption::disabled();
        let (alpn, has_certificate) = (options.alpn.clone(), options.cert.is_some());
        let expected = Expected { name, alpn, has_certificate, trust, verifier };
        Ok(Self { config: Arc::new(config), expected })
    }

    /// Performs the handshake. The error is a sentence.
    pub(crate) async fn handshake(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, String> {
        let connector = TlsConnector::from(self.config.clone());
        connector.connect(self.expected.name.clone(), stream).await.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                "the server closed the connection; it may not use TLS (tcp://), or a limit or access list rejected the \
                 connection"
                    .to_owned()
            }
            _ => self.explain(&error),
        })
    }

    /// The sentence of an error of a handshake, or of an established connection: with TLS 1.3, the server rejects the
    /// certificate of the client only after the handshake.
    pub(crate) fn explain(&self, error: &io::Error) -> String {
        self.expected.explain(error)
    }

    /// What was negotiated: `TLS 1.3, ALPN echo/1`.
    pub(crate) fn negotiated<T>(&self, stream: &TlsStream<T>) -> String {
        let (_, connection) = stream.get_ref();
        let version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS 1.3",
        };
        let alpn = match connection.alpn_protocol() {
            Some(protocol) => format!("ALPN {}", String::from_utf8_lossy(protocol)),
            None => "no ALPN".to_owned(),
        };
        let unchecked =
            if matches!(self.expected.trust, Trust::All) { ", certificate not checked (--insecure)" } else { "" };
        format!("{version}, {alpn}{unchecked}")
    }
}

/// The trusted certificates: those of `--ca`, or else those of the system.
fn trusted(options: &TlsOptions) -> Result<(Vec<CertificateDer<'static>>, Trust), String> {
    if options.insecure {
        return Ok((Vec::new(), Trust::All));
    }
    if let Some(path) = &options.ca {
        let certificates = read_certificates(path).map_err(|error| format!("--ca: {error}"))?;
        let certificates = certificates.into_iter().map(CertificateDer::from).collect();
        return Ok((certificates, Trust::File(path.display().to_string())));
    }
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(format!(
            "this system has no trusted certificates{why}; install its package ca-certificates, or use --ca FILE"
        ));
    }
    let count = found.certs.len();
    Ok((found.certs, Trust::System(count)))
}

fn verifier(certificates: Vec<CertificateDer<'static>>, provider: &Arc<CryptoProvider>) -> Result<Verifier, String> {
    let mut roots = RootCertStore::empty();
    // The system may have certificates that are not valid.
    let (added, _) = roots.add_parsable_certificates(certificates.iter().cloned());
    if added == 0 {
        return Err("--ca: no certificate of the file can be used; it may be damaged".to_owned());
    }
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
    let inner = inner.map_err(|error| format!("cannot configure TLS: {error}"))?;
    Ok(Verifier::new(inner, certificates, provider))
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(certificate: &Path, key: &Path) -> Result<Identity, String> {
    let chain = read_certificates(certificate).map_err(|error| format!("--cert: {error}"))?;
    let private = read_private_key(key).map_err(|error| format!("--key: {error}"))?;
    let private = PrivateKeyDer::try_from(private)
        .map_err(|_| format!("--key: the key in {} is damaged, or of an unsupported type", key.display()))?;
    Ok((chain.into_iter().map(CertificateDer::from).collect(), private))
}

fn unusable(error: &rustls::Error, certificate: &Path, key: &Path) -> String {
    match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => format!(
            "--key: the key in {} does not belong to the certificate in {}",
            key.display(),
            certificate.display()
        ),
        rustls::Error::InvalidCertificate(_) => {
            format!("--cert: the certificate in {} is damaged", certificate.display())
        }
        _ => format!("--key: the key in {} is damaged, or of an unsupported type", key.display()),
    }
}
