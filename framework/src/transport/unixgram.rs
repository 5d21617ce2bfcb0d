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
use crate::transport::unix::{adopt_path, bind_path, share};
use crate::transport::{Bind, Listener, SchemeInfo, Transport, unsupported_endpoint};
use crate::transport::{DatagramSocket, Route, SharedSocket, SocketPath};

/// `unixgram:/path`. Of the socket options it uses `mode` and `group`. A client that has bound no path or name of its own can
/// send but not be answered.
///
/// The system counts answers that a receiver has not read yet against the send buffer of this socket: a local client that
/// asks and never reads can fill it, and then answers to others are dropped too, until it reads or goes. Let in, by `mode`
/// and `group`, only clients that you would let do that.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unixgram;

#[async_trait]
impl Transport for Unixgram {
    fn schemes(&self) -> Vec<SchemeInfo> {
        vec![SchemeInfo::new("unixgram", "Unix datagram socket: unixgram:/path", Kind::Datagram)]
    }

    async fn bind(&self, Bind { endpoint, options, inherited }: Bind) -> io::Result<Listener> {
        let Endpoint::Unixgram(path) = &endpoint else { return Err(unsupported_endpoint(&endpoint)) };
        let (socket, place) = match inherited {
            Some(inherited) => adopt_path(inherited, path, &options)?,
            None => bind_path(path, Type::DGRAM, &options)?,
        };
        let local = Some(Arc::from(path.as_path()));
        listen(socket, place, endpoint, local)
    }
}

/// Receives on a bound socket.
pub(super) fn listen(
    socket: Socket,
    place: Option<Arc<SocketPath>>,
    endpoint: Endpoint,
    path: Option<Arc<Path>>,
) -> io::Result<Listener> {
    let socket = UnixDatagram::from_std(socket.into())?;
    Ok(Listener::Datagram(Box::new(BoundListener { socket, endpoint, local: Address::Unix(path), place })))
}

struct BoundListener {
    /// Before the socket, so that nobody else can have the path yet when it is removed.
    place: Option<Arc<SocketPath>>,
    socket: UnixDatagram,
    endpoint: Endpoint,
    local: Address,
}

impl DatagramSocket for BoundListener {
    fn poll_receive(&self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<Route>> {
        loop {
            match self.socket.try_recv_buf_from(buffer) {
                Ok((_, peer)) => {
                    let peer = Address::of_unix(&peer);
                    return Poll::Ready(Ok(Route { peer, local_ip: None }));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.socket.poll_recv_ready(cx))?,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    fn try_send(&self, payload: &[u8], route: &Route) -> io::Result<()> {
        let Address::Unix(Some(peer)) = &route.peer else {
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, "the sender has bound nothing to answer to"));
        };
        // Not by way of tokio: a receiver whose queue is full would make it believe that nobody can be sent to.
        match SockRef::from(&self.socket).send_to(payload, &SockAddr::unix(peer)?) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(io::Error::other("a receiver does not keep up"))
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
        share(&self.socket, self.place.as_ref())
    }
}
