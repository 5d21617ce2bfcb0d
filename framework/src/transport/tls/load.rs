//! Loads certificates and keys, and reports which file is invalid and why.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig};
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use crate::settings::{TlsIdentity, TlsSettings};
use crate::transport::tls::client_verifier::BoundedVerifier;
use crate::transport::tls::{CertificateInfo, LoadedCertificates, TlsError, pem};

/// The rustls configuration of these settings, and its certificates.
pub(super) fn config(settings: &TlsSettings) -> Result<(ServerConfig, LoadedCertificates), TlsError> {
    // Explicit: rustls panics on the default provider if two crates have enabled different providers.
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::new(&[], format!("cannot configure TLS: {error}")))?;
    let mut problems = Problems::default();
    let verifier = settings.client_ca.as_deref().map(|path| client_verifier(path, &provider)).transpose();
    let (verifier, client_authorities) = problems.keep(verifier).flatten().unzip();
    let default = problems.keep(certified(&settings.identity(), &[], &provider));
    let mut own: Vec<_> = default.iter().filter_map(|key| certificate_info(&key.cert, None)).collect();
    let mut hosts = HashMap::new();
    for (host, identity) in &settings.sni {
        let key = certified(identity, &["sni", host], &provider);
        if let Some(key) = problems.keep(key.and_then(|key| fits_host(host, &key, identity).map(|()| key))) {
            own.extend(certificate_info(&key.cert, Some(host)));
            hosts.insert(host.to_ascii_lowercase(), key);
        }
    }
    if settings.alpn.iter().any(|protocol| !(1..=255).contains(&protocol.len())) {
        problems.0.push(TlsError::new(&["alpn"], "a protocol name must have 1 to 255 bytes"));
    }
    let default = match default {
        Some(default) if problems.0.is_empty() => default,
        _ => return Err(problems.into()),
    };
    let builder = match verifier {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier),
    };
    let mut config = builder.with_cert_resolver(Arc::new(Certificates { default, hosts }));
    config.alpn_protocols = settings.alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    // All enabled suites are strong. Auditing tools expect the server to choose.
    config.ignore_client_order = true;
    // Tickets keep session state at the client, so clients cannot fill a table here.
    config.ticketer = ring::Ticketer::new()
        .map_err(|error| TlsError::new(&[], format!("cannot create session ticket keys: {error}")))?;
    Ok((
        config,
        LoadedCertificates { own: own.into(), client_authorities: client_authorities.unwrap_or_default().into() },
    ))
}

/// The errors of independent settings, to report all of them together.
#[derive(Default)]
struct Problems(Vec<TlsError>);

impl Problems {
    fn keep<T>(&mut self, result: Result<T, TlsError>) -> Option<T> {
        result.map_err(|error| self.0.push(error)).ok()
    }
}

impl From<Problems> for TlsError {
    fn from(problems: Problems) -> Self {
        Self { problems: problems.0.into_iter().flat_map(|error| error.problems).collect() }
    }
}

