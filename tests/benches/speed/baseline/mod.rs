//! The baselines: the same servers written by hand, each as a child process of this very program.
//!
//! What a framework costs is what it takes beyond these. A baseline listens on a port that the system chooses, says
//! `listening ADDRESS…` as its first line, and serves until it is killed.

mod codec;
mod datagram;
mod epoll;
mod protocol;
mod tasks;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;

use clap::Args;
use protocol::{Hello, Length, Lines, Raw};

/// What a baseline is to serve.
#[derive(Debug, Clone, Args)]
pub(crate) struct Serve {
    /// Which baseline: tokio, epoll or codec
    pub(crate) name: String,
    /// What it speaks: raw, lines, length, hello, udp or tls
    pub(crate) protocol: String,
    /// Bytes of a read buffer
    #[arg(long, default_value_t = 16 * 1024)]
    pub(crate) buffer: usize,
    /// How many listeners
    #[arg(long, default_value_t = 1)]
    pub(crate) listeners: usize,
    /// Where cert.pem and key.pem are, for tls
    #[arg(long, default_value = ".")]
    pub(crate) certificate: PathBuf,
}

/// Serves until it is killed.
pub(crate) fn serve(serve: &Serve) -> io::Result<()> {
    let buffer = serve.buffer;
    match (&*serve.name, &*serve.protocol) {
        ("tokio", "raw") => tasks::serve::<Raw>(listen(serve)?, buffer),
        ("tokio", "lines") => tasks::serve::<Lines>(listen(serve)?, buffer),
        ("tokio", "length") => tasks::serve::<Length>(listen(serve)?, buffer),
        ("tokio", "hello") => tasks::serve::<Hello>(listen(serve)?, buffer),
        ("tokio", "tls") => tasks::serve_tls(listen(serve)?, buffer, &serve.certificate),
        ("tokio", "udp") => datagram::tokio(bind()?, buffer),
        ("epoll", "udp") => datagram::epoll(&bind()?, buffer),
        ("epoll", "raw") => epoll::serve::<Raw>(&listen(serve)?, buffer),
        ("epoll", "lines") => epoll::serve::<Lines>(&listen(serve)?, buffer),
        ("epoll", "length") => epoll::serve::<Length>(&listen(serve)?, buffer),
        ("epoll", "hello") => epoll::serve::<Hello>(&listen(serve)?, buffer),
        ("codec", "lines") => codec::lines(listen(serve)?),
        ("codec", "length") => codec::length(listen(serve)?),
        (name, protocol) => Err(io::Error::other(format!("{name} does not speak {protocol}"))),
    }
}

/// Listens, and says where.
fn listen(serve: &Serve) -> io::Result<Vec<TcpListener>> {
    let listeners = (0..serve.listeners).map(|_| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        socket.listen(1024)?; // as many as the server under test
        socket.set_nonblocking(true)?;
        Ok(TcpListener::from(socket))
    });
    let listeners = listeners.collect::<io::Result<Vec<_>>>()?;
    let addresses = listeners.iter().map(|listener| Ok(listener.local_addr()?.to_string()));
    println!("listening {}", addresses.collect::<io::Result<Vec<_>>>()?.join(" "));
    Ok(listeners)
}

/// The same for datagrams.
fn bind() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    println!("listening {}", socket.local_addr()?);
    Ok(socket)
}
