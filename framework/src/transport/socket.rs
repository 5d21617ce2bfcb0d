//! Creates sockets, and shares bound ones: a reload or a new process listens on the same socket.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};
use tokio::net::lookup_host;

use crate::address::{Endpoint, HostPort};
use crate::settings::SocketOptions;
use crate::transport::socket_path::{FileId, SocketPath};

/// The largest number of addresses of one host name.
const MAX_ADDRESSES: usize = 64;
/// Attempts to find a port that is free on every address.
const PORT_ATTEMPTS: usize = 16;

/// A handle to a bound socket. The socket stays open until the last handle is dropped.
#[derive(Debug)]
pub struct SharedSocket {
    /// Declared before the socket, so that the path is removed before another process can bind it.
    path: Option<Arc<SocketPath>>,
    fd: OwnedFd,
    /// The sockets of the other addresses, if the listener has a host name with several addresses.
    others: Vec<OwnedFd>,
}

impl SharedSocket {
    /// A socket from another process: the old process or a service manager.
    pub fn new(fd: OwnedFd) -> Self {
        Self { path: None, fd, others: Vec::new() }
    }

    /// A handle to the socket of a listener; `None` if the process is out of file descriptors.
    pub fn of(socket: impl AsFd) -> Option<Self> {
        socket.as_fd().try_clone_to_owned().ok().map(Self::new)
    }

    /// The same handle with a path, which is removed when the last handle of this process is dropped.
    #[cfg(feature = "unix")]
    pub(crate) fn with_path(self, path: Option<Arc<SocketPath>>) -> Self {
        Self { path, ..self }
    }

    /// Another handle to the same socket; `None` if the process is out of file descriptors.
    pub fn try_clone(&self) -> Option<Self> {
        let others = self.others.iter().map(|fd| fd.try_clone().ok()).collect::<Option<_>>()?;
        Self::of(&self.fd).map(|handle| Self { path: self.path.clone(), others, ..handle })
    }

    /// One handle for the sockets of all addresses of a listener.
    pub(crate) fn join(sockets: impl IntoIterator<Item = Self>) -> Option<Self> {
        sockets.into_iter().reduce(|mut joined, next| {
            joined.others.push(next.fd);
            joined.others.extend(next.others);
            joined
        })
    }

    /// A handle for the socket of each address. The first one keeps the path.
    pub(crate) fn split(self) -> impl Iterator<Item = Self> {
        let Self { path, fd, others } = self;
        std::iter::once(Self { path, ..Self::new(fd) }).chain(others.into_iter().map(Self::new))
    }

    fn fds(&self) -> impl Iterator<Item = &OwnedFd> {
        std::iter::once(&self.fd).chain(&self.others)
    }

    /// Sets `SO_REUSEPORT`: whether other sockets of this user may bind the same port.
    pub(crate) fn set_reuse_port(&self, reuse: bool) {
        // Fails on Unix sockets, which have no port.
        self.fds().for_each(|fd| SockRef::from(fd).set_reuse_port(reuse).unwrap_or_default());
    }

    /// Whether the path of a Unix socket stays when the last handle of this process is dropped, because another process
    /// listens on it.
    pub(crate) fn keep_path(&self, keep: bool) {
        if let Some(path) = &self.path {
            path.keep(keep);
        }
    }

    /// The file at the path of a Unix socket, if it belongs to this socket.
    pub(crate) fn owned_file(&self) -> Option<FileId> {
        self.path.as_ref().filter(|path| path.is_owned()).map(|path| path.file())
    }

    /// The same handle with a path and file that another process created; `None` is the file that is there now. The
    /// path stays until [`keep_path`](Self::keep_path) is called with `false`.
    pub(crate) fn at_path(self, path: &Path, file: Option<FileId>) -> io::Result<Self> {
        Ok(Self { path: Some(Arc::new(SocketPath::of_other(path, file)?)), ..self })
    }

    /// The endpoint that the socket is bound to.
    ///
    /// # Errors
    ///
    /// The descriptor is not a TCP, UDP or Unix socket with an address.
    pub fn address(&self) -> io::Result<Endpoint> {
        let socket = SockRef::from(&self.fd);
        let (address, kind) = (socket.local_addr()?, socket.r#type()?);
        let endpoint = match (address.as_socket(), local_path(&address), kind) {
            (Some(address), _, Type::STREAM) => format!("tcp://{address}"),
            (Some(address), _, Type::DGRAM) => format!("udp://{address}"),
            (_, Some(path), Type::STREAM) => return Ok(Endpoint::Unix(path)),
            (_, Some(path), Type::DGRAM) => return Ok(Endpoint::Unixgram(path)),
            _ => {
                let message = "the socket is not a TCP, UDP or named Unix socket";
                return Err(io::Error::new(io::ErrorKind::Unsupported, message));
            }
        };
        endpoint.parse().map_err(io::Error::other)
    }

    /// The file descriptor. The path stays with the other handles.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Whether the file of this Unix socket is at `path`, which may be another path to the same file.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        self.path.as_ref().is_some_and(|own| own.is_file_of(path))
    }

    /// Why new clients cannot reach the socket, if so.
    pub(crate) fn problem(&self) -> Option<Unreachable> {
        if self.path.as_ref().is_some_and(|path| !path.is_owned()) {
            return Some(Unreachable::Path);
        }
        self.socket_addrs().find(|address| !is_local(*address)).map(|address| Unreachable::Address(address.ip()))
    }

