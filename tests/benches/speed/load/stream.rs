//! A client connection of the load generator, with or without TLS, non-blocking once it is open.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use socket2::{Domain, Socket, Type};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection};

/// Number of source addresses for churn, because a port stays in TIME_WAIT for a minute after use.
const SOURCES: usize = 64;

/// Addresses of the server, and the TLS configuration.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

#[derive(Debug)]
pub(crate) enum ClientStream {
    Plain(TcpStream),
    Tls(Box<ClientConnection>, TcpStream),
}

impl Target {
    /// Opens a connection and completes its handshake.
    pub(crate) fn open(&self, nth: usize) -> io::Result<ClientStream> {
        let stream = TcpStream::connect(self.address(nth))?;
        let mut client = self.wrap(stream)?;
        if let ClientStream::Tls(tls, stream) = &mut client {
            while tls.is_handshaking() {
                tls.complete_io(stream)?;
            }
        }
        client.stream().set_nonblocking(true)?;
        Ok(client)
    }

    /// Opens a connection from one of many addresses. The handshake is still outstanding.
    pub(crate) fn open_from_source(&self, nth: usize) -> io::Result<ClientStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let source = Ipv4Addr::new(127, 0, 0, 2 + (nth % SOURCES) as u8);
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        socket.connect(&self.address(nth).into())?; // Does not block on the loopback interface.
        socket.set_nonblocking(true)?;
        self.wrap(socket.into())
    }

    fn address(&self, nth: usize) -> SocketAddr {
        self.addresses[nth % self.addresses.len()]
    }

    fn wrap(&self, stream: TcpStream) -> io::Result<ClientStream> {
        stream.set_nodelay(true)?;
        let Some(config) = &self.tls else { return Ok(ClientStream::Plain(stream)) };
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        tls.set_buffer_limit(None);
        Ok(ClientStream::Tls(Box::new(tls), stream))
    }
}

impl ClientStream {
    fn stream(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) | Self::Tls(_, stream) => stream,
        }
    }

    /// Writes without blocking. Returns how many bytes were accepted.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => or_zero(stream.write(bytes)),
            Self::Tls(tls, stream) => {
                let accepted = tls.writer().write(bytes)?;
                flush(tls, stream)?;
                Ok(accepted)
            }
        }
    }

    /// Whether accepted bytes are not sent yet.
    pub(crate) fn has_unsent(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls, _) => tls.wants_write(),
        }
    }

    /// Reads the socket once. The result may be 0 bytes with TLS; the end of input is an error.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => match stream.read(buffer)? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                read => Ok(read),
            },
            Self::Tls(tls, stream) => {
                if tls.read_tls(stream)? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                tls.process_new_packets().map_err(io::Error::other)?;
                flush(tls, stream)?;
                or_zero(tls.reader().read(buffer))
            }
        }
    }

    /// Closes the connection, with close_notify for TLS.
    pub(crate) fn close(self) -> io::Result<()> {
        if let Self::Tls(mut tls, mut stream) = self {
            tls.send_close_notify();
            flush(&mut tls, &mut stream)?;
        }
        Ok(())
    }
}

impl AsFd for ClientStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream().as_fd()
    }
}

fn flush(tls: &mut ClientConnection, stream: &mut TcpStream) -> io::Result<()> {
    while tls.wants_write() && or_zero(tls.write_tls(stream))? > 0 {}
    Ok(())
}

/// Turns WouldBlock into 0 bytes.
fn or_zero(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}
