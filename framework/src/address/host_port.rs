//! A host and a port, as in `example.org:80` or `[::1]:80`.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A host (name or address) and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct HostPort {
    /// A host name or an IP address. An IPv6 address has no brackets here; a link-local one can end in `%` and the name
    /// of an interface.
    pub host: String,
    /// 0 to 65535; 0 lets the system choose.
    pub port: u16,
}

impl HostPort {
    /// A host name or IP address (IPv6 without brackets) and a port.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self { host: host.into(), port }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.contains('@') {
            return Err("an address has no user and no password; use host:port".to_owned());
        }
        let split = text.rsplit_once(':').filter(|_| !text.ends_with(']'));
        let (host, port) = split.ok_or("missing port; use host:port")?;
        let number = Some(port).filter(|port| !port.starts_with('+')).and_then(|port| port.parse().ok());
        let number: u16 =
            number.ok_or_else(|| format!("{port:?} is not a port; a port is a number from 0 to 65535"))?;
        let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
            // No socket can be bound to it (ipv6(7)).
            Some(Some(inner)) if inner.parse().is_ok_and(|ip: Ipv6Addr| ip.is_unicast_link_local()) => {
                return Err(format!("a link-local address needs an interface, as in [{inner}%eth0]:{port}"));
            }
            Some(Some(inner)) if is_ipv6(inner) => return Ok(Self::new(inner, number)),
            Some(_) => return Err(format!("{host:?} is not an IPv6 address in brackets")),
            None if host.contains(':') => return Err("an IPv6 address must be in brackets".to_owned()),
            None => host,
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || !host.chars().all(plain) {
            return Err(format!("{host:?} is not a host; 0.0.0.0 or [::] listens on every address"));
        }
        if host.bytes().all(|b| b.is_ascii_digit() || b == b'.') && host.parse::<Ipv4Addr>().is_err() {
            return Err(format!("{host:?} is not an IPv4 address"));
        }
        Ok(Self::new(host, number))
    }
}

/// Whether this is an IPv6 address, perhaps with the name or number of an interface after `%` (RFC 4007).
fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, "-"));
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    address.parse::<Ipv6Addr>().is_ok() && !zone.is_empty() && zone.chars().all(plain)
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}