/// The verifier of client certificates, and the authorities that it trusts.
fn client_verifier(
    path: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<(Arc<BoundedVerifier>, Vec<CertificateInfo>), TlsError> {
    let wrong = |message: String| TlsError::new(&["client_ca"], message);
    let authorities = pem::certificates(path).map_err(wrong)?;
    let roots = Arc::new(roots(&authorities, path).map_err(wrong)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build();
    let verifier = verifier.map_err(|_| wrong(format!("the certificates in {} cannot be used", path.display())))?;
    let infos = authorities.iter().filter_map(|one| certificate_info(std::slice::from_ref(one), None)).collect();
    Ok((BoundedVerifier::new(verifier), infos))
}

fn certificate_info(chain: &[CertificateDer<'_>], host: Option<&str>) -> Option<CertificateInfo> {
    let (_, parsed) = X509Certificate::from_der(chain.first()?).ok()?;
    // Compared only within a process, so no cryptographic hash is needed.
    let mut hasher = DefaultHasher::new();
    chain.hash(&mut hasher);
    Some(CertificateInfo {
        host: host.map(str::to_owned),
        subject: parsed.subject().to_string(),
        not_after: parsed.validity().not_after.timestamp(),
        serial: parsed.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect(),
        content: hasher.finish(),
    })
}

/// Selects the certificate by server name (SNI).
struct Certificates {
    default: Arc<CertifiedKey>,
    /// By host in lower case; `*.` stands for one label.
    hosts: HashMap<String, Arc<CertifiedKey>>,
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let found = hello.server_name().filter(|_| !self.hosts.is_empty()).and_then(|name| {
            let name = name.to_ascii_lowercase();
            let wildcard = || self.hosts.get(&format!("*.{}", name.split_once('.')?.1));
            self.hosts.get(&name).or_else(wildcard)
        });
        Some(found.unwrap_or(&self.default).clone())
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").field("hosts", &self.hosts.keys()).finish_non_exhaustive()
    }
}

/// A certificate and its key. `within` is the path of both in the settings.
fn certified(
    identity: &TlsIdentity,
    within: &[&str],
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let TlsIdentity { certificate, key } = identity;
    let wrong_certificate = |message: String| TlsError::new(&[within, &["certificate"]].concat(), message);
    let wrong_key = |message: String| TlsError::new(&[within, &["key"]].concat(), message);
    let mut problems = Problems::default();
    let chain = pem::certificates(certificate)
        .and_then(|chain| valid_today(&chain[0], certificate).map(|()| chain))
        .map_err(wrong_certificate);
    let private = pem::private_key(key).map_err(wrong_key);
    let (Some(chain), Some(private)) = (problems.keep(chain), problems.keep(private)) else {
        return Err(problems.into());
    };
    let unsupported = pem::unsupported(&private);
    CertifiedKey::from_der(chain, private, provider).map(Arc::new).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => wrong_key(format!(
            "the key in {} does not belong to the certificate in {}",
            key.display(),
            certificate.display()
        )),
        Error::InvalidCertificate(_) => {
            wrong_certificate(format!("the certificate in {} is damaged", certificate.display()))
        }
        _ => wrong_key(format!("the key in {} {unsupported}; {SUPPORTED}", key.display())),
    })
}

const SUPPORTED: &str = "use RSA of 2048 to 4096 bits, ECDSA of the curves P-256 or P-384, or Ed25519";

fn roots(authorities: &[CertificateDer<'static>], path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let unusable = |_| format!("a certificate in {} is damaged", path.display());
    for certificate in authorities {
        roots.add(certificate.clone()).map_err(unusable)?;
    }
    Ok(roots)
}

/// Rejects a certificate that has expired or is not valid yet. Intermediates are not checked: a chain may contain an
/// expired cross-signed certificate for old clients.
fn valid_today(certificate: &[u8], path: &Path) -> Result<(), String> {
    let path = path.display();
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| format!("the certificate in {path} is damaged"))?;
    let (validity, now) = (parsed.validity(), ASN1Time::now());
    if validity.not_after < now {
        return Err(format!("the certificate in {path} has expired ({})", validity.not_after));
    }
    if now < validity.not_before {
        return Err(format!("the certificate in {path} is not valid yet (from {})", validity.not_before));
    }
    Ok(())
}

/// Checks that a certificate is valid for its host.
fn fits_host(host: &str, key: &CertifiedKey, identity: &TlsIdentity) -> Result<(), TlsError> {
    // A wildcard is checked with one name that it matches.
    let name = host.strip_prefix("*.").map_or_else(|| host.to_owned(), |rest| format!("any.{rest}"));
    let Ok(name @ ServerName::DnsName(_)) = ServerName::try_from(name) else {
        let message = "is not a host name; use a name such as \"example.com\" or \"*.example.com\"";
        return Err(TlsError::new(&["sni", host], format!("{host:?} {message}")));
    };
    let certificate = key.end_entity_cert().and_then(ParsedCertificate::try_from);
    certificate.and_then(|certificate| verify_server_name(&certificate, &name)).map_err(|_| {
        let message = format!("the certificate in {} is not for {host}", identity.certificate.display());
        TlsError::new(&["sni", host, "certificate"], message)
    })
}
