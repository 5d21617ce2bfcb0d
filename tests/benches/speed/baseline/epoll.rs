//! The baseline `epoll`: a level-triggered loop over one shared read buffer, as bare C would be written.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::protocol::Protocol;

/// Listeners are told from connections by this bit.
const LISTENER: u64 = 1 << 32;

/// What remains of a connection between two events; the vectors own nothing unless a message or a write was cut.
struct Connection {
    stream: TcpStream,
    begun: Vec<u8>,
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
                let place = free.pop().unwrap_or_else(|| {
                    connections.push(None);
                    connections.len() - 1
                });
                epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, place as u64))?;
                connections[place] = Some(Connection { stream, begun: Vec::new(), unsent: Vec::new() });
                continue;
            }
            let place = data as usize;
            let Some(connection) = &mut connections[place] else { continue };
            let before = connection.unsent.is_empty();
            let open = if before { connection.read::<P>(&mut buffer, &mut out) } else { connection.go_on_writing() };
            if !open.unwrap_or(false) {
                connections[place] = None; // the descriptor closes, and epoll forgets it
                free.push(place);
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

/// Waits for events; none if somebody who traces the process has interrupted it.
pub(super) fn wait(epoll: &Epoll, events: &mut [EpollEvent]) -> io::Result<usize> {
    match epoll.wait(events, EpollTimeout::NONE) {
        Err(Errno::EINTR) => Ok(0),
        ready => Ok(ready?),
    }
}

impl Connection {
    /// One read, and one write for all that it brought; whether the connection goes on.
    fn read<P: Protocol>(&mut self, buffer: &mut [u8], out: &mut Vec<u8>) -> io::Result<bool> {
        let held = self.begun.len();
        buffer[..held].copy_from_slice(&self.begun);
        self.begun.clear();
        let read = self.stream.read(&mut buffer[held..])?;
        if read == 0 {
            return Ok(false);
        }
        let input = &buffer[..held + read];
        let answer = if P::ECHO {
            input
        } else {
            out.clear();
            let used = P::answer(input, out);
            self.begun.extend_from_slice(&input[used..]);
            &out[..]
        };
        if answer.is_empty() {
            return Ok(true);
        }
        let written = write(&mut self.stream, answer)?;
        self.unsent.extend_from_slice(&answer[written..]);
        Ok(true)
    }

    fn go_on_writing(&mut self) -> io::Result<bool> {
        let written = write(&mut self.stream, &self.unsent)?;
        self.unsent.drain(..written);
        Ok(true)
    }
}

fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    match stream.write(bytes) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        done => done,
    }
}
