//! Creates sockets, and shares bound ones: a reload or a new process listens on the same socket.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::lookup_host;

use crate::address::{Endpoint, HostPort};
use crate::settings::SocketOptions;

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
            path.keep.store(keep, Relaxed);
        }
    }

    /// Whether the file at the path of a Unix socket belongs to this socket.
    pub(crate) fn owns_path(&self) -> bool {
        self.path.as_ref().is_some_and(|path| path.is_owned())
    }

    /// The same handle with a path that another process created. The path stays until [`keep_path`](Self::keep_path) is
    /// called with `false`.
    pub(crate) fn at_path(self, path: &Path) -> io::Result<Self> {
        let path = SocketPath::at(path)?;
        path.keep.store(true, Relaxed);
        Ok(Self { path: Some(Arc::new(path)), ..self })
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

/// The path of a Unix socket. It is removed on drop if the file is still the same.
#[derive(Debug)]
pub(crate) struct SocketPath {
    path: PathBuf,
    file: (u64, u64),
    /// Another process listens on the path too.
    keep: AtomicBool,
}

impl SocketPath {
    /// Whether the file at the path is still the same.
    pub(crate) fn is_owned(&self) -> bool {
        identity(&self.path).is_ok_and(|file| file == self.file)
    }

    /// The file that is at the path now.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        identity(path).map(|file| Self { path: path.to_owned(), file, keep: AtomicBool::new(false) })
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        if !self.keep.load(Relaxed) && self.is_owned() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
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
