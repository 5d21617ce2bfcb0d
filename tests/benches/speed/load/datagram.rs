//! The closed loop of datagrams: each socket sends a batch and awaits all its answers.
//!
//! Never more datagrams are under way than the server's receive buffer holds, so that none is lost for want of room; sockets
//! take turns. What is lost all the same is counted, and the socket goes on after a moment.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use super::{Seen, Traffic, expect, histogram, record};

/// Datagrams under way, of all sockets.
const WINDOW: usize = 128;
/// After so many milliseconds without an answer, none will come.
const LOST: u16 = 200;

#[derive(Debug)]
pub(crate) struct Datagrams {
    epoll: Epoll,
    sockets: Vec<Socket>,
    traffic: Traffic,
}

#[derive(Debug)]
struct Socket {
    socket: UdpSocket,
    batch: u32,
    received: usize,
    busy: bool,
    since: Instant,
}

impl Datagrams {
    pub(crate) fn connect(address: SocketAddr, count: usize, traffic: Traffic) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut sockets = Vec::with_capacity(count);
        for nth in 0..count {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.connect(address)?;
            socket.set_nonblocking(true)?;
            epoll.add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, nth as u64))?;
            sockets.push(Socket { socket, batch: 0, received: 0, busy: false, since: Instant::now() });
        }
        Ok(Self { epoll, sockets, traffic })
    }

    /// Asks for so long, and then until all has been answered or given up.
    pub(crate) fn run(&mut self, time: Duration) -> io::Result<Seen> {
        let Self { epoll, sockets, traffic } = self;
        let depth = traffic.depth();
        let most = (WINDOW / depth).max(1);
        let mut events = vec![EpollEvent::empty(); sockets.len()];
        let mut latency = histogram();
        let begun = Instant::now();
        let end = begun + time;
        let mut turns: VecDeque<usize> = (0..sockets.len()).collect();
        let (mut busy, mut messages, mut lost) = (0, 0, 0);
        loop {
            while busy < most
                && Instant::now() < end
                && let Some(nth) = turns.pop_front()
            {
                sockets[nth].send(nth, traffic)?;
                busy += 1;
            }
            if busy == 0 {
                break;
            }
            let ready = epoll.wait(&mut events, LOST)?;
            for event in &events[..ready] {
                let nth = event.data() as usize;
                let before = sockets[nth].received;
                let done = sockets[nth].receive(nth, traffic)?;
                messages += (sockets[nth].received - before) as u64;
                if done {
                    record(&mut latency, sockets[nth].since.elapsed());
                    turns.push_back(nth);
                    busy -= 1;
                }
            }
            if ready == 0 {
                for (nth, socket) in sockets.iter_mut().enumerate().filter(|(_, socket)| socket.busy) {
                    lost += (depth - socket.received) as u64;
                    socket.busy = false;
                    turns.push_back(nth);
                }
                busy = 0;
                if messages == 0 {
                    return Err(io::Error::other("no datagram is answered"));
                }
            }
        }
        Ok(Seen { messages, time: begun.elapsed(), latency, lost })
    }
}

impl Socket {
    fn send(&mut self, nth: usize, traffic: &mut Traffic) -> io::Result<()> {
        if self.received < traffic.depth() && self.batch > 0 {
            // It was given up: what has come since is an answer to that.
            while self.socket.recv(&mut [0]).is_ok() {}
        }
        self.batch = self.batch.wrapping_add(1);
        (self.received, self.busy, self.since) = (0, true, Instant::now());
        for message in traffic.requests(nth, self.batch) {
            self.socket.send(message)?;
        }
        Ok(())
    }

    /// Reads until the batch is answered, or there is no more; whether it is answered.
    fn receive(&mut self, nth: usize, traffic: &mut Traffic) -> io::Result<bool> {
        let mut buffer = [0; 2048];
        while self.busy {
            let read = match self.socket.recv(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                read => read?,
            };
            let wanted = traffic.answers(nth, self.batch).nth(self.received).unwrap_or_default();
            expect(&buffer[..read], wanted)?;
            self.received += 1;
            self.busy = self.received < traffic.depth();
            if !self.busy {
                return Ok(true);
            }
        }
        let _ = self.socket.recv(&mut buffer); // an answer to what was given up
        Ok(false)
    }
}