    /// Whether [`problem`](Self::problem) can find a problem.
    pub(crate) fn can_be_lost(&self) -> bool {
        self.path.is_some() || self.socket_addrs().any(|address| can_be_removed(address.ip()))
    }

    /// The local IP address and port of a network socket; of several sockets the first.
    pub(crate) fn socket_addr(&self) -> Option<SocketAddr> {
        self.socket_addrs().next()
    }

    /// The local IP addresses and ports of network sockets.
    pub(crate) fn socket_addrs(&self) -> impl Iterator<Item = SocketAddr> {
        self.fds().filter_map(|fd| SockRef::from(fd).local_addr().ok()?.as_socket())
    }
}

/// Why new clients cannot reach a listening socket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreachable {
    #[error("the path of its socket was removed or replaced")]
    Path,
    #[error("no network interface has the address {0}")]
    Address(IpAddr),
}

fn can_be_removed(ip: IpAddr) -> bool {
    !ip.is_unspecified() && !ip.is_loopback()
}

/// Whether an interface of this host has the address.
fn is_local(mut address: SocketAddr) -> bool {
    address.set_port(0);
    let is_missing = |error: io::Error| {
        let errno = error.raw_os_error().map(Errno::from_raw);
        matches!(errno, Some(Errno::EADDRNOTAVAIL | Errno::ENODEV))
    };
    !can_be_removed(address.ip()) || !UdpSocket::bind(address).is_err_and(is_missing)
}

/// The path of a Unix socket. An abstract name (unix(7)) is a path that begins with NUL.
pub(super) fn local_path(address: &SockAddr) -> Option<PathBuf> {
    let path = address.as_pathname().map(Path::to_owned);
    path.or_else(|| Some(OsString::from_vec([b"\0", address.as_abstract_namespace()?].concat()).into()))
}

/// A socket, with its path if it is a Unix socket whose path this process owns.
pub(super) type BoundSocket = (Socket, Option<Arc<SocketPath>>);

/// Takes over a socket that is already bound.
pub(super) fn adopt(inherited: SharedSocket) -> io::Result<BoundSocket> {
    let socket = Socket::from(inherited.fd);
    socket.set_nonblocking(true)?; // a service manager may pass a blocking socket
    Ok((socket, inherited.path))
}

/// Takes over the sockets of all addresses of a listener, which are already bound.
pub(super) fn adopt_all(inherited: SharedSocket) -> io::Result<Vec<Socket>> {
    inherited.split().map(|socket| Ok(adopt(socket)?.0)).collect()
}

/// Binds a non-blocking socket to each address of a host, all with the same port.
pub(super) async fn bind_all(
    HostPort { host, port }: &HostPort,
    kind: Type,
    protocol: Protocol,
    options: &SocketOptions,
) -> io::Result<Vec<Socket>> {
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in lookup_host((host.as_str(), *port)).await? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.len() > MAX_ADDRESSES {
        let reason = format!("the host has {} addresses; at most {MAX_ADDRESSES} are supported", addresses.len());
        return Err(io::Error::other(reason));
    }
    let attempts = if *port == 0 && addresses.len() > 1 { PORT_ATTEMPTS } else { 1 };
    let mut bound = bind_each(&addresses, kind, protocol, options);
    for _ in 1..attempts {
        // The port that was free on the first address is in use on another one.
        match bound {
            Err(ref error) if error.kind() == io::ErrorKind::AddrInUse => {
                bound = bind_each(&addresses, kind, protocol, options);
            }
            bound => return bound,
        }
    }
    bound
}

fn bind_each(
    addresses: &[SocketAddr],
    kind: Type,
    protocol: Protocol,
    options: &SocketOptions,
) -> io::Result<Vec<Socket>> {
    let (mut sockets, mut port): (Vec<Socket>, u16) = (Vec::new(), 0);
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in addresses {
        let mut address = *address;
        if address.port() == 0 {
            address.set_port(port);
        }
        match bind_one(address, kind, protocol, options) {
            Ok(socket) => {
                port = socket.local_addr()?.as_socket().map_or(0, |address| address.port());
                sockets.push(socket);
            }
            Err(error) if addresses.len() == 1 => return Err(error),
            Err(error) => {
                let is_unsupported = is_unsupported(&error, address);
                let error = io::Error::new(error.kind(), format!("{address}: {error}"));
                if !is_unsupported {
                    return Err(error);
                }
                tracing::warn!(target: "switchboard::listener", %address, %error, "address skipped");
                failed = error;
            }
        }
    }
    if sockets.is_empty() { Err(failed) } else { Ok(sockets) }
}

/// Whether the system does not support the family of an address. A hosts file often has `::1` on hosts without IPv6.
fn is_unsupported(error: &io::Error, address: SocketAddr) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    errno == Some(Errno::EAFNOSUPPORT) || (errno == Some(Errno::EADDRNOTAVAIL) && address.ip().is_loopback())
}

fn bind_one(address: SocketAddr, kind: Type, protocol: Protocol, options: &SocketOptions) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if kind == Type::STREAM {
        // Allows a restart while connections of the previous run are in TIME_WAIT.
        socket.set_reuse_address(true)?;
    }
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests;
