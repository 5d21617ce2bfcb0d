//! Creates network sockets, and takes over sockets that are already bound.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::lookup_host;

use crate::address::HostPort;
use crate::settings::SocketOptions;
use crate::transport::shared_socket::{SharedSocket, SocketPath};

/// A socket, with its path if it is a Unix socket whose path this process owns.
pub(super) type BoundSocket = (Socket, Option<Arc<SocketPath>>);

/// Takes over a socket that is already bound.
pub(super) fn adopt(inherited: SharedSocket) -> io::Result<BoundSocket> {
    let (fd, path) = inherited.into_parts();
    let socket = Socket::from(fd);
    socket.set_nonblocking(true)?; // a service manager may pass a blocking socket
    Ok((socket, path))
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
