//! Why TLS failed, as a sentence with the flag that helps.

use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, Error, OtherError};
use switchboard::settings::text::escape_unsafe;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::verifier::Verifier;
use crate::exit;

/// What the client expects and offers.
#[derive(Debug)]
pub(super) struct Expected {
    /// The name of the server.
    pub(super) name: ServerName<'static>,
    /// The offered protocols.
    pub(super) alpn: Vec<String>,
    pub(super) has_certificate: bool,
    pub(super) trust: Trust,
    pub(super) verifier: Arc<Verifier>,
}

/// The certificates that are trusted.
#[derive(Debug)]
pub(super) enum Trust {
    /// The certificates of the system, and their number.
    System(usize),
    /// The certificates of a file.
    File(String),
    All,
}

impl Expected {
    /// The sentence of an error. Control characters of the certificate are escaped.
    pub(super) fn explain(&self, error: &io::Error) -> String {
        let sentence = match error.get_ref().and_then(|error| error.downcast_ref::<Error>()) {
            Some(error) => of_tls(error, self),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                "the server closed the connection without the end of TLS (close_notify)".to_owned()
            }
            None => exit::reason(error),
        };
        escape_unsafe(&sentence, |_| false)
    }
}

fn of_tls(error: &Error, expected: &Expected) -> String {
    match error {
        Error::InvalidCertificate(why) => of_certificate(why, expected),
        Error::InvalidMessage(_) => {
            "the answer of the server is not TLS; for a server without TLS use tcp://".to_owned()
        }
        Error::NoApplicationProtocol => no_common_protocol(expected),
        Error::AlertReceived(alert) => of_alert(*alert, expected),
        Error::PeerIncompatible(why) => {
            format!("the server and this client have no common TLS version or cipher suite ({why:?})")
        }
        other => other.to_string(),
    }
}

fn of_certificate(why: &CertificateError, expected: &Expected) -> String {
    let rejected = expected.verifier.rejected();
    let parsed = rejected.as_ref().and_then(|der| X509Certificate::from_der(der).ok()).map(|(_, parsed)| parsed);
    let part = |read: fn(&X509Certificate<'_>) -> String| parsed.as_ref().map_or_else(|| "?".to_owned(), read);
    let insecure = "--insecure accepts any certificate";
    let [subject, issuer] =
        [part(|certificate| certificate.subject().to_string()), part(|certificate| certificate.issuer().to_string())];
    let is_self_signed = parsed.is_some() && subject == issuer;
    let signer = if is_self_signed { "itself" } else { &*issuer };
    let presented = format!("the server's certificate ({subject}) is signed by {signer}");
    match why {
        CertificateError::UnknownIssuer => {
            let wanted = if is_self_signed { "this certificate" } else { "the certificate of the authority" };
            format!("{presented}; {}; use --ca FILE with {wanted}; {insecure}", expected.trust.has_not_signed())
        }
        // Found before the search for an authority.
        CertificateError::Other(why) if is_self_signed && is_of_authority(why) => {
            format!("{presented}; {}; use --ca FILE with this certificate; {insecure}", expected.trust.has_not_signed())
        }
        CertificateError::Other(why) if is_of_authority(why) => {
            format!(
                "{presented}; it is the certificate of an authority, so only --ca FILE with exactly this one accepts it; \
                 {insecure}"
            )
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let names = match why {
                CertificateError::NotValidForNameContext { presented, .. } if !presented.is_empty() => {
                    presented.iter().map(|name| plain_name(name)).collect::<Vec<_>>().join(", ")
                }
                _ => "no name".to_owned(),
            };
            let name = expected.name.to_str();
            format!(
                "the server's certificate is for {names}, not for {name}; \
                 use --server-name NAME with a name of the certificate; {insecure}"
            )
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            let end = part(|certificate| certificate.validity().not_after.to_string());
            format!("the server's certificate (or one of its chain) has expired; its own end is {end}; {insecure}")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            let begin = part(|certificate| certificate.validity().not_before.to_string());
            format!("the server's certificate is not valid yet; it begins {begin}; check the clock; {insecure}")
        }
        other => format!("the server's certificate is not valid: {other}; {insecure}"),
    }
}

impl Trust {
    /// The rest of a sentence about a certificate.
    fn has_not_signed(&self) -> String {
        match self {
            Self::File(path) => format!("no authority in {path} (--ca) has signed it"),
            Self::System(count) => format!("none of the {count} authorities that this system trusts has signed it"),
            Self::All => "its authority is unknown".to_owned(),
        }
    }
}

/// Whether webpki rejects the certificate because its extensions are those of an authority.
fn is_of_authority(why: &OtherError) -> bool {
    why.to_string().contains("CaUsedAsEndEntity")
}

/// The name that webpki writes as `DnsName("localhost")` or `IpAddress(127.0.0.1)`.
fn plain_name(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.map_or(name, |inner| inner.trim_matches('"'))
}

fn of_alert(alert: AlertDescription, expected: &Expected) -> String {
    let name = alert_name(alert);
    match alert {
        AlertDescription::NoApplicationProtocol => no_common_protocol(expected),
        AlertDescription::CertificateRequired => {
            "the server requires a certificate of the client; use --cert FILE and --key FILE".to_owned()
        }
        AlertDescription::UnrecognisedName => {
            format!("the server does not know the name {}; use --server-name NAME", expected.name.to_str())
        }
        // With TLS 1.2, a missing certificate has no alert of its own (RFC 5246, section 7.4.6).
        AlertDescription::HandshakeFailure if !expected.has_certificate => format!(
            "the server sent the alert {name}: no common TLS settings, or it requires a certificate of the client \
             (--cert FILE --key FILE)"
        ),
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied
        | AlertDescription::DecryptError
            if expected.has_certificate =>
        {
            format!("the server rejected the certificate of the client (--cert): alert {name}")
        }
        _ => format!("the server sent the alert {name}"),
    }
}

fn no_common_protocol(expected: &Expected) -> String {
    format!("the server supports none of the protocols of --alpn: {}", expected.alpn.join(", "))
}

/// The name of an alert as in RFC 8446, section 6: `unknown_ca` for `UnknownCA`.
fn alert_name(alert: AlertDescription) -> String {
    let mut name = String::new();
    let mut after_lower = false;
    for c in format!("{alert:?}").chars() {
        if c.is_ascii_uppercase() && after_lower {
            name.push('_');
        }
        after_lower = !c.is_ascii_uppercase();
        name.push(c.to_ascii_lowercase());
    }
    name
}
