//! Addresses of listeners ([`Endpoint`]) and peers ([`Address`]), and the key of per-source limits ([`Source`]).

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::debug_as_display;

mod host_port;
mod peer;

pub use host_port::HostPort;
pub use peer::{Address, Credentials, Source};

/// The address of a listener, as written in the configuration: `tcp://127.0.0.1:9999`, `unix:/run/app.sock` …
///
/// Parsing is strict. The error names the accepted form:
///
/// ```
/// use switchboard::Endpoint;
/// let endpoint: Endpoint = "tcp://[::1]:7000".parse()?;
/// assert_eq!(endpoint.socket_addr(), Some("[::1]:7000".parse().unwrap()));
/// let error = "127.0.0.1:7000".parse::<Endpoint>().unwrap_err();
/// assert!(error.to_string().contains("tcp://127.0.0.1:7000"));
/// # Ok::<(), switchboard::address::EndpointError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Endpoint {
    /// `tcp://HOST:PORT`. Port 0 lets the system choose a free port.
    Tcp(HostPort),
    /// `tls://HOST:PORT`.
    Tls(HostPort),
    /// `udp://HOST:PORT`.
    Udp(HostPort),
    /// `unix:/PATH`, a stream socket. `unix:@NAME` is a name in the abstract namespace of Linux (unix(7)); its path
    /// begins with NUL.
    Unix(PathBuf),
    /// `unixgram:/PATH` or `unixgram:@NAME`, a datagram socket.
    Unixgram(PathBuf),
    /// `systemd:NAME`, a socket from the service manager.
    Systemd(String),
    /// `mem:NAME`, connections inside this process, for tests.
    Memory(String),
    /// Any other scheme, for a custom transport.
    Other {
        /// The part before the first colon.
        scheme: String,
        /// The part after it, as written.
        rest: String,
    },
}

/// Defines the built-in schemes: the variant, and the function that parses the part after the scheme.
macro_rules! schemes {
    ($($scheme:literal: $variant:ident, $parse:ident;)*) => {
        impl Endpoint {
            /// The scheme: `tcp`, `udp`, `unix` …
            pub fn scheme(&self) -> &str {
                match self {
                    $(Self::$variant(_) => $scheme,)*
                    Self::Other { scheme, .. } => scheme,
                }
            }

            fn built_in(scheme: &str, rest: &str) -> Option<Result<Self, String>> {
                Some(match scheme {
                    $($scheme => $parse(scheme, rest).map(Self::$variant),)*
                    _ => return None,
                })
            }
        }
    };
}

schemes! {
    "tcp": Tcp, host_port;
    "tls": Tls, host_port;
    "udp": Udp, host_port;
    "unix": Unix, path;
    "unixgram": Unixgram, path;
    "systemd": Systemd, name;
    "mem": Memory, name;
}

/// A text that is not an [`Endpoint`]. The message names the accepted form.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address: {reason}")]
pub struct EndpointError {
    text: String,
    reason: String,
}

debug_as_display!(EndpointError);

impl Endpoint {
    /// The same endpoint with another port, for schemes that have a port.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        let mut endpoint = self.clone();
        if let Self::Tcp(address) | Self::Tls(address) | Self::Udp(address) = &mut endpoint {
            address.port = port;
        }
        endpoint
    }

    /// The port, for schemes that have one.
    pub fn port(&self) -> Option<u16> {
        self.host_port().map(|address| address.port)
    }

    /// The IP address and port; `None` for a host name and for schemes without an IP address.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        let HostPort { host, port } = self.host_port()?;
        Some(SocketAddr::new(host.parse().ok()?, *port))
    }

    pub(crate) fn same_socket(&self, other: &Self) -> bool {
        self.without_tls() == other.without_tls()
    }

    /// The endpoint of the transport under TLS.
    #[must_use]
    pub(crate) fn without_tls(&self) -> Self {
        match self {
            Self::Tls(address) => Self::Tcp(address.clone()),
            other => other.clone(),
        }
    }

    fn host_port(&self) -> Option<&HostPort> {
        match self {
            Self::Tcp(address) | Self::Tls(address) | Self::Udp(address) => Some(address),
            _ => None,
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        parse(text).map_err(|reason| EndpointError { text: without_user(text), reason })
    }
}

