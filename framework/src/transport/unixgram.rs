//! Unix datagram sockets.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::BytesMut;
use socket2::{SockAddr, SockRef, Socket, Type};
use tokio::net::UnixDatagram;

use crate::address::{Address, Endpoint};
use crate::connection::Kind;
use crate::transport::listener::{Bind, DatagramSocket, Listener, Route, SchemeInfo, Transport, unsupported_endpoint};
use crate::transport::socket::SharedSocket;
use crate::transport::socket_path::SocketPath;
use crate::transport::unix::peer_address;
use crate::transport::unix_bind::bind_or_adopt;

/// `unixgram:/path`. Uses the socket options `mode` and `group`. A client that has not bound its socket can send, but
/// receives no reply.
///
/// Replies that a client has not read yet count against the send buffer of this socket. A client that never reads can
/// fill the buffer; replies to other clients are then dropped until it reads or exits. Use `mode` and `group` to
/// restrict access to trusted clients.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unixgram;

#[async_trait]
impl Transport for Unixgram {
    fn schemes(&self) -> Vec<SchemeInfo> {
        vec![SchemeInfo::new("unixgram", "Unix datagram socket: unixgram:/path", Kind::Datagram)]
    }

    async fn bind(&self, Bind { endpoint, options, inherited }: Bind) -> io::Result<Listener> {
        let Endpoint::Unixgram(path) = &endpoint else { return Err(unsupported_endpoint(&endpoint)) };
        let (socket, socket_path) = bind_or_adopt(path, Type::DGRAM, &options, inherited)?;
        let local = Some(Arc::from(path.as_path()));
        listen_datagram(socket, socket_path, endpoint, local)
    }
}

pub(super) fn listen_datagram(
    socket: Socket,
    socket_path: Option<Arc<SocketPath>>,
    endpoint: Endpoint,
    path: Option<Arc<Path>>,
) -> io::Result<Listener> {
    let socket = UnixDatagram::from_std(socket.into())?;
    Ok(Listener::Datagram(Box::new(UnixDatagramSocket { socket, endpoint, local: Address::Unix(path), socket_path })))
}

struct UnixDatagramSocket {
    /// Declared before the socket, so that the path is removed before another process can bind it.
    socket_path: Option<Arc<SocketPath>>,
    socket: UnixDatagram,
    endpoint: Endpoint,
    local: Address,
}

impl DatagramSocket for UnixDatagramSocket {
    fn poll_receive(&self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<Route>> {
        loop {
            match self.socket.try_recv_buf_from(buffer) {
                Ok((_, peer)) => return Poll::Ready(Ok(Route::new(peer_address(&peer), None))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.socket.poll_recv_ready(cx))?,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn try_send(&self, payload: &[u8], route: &Route) -> io::Result<()> {
        let Address::Unix(Some(peer)) = &route.peer else {
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "the sender has not bound its socket"));
        };
        // Not through tokio: one receiver with a full queue would clear the write readiness for all receivers.
        match SockRef::from(&self.socket).send_to(payload, &SockAddr::unix(peer)?) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(io::Error::other("the queue of the receiver is full"))
            }
            Err(error) => Err(error),
        }
    }

    fn poll_send_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_send_ready(cx)
    }

    fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    fn local(&self) -> Address {
        self.local.clone()
    }

    fn share(&self) -> Option<SharedSocket> {
        Some(SharedSocket::of(&self.socket)?.with_path(self.socket_path.clone()))
    }
}
