//! TCP.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, lookup_host};

use crate::address::{Address, Endpoint, HostPort};
use crate::connection::Kind;
use crate::settings::SocketOptions;
use crate::transport::{Accepted, SharedSocket, SocketPath, StreamListener};
use crate::transport::{Bind, Listener, SchemeInfo, Transport, unsupported_endpoint};

/// `tcp://host:port`. Uses all of the socket options but mode and group.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

#[async_trait]
impl Transport for Tcp {
    fn schemes(&self) -> Vec<SchemeInfo> {
        vec![SchemeInfo::new("tcp", "TCP: tcp://host:port", Kind::Stream)]
    }

    async fn bind(&self, Bind { endpoint, options, inherited }: Bind) -> io::Result<Listener> {
        let Endpoint::Tcp(at) = &endpoint else { return Err(unsupported_endpoint(&endpoint)) };
        let socket = match inherited {
            Some(inherited) => adopt(inherited)?.0,
            None => bind_first(at, Type::STREAM, Protocol::TCP, &options).await?,
        };
        listen(socket, &endpoint, &options)
    }
}

/// Listens on a bound socket.
pub(super) fn listen(socket: Socket, endpoint: &Endpoint, options: &SocketOptions) -> io::Result<Listener> {
    // Accepted connections inherit these from the listener (tcp(7)): nothing to set for each, nothing that can fail.
    socket.set_tcp_nodelay(options.nodelay)?;
    socket.set_keepalive(!options.keepalive.is_zero())?;
    if !options.keepalive.is_zero() {
        SockRef::from(&socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(options.keepalive))?;
    }
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    let listener = TcpListener::from_std(socket.into())?;
    let local = listener.local_addr()?;
    let endpoint = endpoint.with_port(local.port());
    Ok(Listener::Stream(Box::new(AcceptingListener { listener, endpoint, local })))
}

struct AcceptingListener {
    listener: TcpListener,
    endpoint: Endpoint,
    local: SocketAddr,
}

#[async_trait]
impl StreamListener for AcceptingListener {
    async fn accept(&mut self) -> io::Result<Option<Accepted>> {
        let (stream, peer) = self.listener.accept().await?;
        // Only a listener on every address has to ask which one was meant. A client that is gone again has none any more;
        // that will be found out when it is read from.
        let wildcard = self.local.ip().is_unspecified();
        let local = wildcard.then(|| stream.local_addr().ok()).flatten().unwrap_or(self.local);
        Ok(Some(Accepted::ready(canonical(peer), canonical(local), stream)))
    }

    fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    fn share(&self) -> Option<SharedSocket> {
        SharedSocket::of(&self.listener)
    }
}

/// A client has one address, whether an IPv6 socket brings it or an IPv4 one.
fn canonical(address: SocketAddr) -> Address {
    Address::Inet(match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        IpAddr::V6(_) => address,
    })
}

/// The socket that another listener had, with the path that goes with it.
pub(super) fn adopt(inherited: SharedSocket) -> io::Result<(Socket, Option<Arc<SocketPath>>)> {
    let (fd, place) = inherited.into_parts();
    let socket = Socket::from(fd);
    socket.set_nonblocking(true)?; // it is, unless it comes from elsewhere
    Ok((socket, place))
}

/// A bound, non-blocking socket on the first address of a host that can be had.
pub(super) async fn bind_first(
    at: &HostPort,
    kind: Type,
    protocol: Protocol,
    options: &SocketOptions,
) -> io::Result<Socket> {
    let mut failed = None;
    for address in lookup_host((at.host.as_str(), at.port)).await? {
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
        // A restart must not wait for connections of the last run to be forgotten by the system.
        socket.set_reuse_address(true)?;
    }
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}
