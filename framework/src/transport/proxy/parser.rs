//! Parses a PROXY header of either version.
//!
//! The parser is strict, because the header decides which client is trusted. No crate was strict enough: `ppp` 2.3
//! accepts the port `+80` and rejects `UNKNOWN` with a long tail and `LOCAL` with an unknown family; `proxy-header` 0.1
//! accepts `PROXY-TCP4`, `UNKNOWNS` and ports with leading zeros, and drops Unix addresses; `haproxy-protocol` 0.0.4
//! accepts an IPv6 address after `TCP4` and several spaces, and has no TLVs; `proxy-protocol` 0.5 does not check the
//! letters of `TCP` and `UNKNOWN`. None of them verifies checksums, and none reports how many bytes can be read without
//! passing the end.

use crate::transport::proxy::header::{HeaderError, Progress, escape};
use crate::transport::proxy::{v1, v2};

/// Parses a header of version 1 or 2 at the beginning of these bytes. Bytes after the header are ignored.
///
/// `LOCAL`, `UNSPEC` and `UNKNOWN` yield no addresses. IPv4-mapped IPv6 addresses become IPv4 addresses. A checksum
/// (TLV `0x03`) is verified. The checksum and padding (`0x04`) are not returned among the TLVs.
///
/// # Errors
///
/// The bytes are not a valid header.
///
/// ```
/// use switchboard::transport::proxy::{header::Progress, parse};
/// let header = b"PROXY TCP4 192.0.2.1 192.0.2.9 50000 443\r\n";
/// let Ok(Progress::Done { info, len }) = parse(header) else { panic!() };
/// let (client, server) = info.addresses.unwrap();
/// assert_eq!((client.to_string(), server.to_string(), len), ("192.0.2.1:50000".into(), "192.0.2.9:443".into(), 42));
/// assert_eq!(parse(b"PROXY"), Ok(Progress::NeedMore { least: 10 }));
/// assert!(parse(b"GET / HTTP/1.1").is_err());
/// ```
pub fn parse(bytes: &[u8]) -> Result<Progress, HeaderError> {
    let begins = |signature: &[u8]| bytes.iter().zip(signature).all(|(one, other)| one == other);
    if bytes.is_empty() {
        Ok(Progress::NeedMore { least: v1::MIN_LEN })
    } else if begins(v1::SIGNATURE) {
        v1::parse(bytes)
    } else if begins(v2::SIGNATURE) {
        v2::parse(bytes)
    } else {
        Err(HeaderError(format!("is missing: the connection begins with {}", escape(bytes))))
    }
}

#[cfg(test)]
#[path = "parser_tests.rs"]
pub(super) mod tests;
