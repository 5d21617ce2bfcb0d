//! The baselines of datagrams: one socket, and all that has come is answered before waiting again.

use std::io;
use std::net::UdpSocket;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use super::epoll::wait;

/// `tokio`, by a loop of tries.
pub(crate) fn tokio(socket: UdpSocket, size: usize) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        let mut buffer = vec![0; size];
        loop {
            let mut next = socket.recv_from(&mut buffer).await;
            while let Ok((read, from)) = next {
                if let Err(error) = socket.try_send_to(&buffer[..read], from)
                    && error.kind() == io::ErrorKind::WouldBlock
                {
                    socket.send_to(&buffer[..read], from).await?;
                }
                next = socket.try_recv_from(&mut buffer);
            }
        }
    })
}

/// `epoll`, as bare C would.
pub(crate) fn epoll(socket: &UdpSocket, size: usize) -> io::Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    let mut buffer = vec![0; size];
    loop {
        wait(&epoll, &mut [EpollEvent::empty()])?;
        while let Ok((read, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..read], from); // a peer that has left is nobody's trouble
        }
    }
}
