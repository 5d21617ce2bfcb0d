//! A connection of the load, with or without TLS, that never waits once it is open.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use socket2::{Domain, Socket, Type};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ClientConnection};

/// How many addresses those use that come and go: each has its own ports, which rest for a minute after use.
const SOURCES: usize = 64;

/// Where connections go, and how.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

#[derive(Debug)]
pub(crate) enum Link {
    Plain(TcpStream),
    Tls(Box<ClientConnection>, TcpStream),
}

impl Target {
    /// A connection that is ready for messages, from the address that the system chooses.
    pub(crate) fn open(&self, nth: usize) -> io::Result<Link> {
        let stream = TcpStream::connect(self.address(nth))?;
        let mut link = self.link(stream)?;
        if let Link::Tls(tls, stream) = &mut link {
            while tls.is_handshaking() {
                tls.complete_io(stream)?;
            }
        }
        link.stream().set_nonblocking(true)?;
        Ok(link)
    }

    /// A connection whose handshake is still to come, from one of many addresses.
    pub(crate) fn begin(&self, nth: usize) -> io::Result<Link> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let source = Ipv4Addr::new(127, 0, 0, 2 + (nth % SOURCES) as u8);
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        socket.connect(&self.address(nth).into())?; // at once, on one machine
        socket.set_nonblocking(true)?;
        self.link(socket.into())
    }

    fn address(&self, nth: usize) -> SocketAddr {
        self.addresses[nth % self.addresses.len()]
    }

    fn link(&self, stream: TcpStream) -> io::Result<Link> {
        stream.set_nodelay(true)?;
        let Some(config) = &self.tls else { return Ok(Link::Plain(stream)) };
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        tls.set_buffer_limit(None);
        Ok(Link::Tls(Box::new(tls), stream))
    }
}

impl Link {
    fn stream(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) | Self::Tls(_, stream) => stream,
        }
    }

    /// Sends what can be sent now; tells how much of it need not be given again.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => now(stream.write(bytes)),
            Self::Tls(tls, stream) => {
                let taken = tls.writer().write(bytes)?;
                push(tls, stream)?;
                Ok(taken)
            }
        }
    }

    /// Whether something that was taken has not been sent.
    pub(crate) fn holds(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls, _) => tls.wants_write(),
        }
    }

    /// One read of the socket; nothing may come of it but the end, which is an error.
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
                push(tls, stream)?;
                now(tls.reader().read(buffer))
            }
        }
    }

    /// Ends it politely.
    pub(crate) fn close(self) -> io::Result<()> {
        if let Self::Tls(mut tls, mut stream) = self {
            tls.send_close_notify();
            push(&mut tls, &mut stream)?;
        }
        Ok(())
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream().as_fd()
    }
}

fn push(tls: &mut ClientConnection, stream: &mut TcpStream) -> io::Result<()> {
    while tls.wants_write() && now(tls.write_tls(stream))? > 0 {}
    Ok(())
}

/// To wait is no error, but nothing.
fn now(done: io::Result<usize>) -> io::Result<usize> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        done => done,
    }
}
