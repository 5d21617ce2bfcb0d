//! The baseline `epoll`: a level-triggered event loop with a shared read buffer, like a minimal C program.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::protocol::Protocol;

/// This bit in the event data marks a listener.
const LISTENER: u64 = 1 << 32;

/// State of a connection between two events. The vectors are empty unless a message or a write is incomplete.
struct Connection {
    stream: TcpStream,
    partial: Vec<u8>,
    unsent: Vec<u8>,
}

pub(crate) fn serve<P: Protocol>(listeners: &[TcpListener], size: usize) -> io::Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for (listener, nth) in listeners.iter().zip(LISTENER..) {
        epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, nth))?;
    }
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free = Vec::new();
    let mut buffer = vec![0; size];
    let mut out = Vec::new();
    let mut events = vec![EpollEvent::empty(); 1024];
    loop {
        let ready = wait(&epoll, &mut events)?;
        for event in &events[..ready] {
            let data = event.data();
            if data >= LISTENER {
                let Ok((mut stream, _)) = listeners[(data - LISTENER) as usize].accept() else { continue };
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                if !P::WELCOME.is_empty() {
                    stream.write_all(P::WELCOME)?;
                }
                let slot = free.pop().unwrap_or_else(|| {
                    connections.push(None);
                    connections.len() - 1
                });
                epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, slot as u64))?;
                connections[slot] = Some(Connection { stream, partial: Vec::new(), unsent: Vec::new() });
                continue;
            }
            let slot = data as usize;
            let Some(connection) = &mut connections[slot] else { continue };
            let before = connection.unsent.is_empty();
            let open = if before { connection.read::<P>(&mut buffer, &mut out) } else { connection.write_unsent() };
            if !open.unwrap_or(false) {
                connections[slot] = None; // Closing the descriptor removes it from epoll.
                free.push(slot);
                continue;
            }
            let after = connection.unsent.is_empty();
            if before != after {
                let interest = if after { EpollFlags::EPOLLIN } else { EpollFlags::EPOLLOUT };
                epoll.modify(&connection.stream, &mut EpollEvent::new(interest, data))?;
            }
        }
    }
}

/// Waits for events. Returns none after EINTR, for example when strace attaches.
pub(super) fn wait(epoll: &Epoll, events: &mut [EpollEvent]) -> io::Result<usize> {
    match epoll.wait(events, EpollTimeout::NONE) {
        Err(Errno::EINTR) => Ok(0),
        ready => Ok(ready?),
    }
}

impl Connection {
    /// Reads once and writes all replies together. Returns whether the connection stays open.
    fn read<P: Protocol>(&mut self, buffer: &mut [u8], out: &mut Vec<u8>) -> io::Result<bool> {
        let held = self.partial.len();
        buffer[..held].copy_from_slice(&self.partial);
        self.partial.clear();
        let read = self.stream.read(&mut buffer[held..])?;
        if read == 0 {
            return Ok(false);
        }
        let input = &buffer[..held + read];
        let reply = if P::ECHO {
            input
        } else {
            out.clear();
            let used = P::answer(input, out);
            self.partial.extend_from_slice(&input[used..]);
            &out[..]
        };
        if reply.is_empty() {
            return Ok(true);
        }
        let written = write(&mut self.stream, reply)?;
        self.unsent.extend_from_slice(&reply[written..]);
        Ok(true)
    }

    fn write_unsent(&mut self) -> io::Result<bool> {
        let written = write(&mut self.stream, &self.unsent)?;
        self.unsent.drain(..written);
        Ok(true)
    }
}

fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match stream.write(bytes) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}