/// The text without a user and a password, as in `tcp://user:password@host:port`.
fn without_user(text: &str) -> String {
    match text.split_once("//").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?.1))) {
        Some((scheme, host)) => format!("{scheme}//…@{host}"),
        None => text.to_owned(),
    }
}

fn parse(text: &str) -> Result<Endpoint, String> {
    let missing = "missing scheme; use an address such as tcp://127.0.0.1:9999 or unix:/run/app.sock";
    let (scheme, rest) = text.split_once(':').ok_or(missing)?;
    let custom = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '+' | '-'));
    match Endpoint::built_in(scheme, rest) {
        Some(endpoint) => endpoint,
        // `localhost:9999` is a host and a port, not a scheme and a name.
        None if custom && rest.parse::<u16>().is_err() => {
            Ok(Endpoint::Other { scheme: scheme.to_owned(), rest: rest.to_owned() })
        }
        None => Err(missing_scheme(text)),
    }
}

/// The error of an address without a scheme. It suggests only addresses that can be parsed.
fn missing_scheme(text: &str) -> String {
    if let Some((scheme, rest)) = text.split_once(':') {
        let scheme = scheme.to_ascii_lowercase();
        if let Some(Ok(address)) = Endpoint::built_in(&scheme, rest) {
            return format!("a scheme has lower-case letters; use {address}");
        }
    }
    match repaired(text.rsplit_once("//").map_or(text, |(_, rest)| rest)) {
        Some(address) => format!("missing scheme; use tcp://{address} or udp://{address}"),
        None => "missing scheme; use an address such as tcp://127.0.0.1:9999 or unix:/run/app.sock".to_owned(),
    }
}

/// The probable address: `:9999` means every address, and an IPv6 address has brackets.
fn repaired(text: &str) -> Option<HostPort> {
    let (host, port) = text.rsplit_once(':')?;
    let candidates = [text.to_owned(), format!("0.0.0.0{text}"), format!("[{host}]:{port}")];
    candidates.iter().find_map(|candidate| HostPort::parse(candidate).ok())
}

fn host_port(scheme: &str, rest: &str) -> Result<HostPort, String> {
    let address = rest.strip_prefix("//");
    let parsed =
        address.map_or_else(|| Err(format!("two slashes and host:port must follow {scheme}:")), HostPort::parse);
    parsed.map_err(|reason| match repaired(address.unwrap_or(rest)) {
        Some(address) => format!("{reason}; use {scheme}://{address}"),
        None => reason,
    })
}

/// The bytes of a socket address without the NUL that ends a path (unix(7)); an abstract name has the NUL in front.
const MAX_PATH: usize = 107;

fn path(scheme: &str, rest: &str) -> Result<PathBuf, String> {
    match rest.strip_prefix('@') {
        _ if rest.is_empty() => Err(format!("a path must follow {scheme}: as in {scheme}:/run/app.sock")),
        Some("") => Err(format!("a name must follow {scheme}:@")),
        _ if rest.contains('\0') => Err("a path must not contain a NUL character".to_owned()),
        _ if rest.len() > MAX_PATH => Err(format!("it has {} bytes; at most {MAX_PATH} are possible", rest.len())),
        Some(name) => Ok(format!("\0{name}").into()),
        None => Ok(rest.into()),
    }
}

fn name(scheme: &str, rest: &str) -> Result<String, String> {
    if rest.is_empty() { Err(format!("a name must follow {scheme}:")) } else { Ok(rest.to_owned()) }
}

/// Lets a function accept both an [`Endpoint`] and text.
impl From<Infallible> for EndpointError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

macro_rules! try_from_text {
    ($($text:ty),*) => {$(
        impl TryFrom<$text> for Endpoint {
            type Error = EndpointError;

            fn try_from(text: $text) -> Result<Self, EndpointError> {
                text.parse()
            }
        }
    )*};
}

try_from_text!(&str, String);

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.scheme();
        match self {
            Self::Tcp(address) | Self::Tls(address) | Self::Udp(address) => write!(f, "{scheme}://{address}"),
            Self::Unix(path) | Self::Unixgram(path) => match path.as_os_str().as_bytes() {
                [0, name @ ..] => write!(f, "{scheme}:@{}", String::from_utf8_lossy(name)),
                _ => write!(f, "{scheme}:{}", path.display()),
            },
            Self::Systemd(rest) | Self::Memory(rest) | Self::Other { rest, .. } => write!(f, "{scheme}:{rest}"),
        }
    }
}

#[cfg(test)]
mod tests;
