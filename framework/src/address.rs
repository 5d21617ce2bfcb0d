//! Addresses: what an operator writes ([`Endpoint`]), who is on the other side ([`Address`]), and what limits count by ([`Source`]).

use std::convert::Infallible;
use std::ffi::OsStr;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// Where a listener listens, as written in configuration: `tcp://127.0.0.1:9999`, `unix:/run/app.sock`, `mem:test` …
///
/// Parsing is strict and its error says what would have been accepted:
///
/// ```
/// use switchboard::Endpoint;
/// let endpoint: Endpoint = "tcp://[::1]:7000".parse()?;
/// assert_eq!(endpoint.scheme(), "tcp");
/// assert_eq!(endpoint.to_string(), "tcp://[::1]:7000");
/// let error = "127.0.0.1:7000".parse::<Endpoint>().unwrap_err();
/// assert!(error.to_string().contains("tcp://127.0.0.1:7000"));
/// # Ok::<(), switchboard::address::EndpointError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// `tcp://HOST:PORT`. Port 0 takes a free one.
    Tcp(HostPort),
    /// `tls://HOST:PORT`.
    Tls(HostPort),
    /// `udp://HOST:PORT`.
    Udp(HostPort),
    /// `unix:/PATH`, a stream socket.
    Unix(PathBuf),
    /// `unixgram:/PATH`, a datagram socket.
    Unixgram(PathBuf),
    /// `systemd:NAME`, a socket that the service manager passes.
    Systemd(String),
    /// `mem:NAME`, inside this process only: for tests.
    Memory(String),
    /// Any other scheme: a transport of your own.
    Other {
        /// The part before the first colon.
        scheme: String,
        /// The part after it, as written.
        rest: String,
    },
}

/// A host (name or address) and a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A name or an address; an IPv6 address without its brackets.
    pub host: String,
    /// 0 to 65535; 0 lets the system choose.
    pub port: u16,
}

/// DropReason a text is not an [`Endpoint`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address: {why}")]
pub struct EndpointError {
    text: String,
    why: String,
}

impl Endpoint {
    /// The scheme: `tcp`, `udp`, `unix` …
    pub fn scheme(&self) -> &str {
        match self {
            Self::Tcp(_) => "tcp",
            Self::Tls(_) => "tls",
            Self::Udp(_) => "udp",
            Self::Unix(_) => "unix",
            Self::Unixgram(_) => "unixgram",
            Self::Systemd(_) => "systemd",
            Self::Memory(_) => "mem",
            Self::Other { scheme, .. } => scheme,
        }
    }

    /// The same endpoint with the port that the system chose.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        let mut endpoint = self.clone();
        if let Self::Tcp(at) | Self::Tls(at) | Self::Udp(at) = &mut endpoint {
            at.port = port;
        }
        endpoint
    }

    /// The port, where the scheme has one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(at) | Self::Tls(at) | Self::Udp(at) => Some(at.port),
            _ => None,
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let wrong = |why: String| EndpointError { text: text.to_owned(), why };
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(wrong(
                "write it with its transport, such as tcp://127.0.0.1:9999 or unix:/run/app.sock".into(),
            ));
        };
        let host_port = || {
            let at = rest
                .strip_prefix("//")
                .ok_or_else(|| wrong(format!("after {scheme}: come two slashes, then host:port")))?;
            HostPort::parse(at).map_err(&wrong)
        };
        let path = || match rest {
            "" => Err(wrong(format!("after {scheme}: comes a path, such as {scheme}:/run/app.sock"))),
            path => Ok(PathBuf::from(path)),
        };
        let name = || match rest {
            "" => Err(wrong(format!("after {scheme}: comes a name"))),
            name => Ok(name.to_owned()),
        };
        match scheme {
            "tcp" => host_port().map(Self::Tcp),
            "tls" => host_port().map(Self::Tls),
            "udp" => host_port().map(Self::Udp),
            "unix" => path().map(Self::Unix),
            "unixgram" => path().map(Self::Unixgram),
            "systemd" => name().map(Self::Systemd),
            "mem" => name().map(Self::Memory),
            _ if is_scheme(scheme) && rest.parse::<u16>().is_err() => {
                Ok(Self::Other { scheme: scheme.to_owned(), rest: rest.to_owned() })
            }
            _ => Err(wrong(format!("the transport is missing; write tcp://{text} or udp://{text}"))),
        }
    }
}

/// So that an [`Endpoint`] can stand wherever a text that is parsed can.
impl From<Infallible> for EndpointError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl TryFrom<&str> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: &str) -> Result<Self, EndpointError> {
        text.parse()
    }
}

impl TryFrom<String> for Endpoint {
    type Error = EndpointError;

