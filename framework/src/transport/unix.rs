//! Unix stream sockets, and the paths of Unix sockets.
//!
//! Mode and group are set before clients can connect. A path on which a server listens is never replaced; a stale path
//! is.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::Group;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;
use tokio::net::unix::SocketAddr;

use crate::address::{Address, Credentials, Endpoint};
use crate::connection::Kind;
use crate::settings::SocketOptions;
use crate::transport::accepted::Accepted;
use crate::transport::listener::{Bind, Listener, SchemeInfo, StreamListener, Transport, unsupported_endpoint};
use crate::transport::socket::{BoundSocket, SharedSocket, SocketPath, adopt};

/// `unix:/path`. Uses the socket options `backlog`, `mode` and `group`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unix;

#[async_trait]
impl Transport for Unix {
    fn schemes(&self) -> Vec<SchemeInfo> {
        vec![SchemeInfo::new("unix", "Unix stream socket: unix:/path", Kind::Stream)]
    }

    async fn bind(&self, Bind { endpoint, options, inherited }: Bind) -> io::Result<Listener> {
        let Endpoint::Unix(path) = &endpoint else { return Err(unsupported_endpoint(&endpoint)) };
        let (socket, socket_path) = bind_or_adopt(path, Type::STREAM, &options, inherited)?;
        let local = Some(Arc::from(path.as_path()));
        listen(socket, socket_path, endpoint, local, &options)
    }
}

pub(super) fn listen(
    socket: Socket,
    socket_path: Option<Arc<SocketPath>>,
    endpoint: Endpoint,
    path: Option<Arc<Path>>,
    options: &SocketOptions,
) -> io::Result<Listener> {
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    let listener = UnixListener::from_std(socket.into())?;
    Ok(Listener::Stream(Box::new(UnixStreamListener { listener, endpoint, local: Address::Unix(path), socket_path })))
}

struct UnixStreamListener {
    /// Declared before the socket, so that the path is removed before another process can bind it.
    socket_path: Option<Arc<SocketPath>>,
    listener: UnixListener,
    endpoint: Endpoint,
    local: Address,
}

#[async_trait]
impl StreamListener for UnixStreamListener {
    async fn accept(&mut self) -> io::Result<Option<Accepted>> {
        let (stream, peer) = self.listener.accept().await?;
        let peer = peer_address(&peer);
        let credentials = stream.peer_cred().ok();
        let mut accepted = Accepted::ready(peer, self.local.clone(), stream);
        accepted.credentials =
            credentials.map(|peer| Credentials { uid: peer.uid(), gid: peer.gid(), pid: peer.pid() });
        Ok(Some(accepted))
    }

    fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    fn share(&self) -> Option<SharedSocket> {
        Some(SharedSocket::of(&self.listener)?.with_path(self.socket_path.clone()))
    }
}

/// The address of a peer. An abstract name (unix(7)) becomes a path that begins with NUL.
fn peer_address(peer: &SocketAddr) -> Address {
    let path = peer.as_pathname().map(Arc::from);
    Address::Unix(path.or_else(|| {
        let name = [b"\0", peer.as_abstract_name()?].concat();
        Some(Arc::from(Path::new(OsStr::from_bytes(&name))))
    }))
}

/// Binds a non-blocking socket to `path`, or takes over one. Sets the mode and group of a path that this process owns.
pub(super) fn bind_or_adopt(
    path: &Path,
    kind: Type,
    options: &SocketOptions,
    inherited: Option<SharedSocket>,
) -> io::Result<BoundSocket> {
    let group = options.group.as_deref().map(group_id).transpose()?;
    let (socket, socket_path) = match inherited {
        Some(inherited) => adopt(inherited)?,
        None => bind_path(path, kind, options.mode)?,
    };
    if socket_path.as_ref().is_some_and(|path| path.is_owned()) {
        if let Some(group) = group {
            chown(path, None, Some(group))?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(options.mode))?;
    }
    Ok((socket, socket_path))
}

fn bind_path(path: &Path, kind: Type, mode: u32) -> io::Result<BoundSocket> {
    let address = SockAddr::unix(path)?;
    remove_stale(path, &address, kind)?;
    let socket = Socket::new(Domain::UNIX, kind, None)?;
    socket.set_nonblocking(true)?;
    // Linux creates the path with the mode of the socket (unix(7)). Only the owner may connect until the group is set.
    fchmod(&socket, Mode::from_bits_truncate(mode & 0o700))?;
    socket.bind(&address)?;
    Ok((socket, Some(Arc::new(SocketPath::at(path)?))))
}

/// Removes a stale socket. Fails if a server listens on the path, or if the file is not a socket.
fn remove_stale(path: &Path, address: &SockAddr, kind: Type) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata?,
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the path exists and is not a socket"));
    }
    let probe = Socket::new(Domain::UNIX, kind, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Connected, the queue is full, or permission is denied: a server may be listening.
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

fn group_id(name: &str) -> io::Result<u32> {
    let found = Group::from_name(name)?.map(|group| group.gid.as_raw()).or_else(|| name.parse().ok());
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("group {name:?} does not exist")))
}
