//! Why a TLS handshake failed, as a sentence for the log.

use std::io;

use rustls::{CertificateError, Error};

/// The reason of a failed handshake, without names of types of the TLS library.
pub(super) fn reason(error: &io::Error) -> String {
    let Some(tls) = error.get_ref().and_then(|error| error.downcast_ref::<Error>()) else { return error.to_string() };
    match tls {
        Error::InvalidMessage(_) | Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "the peer sent a message that is not valid here; it may not use TLS".to_owned()
        }
        Error::PeerIncompatible(why) => format!("the peer has no common TLS settings: {}", words(&format!("{why:?}"))),
        Error::PeerMisbehaved(why) => format!("the peer violates the protocol: {}", words(&format!("{why:?}"))),
        Error::AlertReceived(alert) => format!("the peer sent the alert: {}", words(&format!("{alert:?}"))),
        Error::InvalidCertificate(CertificateError::Other(why)) => invalid_certificate(&why.to_string()),
        Error::InvalidCertificate(why) => invalid_certificate(&why.to_string()),
        other => other.to_string(),
    }
}

fn invalid_certificate(why: &str) -> String {
    format!("the certificate of the peer is not valid: {}", words(why))
}

/// The words of an identifier such as `UnknownIssuer`. A text with spaces stays as it is.
fn words(text: &str) -> String {
    if text.contains(' ') {
        return text.to_owned();
    }
    let mut words = String::with_capacity(text.len() + 8);
    let mut after_lower = false;
    for c in text.chars() {
        if c.is_ascii_uppercase() && after_lower {
            words.push(' ');
        }
        after_lower = !c.is_ascii_uppercase();
        words.push(c.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{AlertDescription, InvalidMessage, OtherError, PeerIncompatible, PeerMisbehaved};

    use super::*;

    #[test]
    fn the_reason_of_a_failed_handshake_has_no_names_of_types() {
        let other = OtherError(Arc::new(io::Error::other("UnsupportedCertVersion")));
        let cases = [
            (Error::InvalidMessage(InvalidMessage::InvalidContentType), "it may not use TLS"),
            (Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon), ": no cipher suites in common"),
            (Error::PeerMisbehaved(PeerMisbehaved::TooMuchEarlyDataReceived), ": too much early data received"),
            (Error::AlertReceived(AlertDescription::UnknownCA), ": unknown ca"),
            (Error::InvalidCertificate(CertificateError::UnknownIssuer), "not valid: unknown issuer"),
            (Error::InvalidCertificate(CertificateError::Other(other)), "not valid: unsupported cert version"),
            (Error::NoCertificatesPresented, "peer sent no certificates"),
        ];
        for (error, expected) in cases {
            let shown = reason(&io::Error::new(io::ErrorKind::InvalidData, error));
            assert!(shown.ends_with(expected), "{shown}");
        }
        assert_eq!(reason(&io::Error::other("tls handshake eof")), "tls handshake eof");
    }
}
