//! Verifies the certificate of the server, and keeps a rejected one for the error message.

use std::sync::Arc;

use parking_lot::Mutex;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

#[derive(Debug)]
pub(super) struct Verifier {
    /// None: every certificate is accepted.
    inner: Option<Arc<WebPkiServerVerifier>>,
    trusted: Vec<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
    rejected: Mutex<Option<CertificateDer<'static>>>,
}

impl Verifier {
    pub(super) fn new(
        inner: Arc<WebPkiServerVerifier>,
        trusted: Vec<CertificateDer<'static>>,
        provider: &CryptoProvider,
    ) -> Self {
        Self { inner: Some(inner), trusted, ..Self::accept_all(provider) }
    }

    pub(super) fn accept_all(provider: &CryptoProvider) -> Self {
        let algorithms = provider.signature_verification_algorithms;
        Self { inner: None, trusted: Vec::new(), algorithms, rejected: Mutex::new(None) }
    }

    /// The last certificate that was rejected.
    pub(super) fn rejected(&self) -> Option<CertificateDer<'static>> {
        self.rejected.lock().clone()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(inner) = &self.inner else { return Ok(ServerCertVerified::assertion()) };
        let result = match inner.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            // A self-signed certificate is often marked as that of an authority (the default of `openssl req -x509`),
            // which webpki does not accept from a server. It is trusted itself, so only its name and dates matter.
            Err(_) if self.trusted.contains(end_entity) => verify_trusted(end_entity, name, now),
            result => result,
        };
        if result.is_err() {
            *self.rejected.lock() = Some(end_entity.clone().into_owned());
        }
        result
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn verify_trusted(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, Error> {
    let parsed = X509Certificate::from_der(certificate);
    let (_, parsed) = parsed.map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let validity = parsed.validity();
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if validity.not_after.timestamp() < seconds {
        return Err(Error::InvalidCertificate(CertificateError::Expired));
    }
    if seconds < validity.not_before.timestamp() {
        return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
    }
    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
    Ok(ServerCertVerified::assertion())
}
