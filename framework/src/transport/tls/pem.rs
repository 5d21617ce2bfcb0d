//! Reads certificates and keys from PEM files (RFC 7468). The error of another kind of file names that kind.

use std::path::Path;

use rustls::pki_types::pem::{Error as PemError, PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::settings::file::{self, reason};

/// The certificates of a file, at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let file = PemFile::read(path, "certificate", "openssl x509 -inform der")?;
    let name = path.display();
    let found = file.sections.into_iter().filter(|(kind, _)| *kind == SectionKind::Certificate);
    let found: Vec<_> = found.map(|(_, der)| CertificateDer::from(der)).collect();
    match file.labels.as_slice() {
        _ if !found.is_empty() => Ok(found),
        labels if labels.iter().any(|label| label == "TRUSTED CERTIFICATE") => Err(format!(
            "{name} contains a certificate in OpenSSL's own form; convert it: openssl x509 -in {name} -out cert.pem"
        )),
        labels => Err(format!("there is no certificate in {name}, only {}", labels.join(", "))),
    }
}

/// The private key of a file. Sections of other kinds, such as EC PARAMETERS or certificates, are ignored.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let file = PemFile::read(path, "private key", "openssl pkey -inform der")?;
    let name = path.display();
    let keys = file.sections.into_iter().filter_map(|(kind, der)| PrivateKeyDer::from_pem(kind, der));
    let mut keys: Vec<_> = keys.collect();
    match (keys.pop(), keys.len()) {
        (Some(key), 0) => Ok(key),
        (Some(_), others) => {
            Err(format!("there are {} private keys in {name}; keep only the key of the certificate", others + 1))
        }
        (None, _) if file.is_encrypted => {
            Err(format!("the private key in {name} is encrypted; decrypt it: openssl pkey -in {name} -out key.pem"))
        }
        (None, _) => Err(format!("there is no private key in {name}, only {}", file.labels.join(", "))),
    }
}

/// The reason why a private key cannot be used. Searches the encoded key for the identifier of its algorithm.
pub(super) fn unsupported(key: &PrivateKeyDer<'_>) -> &'static str {
    /// Object identifiers (DER) and what they mean.
    const KINDS: [(&[u8], &str); 6] = [
        (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23], "is an ECDSA key of the curve P-521"),
        (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a], "is an ECDSA key of the curve secp256k1"),
        (&[0x06, 0x03, 0x2b, 0x65, 0x71], "is an Ed448 key"),
        (&[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01], "is a DSA key"),
        (&[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a], "is an RSA-PSS key"),
        (&[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01], WRONG_RSA),
    ];
    const WRONG_RSA: &str = "is an RSA key of an unsupported size";
    if matches!(key, PrivateKeyDer::Pkcs1(_)) {
        return WRONG_RSA;
    }
    // The identifier is at the beginning (PKCS#8) or at the end (SEC 1).
    let contains = |id: &[u8]| key.secret_der().windows(id.len()).any(|window| window == id);
    KINDS.iter().find(|(id, _)| contains(id)).map_or("is damaged, or of an unsupported type", |(_, kind)| kind)
}

struct PemFile {
    sections: Vec<(SectionKind, Vec<u8>)>,
    /// What the sections are called, such as `EC PRIVATE KEY`.
    labels: Vec<String>,
    is_encrypted: bool,
}

impl PemFile {
    fn read(path: &Path, what: &str, convert: &str) -> Result<Self, String> {
        let name = path.display();
        let bytes = file::read(path).map_err(|error| format!("{name} cannot be read: {}", reason(&error)))?;
        // Editors on Windows may write a byte order mark.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let text = String::from_utf8_lossy(bytes);
        let labels: Vec<String> = text.lines().filter_map(label).map(str::to_owned).collect();
        if labels.is_empty() {
            let reason = match bytes {
                [] => "the file is empty".to_owned(),
                [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "it is UTF-16 text; save it as UTF-8 text".to_owned(),
                // The version 3 of RFC 7292, section 4.
                [0x30, 0x82, _, _, 2, 1, 3, ..] => {
                    format!("it is PKCS #12, not PEM; convert it: openssl pkcs12 -nodes -in {name} -out new.pem")
                }
                // The tag of a sequence.
                [0x30, ..] => format!("it is DER, not PEM; convert it: {convert} -in {name} -out new.pem"),
                _ => "it is not a PEM file, which has a line like -----BEGIN CERTIFICATE-----".to_owned(),
            };
            return Err(format!("there is no {what} in {name}: {reason}"));
        }
        if text.lines().any(|line| line.starts_with([' ', '\t']) && label(line).is_some()) {
            return Err(format!("{name} is damaged: a line -----BEGIN has a space in front; remove it"));
        }
        let is_encrypted = labels.iter().any(|label| label == "ENCRYPTED PRIVATE KEY") || text.contains("4,ENCRYPTED");
        let mut sections = Vec::new();
        for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes) {
            match section {
                Ok(section) => sections.push(section),
                // The headers of an encrypted key (RFC 1421) are not base64.
                Err(_) if is_encrypted => break,
                Err(error) => return Err(format!("{name} is damaged: {}", damage(&error))),
            }
        }
        Ok(Self { sections, labels, is_encrypted })
    }
}

fn label(line: &str) -> Option<&str> {
    line.trim().strip_prefix("-----BEGIN ")?.strip_suffix("-----")
}

fn damage(error: &PemError) -> &'static str {
    match error {
        PemError::MissingSectionEnd { .. } => "a section has no line -----END",
        PemError::IllegalSectionStart { .. } => "a line -----BEGIN is incomplete",
        PemError::Base64Decode(_) => "a section contains text that is not base64",
        PemError::SectionTooLarge => "a section is too large",
        _ => "it is not PEM",
    }
}
