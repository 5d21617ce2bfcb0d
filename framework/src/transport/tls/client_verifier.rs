//! Verifies client certificates, and bounds the work that an unknown client can cause before it is rejected.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Maximum certificates that a client may send. A valid path has at most 8: webpki accepts 6 intermediates.
const MAX_CERTIFICATES: usize = 8;
/// Maximum total size of the certificates of a client.
const MAX_BYTES: usize = 32 * 1024;
/// Maximum intermediates in a path; webpki stops there too.
const MAX_DEPTH: usize = 6;
/// Maximum certificates that path building may try, and signatures that it may verify. The budget of webpki is 200,000
/// and 100, and certificates that sign each other use it up. One path of the maximum length needs 13.
const MAX_STEPS: usize = 16;

/// The verifier of webpki behind limits that are checked before any signature.
#[derive(Debug)]
pub(super) struct BoundedVerifier(Arc<dyn ClientCertVerifier>);

#[derive(Debug, thiserror::Error)]
enum Excess {
    #[error("the client sent {0} certificates; at most {MAX_CERTIFICATES} are allowed")]
    Certificates(usize),
    #[error("the client sent {0} bytes of certificates; at most {MAX_BYTES} are allowed")]
    Bytes(usize),
    #[error("the certificates of the client form too many paths")]
    Paths,
}

impl From<Excess> for Error {
    fn from(excess: Excess) -> Self {
        Self::Other(OtherError(Arc::new(excess)))
    }
}

impl BoundedVerifier {
    pub(super) fn new(verifier: Arc<dyn ClientCertVerifier>) -> Arc<Self> {
        Arc::new(Self(verifier))
    }

    fn check_work(&self, end_entity: &[u8], intermediates: &[CertificateDer<'_>]) -> Result<(), Error> {
        let sent = 1 + intermediates.len();
        if sent > MAX_CERTIFICATES {
            return Err(Excess::Certificates(sent).into());
        }
        let bytes = intermediates.iter().fold(end_entity.len(), |bytes, certificate| bytes + certificate.len());
        if bytes > MAX_BYTES {
            return Err(Excess::Bytes(bytes).into());
        }
        let invalid = |_| Error::InvalidCertificate(CertificateError::BadEncoding);
        let parse = |bytes| X509Certificate::from_der(bytes).map(|(_, parsed)| parsed).map_err(invalid);
        let intermediates = intermediates.iter().map(|bytes| parse(bytes)).collect::<Result<Vec<_>, _>>()?;
        let mut walk = Walk { anchors: self.0.root_hint_subjects(), intermediates: &intermediates, steps: 0 };
        walk.extend(&mut vec![&parse(end_entity)?]).map_err(Error::from)
    }
}

impl ClientCertVerifier for BoundedVerifier {
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check_work(end_entity, intermediates)?;
        self.0.verify_client_cert(end_entity, intermediates, now)
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Follows the names of issuers like the path building of webpki, and counts its steps without verifying a signature.
struct Walk<'a> {
    anchors: &'a [DistinguishedName],
    intermediates: &'a [X509Certificate<'a>],
    steps: usize,
}

impl<'a> Walk<'a> {
    /// Counts the steps of a path and of all its extensions.
    fn extend(&mut self, path: &mut Vec<&'a X509Certificate<'a>>) -> Result<(), Excess> {
        let issuer = path[path.len() - 1].issuer().as_raw();
        // At an anchor, webpki verifies the signature of each certificate of the path.
        let is_complete = self.anchors.iter().any(|anchor| anchor.as_ref() == issuer);
        self.steps += if is_complete { path.len() } else { 1 };
        if self.steps > MAX_STEPS {
            return Err(Excess::Paths);
        }
        for next in self.intermediates {
            let is_same = |used: &&X509Certificate<'_>| {
                used.subject().as_raw() == next.subject().as_raw() && used.public_key().raw == next.public_key().raw
            };
            if next.subject().as_raw() == issuer && !path.iter().any(|used| is_same(&used)) && path.len() <= MAX_DEPTH {
                path.push(next);
                self.extend(path)?;
                path.pop();
            }
        }
        Ok(())
    }
}
