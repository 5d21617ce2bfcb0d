//! monoio: one task per connection, which passes its buffer to the kernel; io_uring if available, otherwise epoll.

use std::io;
use std::net::UdpSocket as StdUdpSocket;

use monoio::io::{AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt};
use monoio::net::udp::UdpSocket;
use monoio::net::{TcpListener, TcpStream};
use monoio::{FusionDriver, RuntimeBuilder};

use crate::{Outcome, Protocol, session, start};

pub(crate) fn serve(protocol: Protocol) -> Outcome {
    RuntimeBuilder::<FusionDriver>::new().build()?.block_on(async move {
        if protocol == Protocol::Udp {
            return Ok(datagrams().await?);
        }
        let listener = TcpListener::from_std(start::listen()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            monoio::spawn(async move {
                stream.set_nodelay(true)?;
                match protocol {
                    Protocol::Hello => hello(stream).await,
                    _ => raw(stream).await,
                }
            });
        }
    })
}

async fn raw(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = Vec::with_capacity(session::BUFFER);
    let mut result;
    loop {
        (result, buffer) = stream.read(buffer).await;
        if result? == 0 {
            return Ok(());
        }
        (result, buffer) = stream.write_all(buffer).await;
        result?;
    }
}

async fn hello(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(session::WELCOME).await.0?;
    let mut buffer = Vec::with_capacity(session::BUFFER);
    let mut result;
    loop {
        (result, buffer) = stream.read(buffer).await;
        let read = result?;
        match session::greet(&buffer[..read]) {
            Some(greeting) if read > 0 => stream.write_all(greeting).await.0?,
            _ => return stream.shutdown().await,
        };
    }
}

async fn datagrams() -> io::Result<()> {
    let socket = StdUdpSocket::bind(start::ANY)?;
    socket.set_nonblocking(true)?;
    start::announce(socket.local_addr()?)?;
    let socket = UdpSocket::from_std(socket)?;
    let mut buffer = Vec::with_capacity(64 * 1024);
    loop {
        let received;
        (received, buffer) = socket.recv_from(buffer).await;
        let (_, from) = received?;
        (_, buffer) = socket.send_to(buffer, from).await; // a datagram can be lost
    }
}
