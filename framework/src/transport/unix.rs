//! Unix stream sockets.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use socket2::{Socket, Type};
use tokio::net::UnixListener;
use tokio::net::unix::SocketAddr;

use crate::address::{Address, Credentials, Endpoint};
use crate::connection::Kind;
use crate::settings::SocketOptions;
use crate::transport::accepted::Accepted;
use crate::transport::listener::{Bind, Listener, SchemeInfo, StreamListener, Transport, unsupported_endpoint};
use crate::transport::socket::SharedSocket;
use crate::transport::socket_path::SocketPath;
use crate::transport::unix_bind::bind_or_adopt;

/// `unix:/path`, with the socket options `backlog`, `mode` and `group`, or `unix:@name`, an abstract socket (unix(7)),
/// which every process in the network namespace can connect to.
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