    fn try_from(text: String) -> Result<Self, EndpointError> {
        text.parse()
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-'))
}

impl HostPort {
    fn parse(text: &str) -> Result<Self, String> {
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err("the port is missing; write host:port".into());
        };
        let port: u16 = if port.bytes().all(|b| b.is_ascii_digit()) { port.parse().ok() } else { None }
            .ok_or_else(|| format!("{port:?} is not a port; a port is a number from 0 to 65535"))?;
        let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
            Some(Some(inner)) if inner.parse::<std::net::Ipv6Addr>().is_ok() => inner,
            Some(_) => return Err(format!("{host:?} is not an IPv6 address in brackets")),
            None if host.contains(':') => return Err(format!("an IPv6 address stands in brackets: [{host}]:{port}")),
            None => host,
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if host.is_empty() || !host.chars().all(plain) {
            return Err(format!("{host:?} is not a host; every address of this machine is 0.0.0.0 or [::]"));
        }
        if host.bytes().all(|b| b.is_ascii_digit() || b == b'.') && host.parse::<Ipv4Addr>().is_err() {
            return Err(format!("{host:?} is not an IPv4 address"));
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.scheme();
        match self {
            Self::Tcp(at) | Self::Tls(at) | Self::Udp(at) => write!(f, "{scheme}://{at}"),
            Self::Unix(path) | Self::Unixgram(path) => write!(f, "{scheme}:{}", path.display()),
            Self::Systemd(name) | Self::Memory(name) => write!(f, "{scheme}:{name}"),
            Self::Other { rest, .. } => write!(f, "{scheme}:{rest}"),
        }
    }
}

/// One side of a conversation: the peer, or this side of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// An IP address and port.
    Inet(SocketAddr),
    /// A Unix socket's path; one that begins with NUL is a name in the abstract namespace of Linux (unix(7)), printed with
    /// an `@`. `None` for a client that bound none.
    Unix(Option<Arc<Path>>),
    /// A name that the transport gave.
    Named(Arc<str>),
}

impl Address {
    /// The address of a Unix peer as tokio gives it.
    pub(crate) fn of_unix(peer: &tokio::net::unix::SocketAddr) -> Self {
        let path = peer.as_pathname().map(Arc::from);
        Self::Unix(path.or_else(|| {
            let name = [b"\0", peer.as_abstract_name()?].concat();
            Some(Arc::from(Path::new(OsStr::from_bytes(&name))))
        }))
    }

    /// What limits count by; `None` where the transport has no network addresses, and then limits by source do not apply.
    pub fn source(&self) -> Option<Source> {
        match self {
            Self::Inet(address) => Some(Source::of(address.ip())),
            Self::Unix(_) | Self::Named(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            // The peer chose these bytes: none of them may reach a terminal or a log as it is.
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

/// Who runs the program on the other side of a Unix socket, as the system says it (`SO_PEERCRED`, unix(7)): at the time when it
/// connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Credentials {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its process, where the system tells.
    pub pid: Option<i32>,
}

impl Credentials {
    pub(crate) fn new(uid: u32, gid: u32, pid: Option<i32>) -> Self {
        Self { uid, gid, pid }
    }
}

/// What limits count as one client: an IPv4 address, or the /64 network of an IPv6 address.
///
/// An IPv4 address that comes mapped into IPv6 is the IPv4 address.
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
    /// The source that an address belongs to.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_calls_itself_is_escaped() {
        let path = |path: &str| Address::Unix(Some(Arc::from(Path::new(path)))).to_string();
        assert_eq!(path("/tmp/a"), "unix:/tmp/a");
        assert_eq!(path("/tmp/a\nfake \x1b[31m"), "unix:/tmp/a\\nfake \\u{1b}[31m");
        assert_eq!(path("\0name"), "unix:@name");
        assert_eq!(Address::Named("a\nb".into()).to_string(), "a\\nb");
    }

    #[test]
    fn every_form_is_read_and_printed_back() {
        for text in [
            "tcp://127.0.0.1:9999",
            "tcp://localhost:0",
            "tls://0.0.0.0:443",
            "udp://[::1]:53",
            "unix:/run/app.sock",
            "unixgram:/run/app.sock",
            "systemd:main",
            "mem:test",
            "stdio:",
            "quic://a:1",
        ] {
            assert_eq!(text.parse::<Endpoint>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("", "write it with its transport"),
            ("9999", "write it with its transport"),
            ("localhost:9999", "tcp://localhost:9999"),
            ("127.0.0.1:9999", "tcp://127.0.0.1:9999"),
            ("tcp:127.0.0.1:1", "two slashes"),
            ("tcp://127.0.0.1", "port is missing"),
            ("tcp://127.0.0.1:70000", "0 to 65535"),
            ("tcp://127.0.0.1:+1", "0 to 65535"),
            ("tcp://:80", "0.0.0.0"),
            ("tcp://::1:80", "brackets"),
            ("tcp://[::1:80", "brackets"),
            ("tcp://127.0.0.256:80", "not an IPv4 address"),
            ("tcp://a b:80", "not a host"),
            ("unix:", "path"),
            ("mem:", "name"),
        ] {
            let error = text.parse::<Endpoint>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
