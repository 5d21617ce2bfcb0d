//! The datagram baselines: one socket; all received datagrams are answered before the next wait.

use std::io;
use std::net::UdpSocket;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use super::epoll::wait;

/// The baseline `tokio`.
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

/// The baseline `epoll`, like a minimal C program.
pub(crate) fn epoll(socket: &UdpSocket, size: usize) -> io::Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    let mut buffer = vec![0; size];
    loop {
        wait(&epoll, &mut [EpollEvent::empty()])?;
        while let Ok((read, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..read], from); // The peer may have closed its socket.
        }
    }
}
