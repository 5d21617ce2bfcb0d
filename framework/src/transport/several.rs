//! One listener on several sockets: a host name with several addresses.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::BytesMut;
use futures_util::future::select_all;

use crate::address::{Address, Endpoint};
use crate::transport::accepted::Accepted;
use crate::transport::listener::{Datagram, DatagramSocket, Listener, Route, StreamListener};
use crate::transport::socket::SharedSocket;

/// One listener on the sockets of several listeners, which have the same endpoint. A single listener stays as it is.
pub(super) fn combine(listeners: impl Iterator<Item = io::Result<Listener>>) -> io::Result<Listener> {
    let (mut streams, mut sockets) = (Vec::new(), Vec::new());
    for listener in listeners {
        match listener? {
            Listener::Stream(listener) => streams.push(listener),
            Listener::Datagram(socket) => sockets.push(socket),
        }
    }
    match (streams.len(), sockets.len()) {
        (1, 0) => Ok(Listener::Stream(streams.remove(0))),
        (0, 1) => Ok(Listener::Datagram(sockets.remove(0))),
        (0, 0) => Err(io::Error::other("there is no socket to listen on")),
        (_, 0) => Ok(Listener::Stream(Box::new(SeveralListeners { listeners: streams, first: 0 }))),
        (0, _) => Ok(Listener::Datagram(Box::new(SeveralSockets { sockets, first: AtomicUsize::new(0) }))),
        _ => Err(io::Error::other("the sockets are of different kinds")),
    }
}

struct SeveralListeners {
    listeners: Vec<Box<dyn StreamListener>>,
    /// The listener that is polled first. It changes, so that no listener waits for another one that is always ready.
    first: usize,
}

#[async_trait]
impl StreamListener for SeveralListeners {
    async fn accept(&mut self) -> io::Result<Option<Accepted>> {
        self.first = (self.first + 1) % self.listeners.len();
        let (rest, first) = self.listeners.split_at_mut(self.first);
        select_all(first.iter_mut().chain(rest).map(|listener| listener.accept())).await.0
    }

    fn endpoint(&self) -> Endpoint {
        self.listeners[0].endpoint()
    }

    fn share(&self) -> Option<SharedSocket> {
        let sockets: Option<Vec<_>> = self.listeners.iter().map(|listener| listener.share()).collect();
        SharedSocket::join(sockets?)
    }
}

struct SeveralSockets {
    sockets: Vec<Box<dyn DatagramSocket>>,
    /// The socket that is polled first, as in [`SeveralListeners`].
    first: AtomicUsize,
}

impl SeveralSockets {
    /// Polls the sockets until one is ready. Returns that socket and its result.
    fn poll_sockets<T>(
        &self,
        mut poll: impl FnMut(&dyn DatagramSocket) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<(&dyn DatagramSocket, T)>> {
        let first = self.first.fetch_add(1, Relaxed) % self.sockets.len();
        let (rest, start) = self.sockets.split_at(first);
        for socket in start.iter().chain(rest) {
            if let Poll::Ready(received) = poll(&**socket) {
                return Poll::Ready(received.map(|received| (&**socket, received)));
            }
        }
        Poll::Pending
    }

    /// The index of the socket that sends to a route.
    fn sender(&self, route: &Route) -> usize {
        self.sockets.iter().position(|socket| socket.local().ip() == route.local_ip).unwrap_or(0)
    }
}

/// Names the socket in the route, so that the reply is sent from it.
fn set_socket(route: &mut Route, socket: &dyn DatagramSocket) {
    route.local_ip = route.local_ip.or_else(|| socket.local().ip());
}

impl DatagramSocket for SeveralSockets {
    fn poll_receive(&self, cx: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<Route>> {
        let (socket, mut route) = ready!(self.poll_sockets(|socket| socket.poll_receive(cx, buffer)))?;
        set_socket(&mut route, socket);
        Poll::Ready(Ok(route))
    }

    fn poll_receive_batch(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut BytesMut,
        max: usize,
        datagrams: &mut Vec<Datagram>,
    ) -> Poll<io::Result<()>> {
        let earlier = datagrams.len();
        let polled = self.poll_sockets(|socket| socket.poll_receive_batch(cx, buffer, max, datagrams));
        let (socket, ()) = ready!(polled)?;
        datagrams[earlier..].iter_mut().for_each(|datagram| set_socket(&mut datagram.route, socket));
        Poll::Ready(Ok(()))
    }

    fn try_send(&self, payload: &[u8], route: &Route) -> io::Result<()> {
        self.sockets[self.sender(route)].try_send(payload, route)
    }

    fn try_send_batch(&self, datagrams: &[Datagram]) -> io::Result<usize> {
        let sender = self.sender(&datagrams[0].route);
        let others = datagrams.iter().position(|datagram| self.sender(&datagram.route) != sender);
        self.sockets[sender].try_send_batch(&datagrams[..others.unwrap_or(datagrams.len())])
    }

    /// Ready when all sockets are: a socket that has not blocked stays ready.
    fn poll_send_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        for socket in &self.sockets {
            ready!(socket.poll_send_ready(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    fn endpoint(&self) -> Endpoint {
        self.sockets[0].endpoint()
    }

    fn local(&self) -> Address {
        self.sockets[0].local()
    }

    fn locals(&self) -> Vec<Address> {
        self.sockets.iter().map(|socket| socket.local()).collect()
    }

    fn share(&self) -> Option<SharedSocket> {
        let sockets: Option<Vec<_>> = self.sockets.iter().map(|socket| socket.share()).collect();
        SharedSocket::join(sockets?)
    }
}
