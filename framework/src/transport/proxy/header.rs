//! The result types and limits of the PROXY header parser.

use std::net::{IpAddr, SocketAddr};

use crate::address::Address;
use crate::connection::ProxyInfo;
use crate::error::debug_as_display;

/// The longest header of version 1, including its line end.
pub const LONGEST_V1: usize = 107;
/// The longest block of addresses and TLVs of a version 2 header.
pub const LONGEST_V2_BLOCK: usize = 4096;
/// The longest unique id (`0x05`).
pub const LONGEST_UNIQUE_ID: usize = 128;

/// The progress of parsing a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The header is incomplete.
    NeedMore {
        /// The minimum number of missing bytes, at least one. A reader that reads no more never passes the end of the header.
        least: usize,
    },
    /// The header is complete.
    Done {
        /// The contents of the header.
        info: ProxyInfo,
        /// The length of the header in bytes.
        len: usize,
    },
}

/// Bytes that are not a valid PROXY header. The message shows the bytes, escaped and truncated.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("the PROXY header {0}")]
pub struct HeaderError(pub(super) String);

debug_as_display!(HeaderError);

/// Bytes of a peer for a log: escaped and truncated.
pub(super) fn escape(bytes: &[u8]) -> String {
    /// Bytes of an invalid PROXY header that an error message shows.
    const SHOWN: usize = 64;
    let more = if bytes.len() > SHOWN { "…" } else { "" };
    format!("\"{}\"{more}", bytes[..bytes.len().min(SHOWN)].escape_ascii())
}

/// An IPv4-mapped IPv6 address becomes an IPv4 address.
pub(super) fn inet(ip: IpAddr, port: u16) -> Address {
    Address::Inet(SocketAddr::new(ip.to_canonical(), port))
}
