//! Creates sockets, and shares bound ones: a reload or a new process listens on the same socket.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::lookup_host;

use crate::address::{Endpoint, HostPort};
use crate::settings::SocketOptions;
use crate::transport::socket_path::{FileId, SocketPath};

/// A handle to a bound socket. The socket stays open until the last handle is dropped.
#[derive(Debug)]
pub struct SharedSocket {
    /// Declared before the socket, so that the path is removed before another process can bind it.
    path: Option<Arc<SocketPath>>,
    fd: OwnedFd,
}

impl SharedSocket {
    /// A socket from another process: the old process or a service manager.
    pub fn new(fd: OwnedFd) -> Self {
        Self { path: None, fd }
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
        Self::of(&self.fd).map(|handle| Self { path: self.path.clone(), ..handle })
    }

    /// Sets `SO_REUSEPORT`: whether other sockets of this user may bind the same port.
    pub(crate) fn set_reuse_port(&self, reuse: bool) {
        // Fails on Unix sockets, which have no port.
        let _ = SockRef::from(&self.fd).set_reuse_port(reuse);
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
        let endpoint = match (address.as_socket(), address.as_pathname(), kind) {
            (Some(address), _, Type::STREAM) => format!("tcp://{address}"),
            (Some(address), _, Type::DGRAM) => format!("udp://{address}"),
            (_, Some(path), Type::STREAM) => return Ok(Endpoint::Unix(path.to_owned())),
            (_, Some(path), Type::DGRAM) => return Ok(Endpoint::Unixgram(path.to_owned())),
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

    /// The local IP address and port of a network socket.
    pub(crate) fn socket_addr(&self) -> Option<SocketAddr> {
        SockRef::from(&self.fd).local_addr().ok()?.as_socket()
    }
}

/// A socket, with its path if it is a Unix socket whose path this process owns.
pub(super) type BoundSocket = (Socket, Option<Arc<SocketPath>>);

/// Takes over a socket that is already bound.
pub(super) fn adopt(inherited: SharedSocket) -> io::Result<BoundSocket> {
    let socket = Socket::from(inherited.fd);
    socket.set_nonblocking(true)?; // a service manager may pass a blocking socket
    Ok((socket, inherited.path))
}

/// Binds a non-blocking socket to the first address of a host that can be bound.
pub(super) async fn bind_first(
    host_port: &HostPort,
    kind: Type,
    protocol: Protocol,
    options: &SocketOptions,
) -> io::Result<Socket> {
    let mut failed = None;
    for address in lookup_host((host_port.host.as_str(), host_port.port)).await? {
        match bind_one(address, kind, protocol, options) {
            Ok(socket) => return Ok(socket),
            Err(error) => failed = Some(error),
        }
    }
    Err(failed.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the host has no address")))
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
