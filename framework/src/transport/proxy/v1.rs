//! Version 1 of the PROXY header: one line of text.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::address::Address;
use crate::connection::ProxyInfo;
use crate::transport::proxy::header::{HeaderError, MAX_V1_LEN, Progress, escape, inet};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";
/// `PROXY UNKNOWN` and a line end.
pub(super) const MIN_LEN: usize = 15;

/// Parses bytes that begin with the signature or a part of it.
pub(super) fn parse(bytes: &[u8]) -> Result<Progress, HeaderError> {
    let wrong = |why: &str| Err(HeaderError(format!("of version 1 {why}: {}", escape(bytes))));
    let start = &bytes[..bytes.len().min(MAX_V1_LEN)];
    let Some(end) = start.windows(2).position(|pair| pair == b"\r\n") else {
        let after = &start[SIGNATURE.len().min(start.len())..];
        let known = [&b"TCP4 "[..], b"TCP6 ", b"UNKNOWN"];
        return if start.len() == MAX_V1_LEN {
            wrong("has no line end within 107 bytes")
        } else if !known.iter().any(|known| after.iter().zip(*known).all(|(one, other)| one == other)) {
            wrong("has neither TCP4, TCP6 nor UNKNOWN after PROXY")
        } else if after.contains(&b'\n') && !after.starts_with(b"UNKNOWN") {
            wrong("does not end in CR and LF")
        } else {
            Ok(Progress::NeedMore { least: missing(start) })
        };
    };
    let line = &start[SIGNATURE.len()..end];
    let (protocol, rest) = match line.iter().position(|byte| *byte == b' ') {
        Some(space) => (&line[..space], Some(&line[space + 1..])),
        None => (line, None),
    };
    let addresses = match (protocol, rest) {
        (b"UNKNOWN", _) => None, // the specification ignores the rest of the line
        (b"TCP4", Some(rest)) => Some(addresses::<Ipv4Addr>(rest)),
        (b"TCP6", Some(rest)) => Some(addresses::<Ipv6Addr>(rest)),
        (b"TCP4" | b"TCP6", None) => return wrong("has no addresses"),
        _ => return wrong("has neither TCP4, TCP6 nor UNKNOWN after PROXY"),
    };
    match addresses.transpose() {
        Ok(addresses) => Ok(Progress::Done { info: ProxyInfo::new(addresses, Vec::new()), len: end + 2 }),
        Err(why) => wrong(why),
    }
}

/// Parses `client server client-port server-port`, separated by single spaces.
fn addresses<T: FromStr + Into<IpAddr>>(text: &[u8]) -> Result<(Address, Address), &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| "has bytes that are not ASCII")?;
    let fields: Vec<_> = text.split(' ').collect();
    let [client, server, client_port, server_port] = fields[..] else {
        return Err("needs two addresses and two ports, separated by single spaces");
    };
    let ip = |text: &str| text.parse::<T>().map(Into::into).map_err(|_| "has an address that is not of its family");
    Ok((inet(ip(client)?, port(client_port)?), inet(ip(server)?, port(server_port)?)))
}

fn port(text: &str) -> Result<u16, &'static str> {
    let plain = text == "0" || (text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0'));
    let port = if plain { text.parse().ok() } else { None };
    port.ok_or("has a port that is not a number from 0 to 65535 without leading zeros")
}

/// The minimum number of missing bytes of an incomplete line. A high value saves reads.
fn missing(line: &[u8]) -> usize {
    let end = if line.ends_with(b"\r") { 1 } else { 2 };
    let address = match line.get(SIGNATURE.len()..) {
        Some(rest) if rest.starts_with(b"TCP4 ") => "0.0.0.0".len(),
        Some(rest) if rest.starts_with(b"TCP6 ") => "::".len(),
        _ => return end.max(MIN_LEN.saturating_sub(line.len())),
    };
    let mut fields = line[SIGNATURE.len() + "TCP4 ".len()..].split(|byte| *byte == b' ');
    // A field that has begun may be complete. Each later field needs a space before it.
    let mut least = end;
    for (nth, shortest) in [address, address, 1, 1].into_iter().enumerate() {
        least += match fields.next() {
            Some([]) => shortest,
            Some(_) => 0,
            None => usize::from(nth > 0) + shortest,
        };
    }
    least
}
