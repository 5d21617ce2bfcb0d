//! The baselines: hand-written servers without a framework, which run as child processes of this program.
//!
//! The difference to a baseline is the cost of a framework. A baseline listens on a port chosen by the kernel, prints
//! `listening ADDRESS…` as its first line, and runs until it is killed.

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

/// Arguments of a baseline.
#[derive(Debug, Clone, Args)]
pub(crate) struct Serve {
    /// Baseline: tokio, epoll or codec
    pub(crate) name: String,
    /// Protocol: raw, lines, length, hello, udp or tls
    pub(crate) protocol: String,
    /// Size of the read buffer in bytes
    #[arg(long, default_value_t = 16 * 1024)]
    pub(crate) buffer: usize,
    /// Number of listeners
    #[arg(long, default_value_t = 1)]
    pub(crate) listeners: usize,
    /// Number of worker threads, for tokio
    #[arg(long, default_value_t = 1)]
    pub(crate) workers: usize,
    /// Directory of cert.pem and key.pem, for tls
    #[arg(long, default_value = ".")]
    pub(crate) certificate: PathBuf,
}

/// Serves until the process is killed.
pub(crate) fn serve(serve: &Serve) -> io::Result<()> {
    let (buffer, workers) = (serve.buffer, serve.workers);
    match (&*serve.name, &*serve.protocol) {
        ("tokio", "raw") => tasks::serve::<Raw>(listen(serve)?, buffer, workers),
        ("tokio", "lines") => tasks::serve::<Lines>(listen(serve)?, buffer, workers),
        ("tokio", "length") => tasks::serve::<Length>(listen(serve)?, buffer, workers),
        ("tokio", "hello") => tasks::serve::<Hello>(listen(serve)?, buffer, workers),
        ("tokio", "tls") => tasks::serve_tls(listen(serve)?, buffer, workers, &serve.certificate),
        ("tokio", "udp") => datagram::tokio(bind()?, buffer),
        ("epoll", "udp") => datagram::epoll(&bind()?, buffer),
        ("epoll", "raw") => epoll::serve::<Raw>(&listen(serve)?, buffer),
        ("epoll", "lines") => epoll::serve::<Lines>(&listen(serve)?, buffer),
        ("epoll", "length") => epoll::serve::<Length>(&listen(serve)?, buffer),
        ("epoll", "hello") => epoll::serve::<Hello>(&listen(serve)?, buffer),
        ("codec", "lines") => codec::lines(listen(serve)?),
        ("codec", "length") => codec::length(listen(serve)?),
        (name, protocol) => Err(io::Error::other(format!("{name} does not support {protocol}"))),
    }
}

/// Listens and prints the addresses.
fn listen(serve: &Serve) -> io::Result<Vec<TcpListener>> {
    let listeners = (0..serve.listeners).map(|_| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        socket.listen(1024)?; // The same backlog as the server under test.
        socket.set_nonblocking(true)?;
        Ok(TcpListener::from(socket))
    });
    let listeners = listeners.collect::<io::Result<Vec<_>>>()?;
    let addresses = listeners.iter().map(|listener| Ok(listener.local_addr()?.to_string()));
    println!("listening {}", addresses.collect::<io::Result<Vec<_>>>()?.join(" "));
    Ok(listeners)
}

/// Binds a UDP socket and prints its address.
fn bind() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_nonblocking(true)?;
    println!("listening {}", socket.local_addr()?);
    Ok(socket)
}
