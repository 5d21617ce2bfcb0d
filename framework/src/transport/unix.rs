//! Unix stream sockets, and what both kinds of Unix socket do about their path.
//!
//! Mode and group are right before anyone can connect. A path that a living server listens on is never taken; one left
//! behind by a dead server is.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::Group;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

use crate::address::{Address, Credentials, Endpoint};
use crate::connection::Kind;
use crate::settings::SocketOptions;
use crate::transport::tcp::adopt;
use crate::transport::{Accepted, SharedSocket, SocketPath, StreamListener};
use crate::transport::{Bind, Listener, SchemeInfo, Transport, unsupported_endpoint};

/// `unix:/path`. Of the socket options it uses `backlog`, `mode` and `group`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unix;

#[async_trait]
impl Transport for Unix {
    fn schemes(&self) -> Vec<SchemeInfo> {
        vec![SchemeInfo::new("unix", "Unix stream socket: unix:/path", Kind::Stream)]
    }

    async fn bind(&self, Bind { endpoint, options, inherited }: Bind) -> io::Result<Listener> {
        let Endpoint::Unix(path) = &endpoint else { return Err(unsupported_endpoint(&endpoint)) };
        let (socket, place) = match inherited {
            Some(inherited) => adopt_path(inherited, path, &options)?,
            None => bind_path(path, Type::STREAM, &options)?,
        };
        let local = Some(Arc::from(path.as_path()));
        listen(socket, place, endpoint, local, &options)
    }
}

/// Listens on a bound socket.
pub(super) fn listen(
    socket: Socket,
    place: Option<Arc<SocketPath>>,
    endpoint: Endpoint,
    path: Option<Arc<Path>>,
    options: &SocketOptions,
) -> io::Result<Listener> {
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    let listener = UnixListener::from_std(socket.into())?;
    Ok(Listener::Stream(Box::new(AcceptingListener { listener, endpoint, local: Address::Unix(path), place })))
}

struct AcceptingListener {
    /// Before the socket, so that nobody else can have the path yet when it is removed.
    place: Option<Arc<SocketPath>>,
    listener: UnixListener,
    endpoint: Endpoint,
    local: Address,
}

#[async_trait]
impl StreamListener for AcceptingListener {
    async fn accept(&mut self) -> io::Result<Option<Accepted>> {
        let (stream, peer) = self.listener.accept().await?;
        let peer = Address::of_unix(&peer);
        let credentials = stream.peer_cred().ok().map(|of| Credentials::new(of.uid(), of.gid(), of.pid()));
        let mut accepted = Accepted::ready(peer, self.local.clone(), stream);
        accepted.credentials = credentials;
        Ok(Some(accepted))
    }

    fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    fn share(&self) -> Option<SharedSocket> {
        share(&self.listener, self.place.as_ref())
    }
}

/// Another handle to a socket, which keeps its path too.
pub(super) fn share(socket: impl AsFd, place: Option<&Arc<SocketPath>>) -> Option<SharedSocket> {
    let shared = SharedSocket::of(socket)?;
    Some(match place {
        Some(place) => shared.at(place.clone()),
        None => shared,
    })
}

/// A socket and the path that goes with it, if that is ours.
pub(super) type Placed = (Socket, Option<Arc<SocketPath>>);

/// A non-blocking socket bound to `path`, with mode and group set.
pub(super) fn bind_path(path: &Path, kind: Type, options: &SocketOptions) -> io::Result<Placed> {
    let address = SockAddr::unix(path)?;
    let group = options.group.as_deref().map(group_id).transpose()?;
    free(path, &address, kind)?;
    let socket = Socket::new(Domain::UNIX, kind, None)?;
    socket.set_nonblocking(true)?;
    // Linux makes the path with the mode that the socket has, so it is never open wider than it should be: to the owner
    // first, to the others when the group is right.
    fchmod(&socket, Mode::from_bits_truncate(options.mode & 0o700))?;
    socket.bind(&address)?;
    let place = SocketPath::at(path)?;
    admit(path, group, options.mode)?;
    Ok((socket, Some(Arc::new(place))))
}

/// The socket that another listener had at `path`. Where the path was ours, mode and group are what they should be now.
pub(super) fn adopt_path(inherited: SharedSocket, path: &Path, options: &SocketOptions) -> io::Result<Placed> {
    let (socket, place) = adopt(inherited)?;
    if place.as_ref().is_some_and(|place| place.is_ours()) {
        let group = options.group.as_deref().map(group_id).transpose()?;
        admit(path, group, options.mode)?;
    }
    Ok((socket, place))
}

/// Lets in whom mode and group let in.
fn admit(path: &Path, group: Option<u32>, mode: u32) -> io::Result<()> {
    if let Some(group) = group {
        chown(path, None, Some(group))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Makes way for a socket: removes one that a dead server left behind. Fails if somebody listens on the path, or if what is
/// there is no socket.
fn free(path: &Path, address: &SockAddr, kind: Type) -> io::Result<()> {
    let there = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        there => there?,
    };
    if !there.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something that is not a socket is there"));
    }
    let probe = Socket::new(Domain::UNIX, kind, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path), // nobody listens
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // Connected, or its queue is full, or it is not ours to ask: somebody lives there.
        _ => Err(io::ErrorKind::AddrInUse.into()),
    }
}

fn group_id(name: &str) -> io::Result<u32> {
    let found = Group::from_name(name)?.map(|group| group.gid.as_raw()).or_else(|| name.parse().ok());
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no group {name:?}")))
}
