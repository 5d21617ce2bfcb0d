//! Version 2 of the PROXY header: addresses and typed values in bytes.

use std::ffi::OsStr;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use crc::{CRC_32_ISCSI, Crc};

use crate::address::Address;
use crate::connection::ProxyInfo;
use crate::transport::proxy::header::{HeaderError, MAX_UNIQUE_ID_LEN, MAX_V2_BLOCK_LEN, Progress, escape, inet};

pub(super) const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family, and the length of the rest.
pub(super) const FIXED: usize = 16;
/// Bytes of the path of a Unix socket in a header of version 2.
pub(super) const UNIX_PATH: usize = 108;

pub(super) const CRC32C: u8 = 0x03;
pub(super) const NOOP: u8 = 0x04;
pub(super) const UNIQUE_ID: u8 = 0x05;

/// Parses bytes that begin with the signature or a part of it.
pub(super) fn parse(bytes: &[u8]) -> Result<Progress, HeaderError> {
    let wrong = |why: String| HeaderError(format!("of version 2 {why}"));
    let Some((&[.., command, family, high, low], rest)) = bytes.split_first_chunk::<FIXED>() else {
        return Ok(Progress::NeedMore { least: FIXED - bytes.len() });
    };
    // Checked before the rest has arrived, so that an invalid header is rejected early.
    let local = match command {
        0x20 => true,
        0x21 => false,
        0x22..=0x2f => return Err(wrong(format!("has the unknown command {}", command & 0x0f))),
        _ => return Err(wrong(format!("has the unknown version {}", command >> 4))),
    };
    let addresses = match family {
        _ if local => 0,
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        0x31 => 2 * UNIX_PATH,
        0x12 | 0x22 | 0x32 => {
            return Err(wrong(format!("has the datagram family {family:#04x} on a stream connection")));
        }
        _ => return Err(wrong(format!("has the unknown family {family:#04x}"))),
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_V2_BLOCK_LEN {
        return Err(wrong(format!("has a length of {length} bytes; at most {MAX_V2_BLOCK_LEN} are allowed")));
    }
    if length < addresses {
        return Err(wrong(format!(
            "has a length of {length} bytes, but addresses of family {family:#04x} need {addresses}"
        )));
    }
    let len = FIXED + length;
    let Some(block) = rest.get(..length) else {
        return Ok(Progress::NeedMore { least: len - bytes.len() });
    };
    if local || family == 0x00 {
        // The specification requires that the block is discarded.
        let info = if local { ProxyInfo::local() } else { ProxyInfo::new(None, Vec::new()) };
        return Ok(Progress::Done { info, len });
    }
    let (addresses, extra) = block.split_at(addresses);
    let tlvs = tlvs(extra, &bytes[..len]).map_err(wrong)?;
    Ok(Progress::Done { info: ProxyInfo::new(pair(addresses), tlvs), len })
}

/// Two addresses. Their length determines their family.
fn pair(block: &[u8]) -> Option<(Address, Address)> {
    if let Some((paths, [])) = block.split_first_chunk::<{ 2 * UNIX_PATH }>() {
        let (client, server) = paths.split_at(UNIX_PATH);
        return Some((unix(client), unix(server)));
    }
    let (ips, &[a, b, c, d]) = block.split_last_chunk::<4>()?;
    let (client, server) = ips.split_at(ips.len() / 2);
    let ports = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    Some((inet(ip(client)?, ports.0), inet(ip(server)?, ports.1)))
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// A path ends at its first NUL, an abstract name at the padding. A block of NULs is an unnamed socket.
fn unix(padded: &[u8]) -> Address {
    let used = match padded {
        [0, ..] => padded.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1),
        _ => padded.iter().position(|byte| *byte == 0).unwrap_or(padded.len()),
    };
    let path = &padded[..used];
    Address::Unix((!path.is_empty()).then(|| Arc::from(Path::new(OsStr::from_bytes(path)))))
}

/// The most TLVs of a header; proxies send a few.
const MAX_TLVS: usize = 64;

/// Parses TLVs (type, length, value) up to the last byte.
fn tlvs(rest: &[u8], header: &[u8]) -> Result<Vec<(u8, Bytes)>, String> {
    let (mut tlvs, mut checked) = (Vec::new(), false);
    // One allocation that all values share.
    let kept = Bytes::copy_from_slice(rest);
    let mut rest = &*kept;
    while !rest.is_empty() {
        let Some((&[kind, high, low], behind)) = rest.split_first_chunk::<3>() else {
            return Err(format!("ends in the middle of a TLV: {}", escape(rest)));
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let Some((value, behind)) = behind.split_at_checked(length) else {
            return Err(format!("has a TLV {kind:#04x} of {length} bytes, but only {} are left", behind.len()));
        };
        match kind {
            CRC32C if checked => return Err("has two checksums".to_owned()),
            CRC32C => {
                verify(value, header, header.len() - behind.len())?;
                checked = true;
            }
            NOOP => {}
            UNIQUE_ID if length > MAX_UNIQUE_ID_LEN => {
                return Err(format!("has a unique id of {length} bytes; at most {MAX_UNIQUE_ID_LEN} are allowed"));
            }
            _ if tlvs.len() == MAX_TLVS => return Err(format!("has more than {MAX_TLVS} TLVs")),
            _ => tlvs.push((kind, kept.slice_ref(value))),
        }
        rest = behind;
    }
    Ok(tlvs)
}

/// The checksum covers the whole header, with zeros in place of the checksum itself, which ends at `end`.
fn verify(value: &[u8], header: &[u8], end: usize) -> Result<(), String> {
    const CASTAGNOLI: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
    let Ok(expected) = <[u8; 4]>::try_from(value) else {
        return Err(format!("has a checksum of {} bytes; a checksum has 4", value.len()));
    };
    let mut digest = CASTAGNOLI.digest();
    digest.update(&header[..end - expected.len()]);
    digest.update(&[0; 4]);
    digest.update(&header[end..]);
    let (expected, found) = (u32::from_be_bytes(expected), digest.finalize());
    if expected != found {
        return Err(format!("has the checksum {expected:#010x}, but the computed checksum is {found:#010x}"));
    }
    Ok(())
}
