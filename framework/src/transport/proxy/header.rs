//! A PROXY header (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>) from bytes, without I/O.
//!
//! It is as strict as the specification: whoever may say who a client is should say it exactly. The grammar is small, and its
//! own parser because none of the packages for it is strict. As their code reads: `ppp` 2.3 takes `+80` as a port and refuses
//! `UNKNOWN` with a long tail and `LOCAL` with a family that it does not know; `proxy-header` 0.1 takes `PROXY-TCP4`,
//! `UNKNOWNS` and ports with leading zeros, and drops Unix addresses; `haproxy-protocol` 0.0.4 takes an IPv6 address after
//! `TCP4` and several spaces, and has no TLVs; `proxy-protocol` 0.5 does not look at the letters of `TCP` and `UNKNOWN`. None
//! of them verifies a checksum, and none says how much can be read without passing the end.

use std::net::{IpAddr, SocketAddr};

use crate::address::Address;
use crate::connection::ProxyInfo;
use crate::transport::proxy::{v1, v2};

/// The longest header of version 1, its line end included.
pub const LONGEST_V1: usize = 107;
/// How many bytes of addresses and TLVs a header of version 2 may have.
pub const LONGEST_V2_BLOCK: usize = 4096;
/// The longest unique id (`0x05`).
pub const LONGEST_UNIQUE_ID: usize = 128;

/// How far a header has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It is not whole yet.
    NeedMore {
        /// At least so many bytes are missing, one or more: who reads no more than that never reads past the header.
        least: usize,
    },
    /// It is whole.
    Done {
        /// What it says.
        info: ProxyInfo,
        /// How many bytes it has.
        len: usize,
    },
}

/// DropReason bytes are no PROXY header: a sentence with what was found, escaped and cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the PROXY header {0}")]
pub struct HeaderError(pub(super) String);

/// Reads a header, of version 1 or 2, at the beginning of these bytes. What follows it is not looked at.
///
/// Of `LOCAL`, `UNSPEC` and `UNKNOWN` nothing is kept. IPv4 addresses that come mapped into IPv6 are IPv4 addresses. A checksum
/// (TLV `0x03`) is verified if there is one; it and padding (`0x04`) are not among the TLVs.
///
/// ```
/// use switchboard::transport::proxy::header::{Progress, parse};
/// let Ok(Progress::Done { info, len }) = parse(b"PROXY TCP4 192.0.2.1 192.0.2.9 50000 443\r\nhello") else { panic!() };
/// let (client, asked) = info.addresses.unwrap();
/// assert_eq!((client.to_string(), asked.to_string(), len), ("192.0.2.1:50000".into(), "192.0.2.9:443".into(), 42));
/// assert_eq!(parse(b"PROXY"), Ok(Progress::NeedMore { least: 10 }));
/// assert!(parse(b"GET / HTTP/1.1").is_err());
/// ```
pub fn parse(bytes: &[u8]) -> Result<Progress, HeaderError> {
    let begins = |signature: &[u8]| bytes.iter().zip(signature).all(|(one, other)| one == other);
    if bytes.is_empty() {
        Ok(Progress::NeedMore { least: v1::SHORTEST })
    } else if begins(v1::SIGNATURE) {
        v1::parse(bytes)
    } else if begins(v2::SIGNATURE) {
        v2::parse(bytes)
    } else {
        Err(HeaderError(format!("is missing: the connection begins with {}", shown(bytes))))
    }
}

/// Bytes of a peer as they may stand in a log: escaped and cut.
pub(super) fn shown(bytes: &[u8]) -> String {
    /// Bytes of an invalid PROXY header that an error message shows.
    const SHOWN: usize = 64;
    let more = if bytes.len() > SHOWN { "…" } else { "" };
    format!("\"{}\"{more}", bytes[..bytes.len().min(SHOWN)].escape_ascii())
}

/// An IPv4 address that comes mapped into IPv6 is the IPv4 address.
pub(super) fn inet(ip: IpAddr, port: u16) -> Address {
    Address::Inet(SocketAddr::new(ip.to_canonical(), port))
}

#[cfg(test)]
#[path = "tests.rs"]
pub(super) mod tests;
