//! Addresses of peers ([`Address`]), their [`Credentials`], and the key of per-source limits ([`Source`]).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// The address of a peer, or the local address of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// An IP address and port.
    Inet(SocketAddr),
    /// The path of a Unix socket; `None` for an unnamed socket. A path that begins with NUL is a name in the abstract
    /// namespace of Linux (unix(7)) and is printed with an `@`.
    Unix(Option<Arc<Path>>),
    /// A name from the transport.
    Named(Arc<str>),
}

impl Address {
    /// The IP address, for peers that have one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Inet(address) => Some(address.ip()),
            Self::Unix(_) | Self::Named(_) => None,
        }
    }

    /// The key of per-source limits. `None` without an IP address: per-source limits do not apply then.
    pub fn source(&self) -> Option<Source> {
        self.ip().map(Source::of)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            // The peer chose these bytes, so they are escaped before they reach a terminal or a log.
            Self::Unix(Some(path)) => match path.as_os_str().as_bytes() {
                [0, name @ ..] => write!(f, "unix:@{}", String::from_utf8_lossy(name).escape_debug()),
                path => write!(f, "unix:{}", String::from_utf8_lossy(path).escape_debug()),
            },
            Self::Unix(None) => f.write_str("unix:"),
            Self::Named(name) => write!(f, "{}", name.escape_debug()),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(address)
    }
}

/// The credentials of the process at the other end of a Unix socket when it connected (`SO_PEERCRED`, unix(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Credentials {
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
    /// The process id, where the system reports it.
    pub pid: Option<i32>,
}

impl Credentials {
    /// The credentials of a process.
    pub fn new(uid: u32, gid: u32, pid: Option<i32>) -> Self {
        Self { uid, gid, pid }
    }
}

/// The key of per-source limits: an IPv4 address, or the /64 network of an IPv6 address.
///
/// An IPv4-mapped IPv6 address counts as its IPv4 address.
///
/// ```
/// use switchboard::Source;
/// let of = |text: &str| Source::of(text.parse().unwrap());
/// assert_eq!(of("2001:db8::1"), of("2001:db8::2"));
/// assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
/// assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// One IPv4 address.
    V4(Ipv4Addr),
    /// The first 64 bits of an IPv6 address.
    V6([u16; 4]),
}

impl Source {
    /// The source of an address.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}
