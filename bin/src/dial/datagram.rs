//! Datagram sockets: UDP and Unix.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr as UnixAddr;
use std::path::Path;

use switchboard::Endpoint;
use tempfile::TempPath;
use tokio::net::{UdpSocket, UnixDatagram};

use super::server::{Server, reason};
use crate::exit;

/// A socket that is connected to an address of the server.
#[derive(Debug)]
pub(crate) struct DatagramSocket {
    socket: Socket,
    /// The address of a UDP server.
    pub(crate) address: Option<SocketAddr>,
    /// Addresses of the host that have not been tried.
    others: VecDeque<SocketAddr>,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    /// The server needs a path to reply to. It is removed at the end.
    Unix(UnixDatagram, #[expect(dead_code, reason = "removes the path when it is dropped")] TempPath),
}

impl Server {
    /// Creates a socket. A UDP server is not contacted yet.
    pub(crate) async fn open_datagram(&self) -> Result<DatagramSocket, String> {
        if let Endpoint::Unixgram(path) = &self.address {
            let socket = tempfile::Builder::new().prefix("switchboard-connect-").make(|path| UnixDatagram::bind(path));
            let socket = socket.map_err(|error| format!("cannot create a socket: {}", exit::reason(&error)))?;
            let (socket, own_path) = socket.into_parts();
            let socket = connect_unixgram(socket, path).map_err(|error| self.failed(reason(&error)))?;
            return Ok(DatagramSocket {
                socket: Socket::Unix(socket, own_path),
                address: None,
                others: VecDeque::new(),
            });
        }
        let mut others: VecDeque<_> = self.addresses.iter().copied().collect();
        let mut failures = Vec::new();
        while let Some(address) = others.pop_front() {
            match connect_udp(address).await {
                Ok(socket) => {
                    return Ok(DatagramSocket { socket: Socket::Udp(socket), address: Some(address), others });
                }
                Err(error) => failures.push((address, reason(&error))),
            }
        }
        Err(self.all_failed(&failures))
    }
}

impl DatagramSocket {
    pub(crate) async fn send(&self, message: &[u8]) -> io::Result<usize> {
        match &self.socket {
            Socket::Udp(socket) => socket.send(message).await,
            Socket::Unix(socket, _) => socket.send(message).await,
        }
    }

    pub(crate) async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.socket {
            Socket::Udp(socket) => socket.recv(buffer).await,
            Socket::Unix(socket, _) => socket.recv(buffer).await,
        }
    }

    /// Connects to the next address of the host. Returns whether there is one.
    pub(crate) async fn use_next_address(&mut self) -> bool {
        while let Some(address) = self.others.pop_front() {
            if let Ok(socket) = connect_udp(address).await {
                (self.socket, self.address) = (Socket::Udp(socket), Some(address));
                return true;
            }
        }
        false
    }
}

async fn connect_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let local: SocketAddr = if address.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(address).await?;
    Ok(socket)
}

/// Connects to a path or, if it begins with NUL, to an abstract name.
fn connect_unixgram(socket: UnixDatagram, path: &Path) -> io::Result<UnixDatagram> {
    let address = match path.as_os_str().as_bytes() {
        [0, name @ ..] => UnixAddr::from_abstract_name(name)?,
        _ => UnixAddr::from_pathname(path)?,
    };
    let socket = socket.into_std()?;
    socket.connect_addr(&address)?;
    UnixDatagram::from_std(socket)
}
