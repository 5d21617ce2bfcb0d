//! The closed loop with datagrams: each socket sends a batch and waits for all replies.
//!
//! The number of datagrams in flight is limited to the capacity of the server's receive buffer, so that the kernel
//! drops none; the sockets alternate. Lost datagrams are counted after a timeout, and the socket continues.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use super::{LoadResult, Traffic, expect, histogram, record};

/// Limit of the datagrams in flight, over all sockets.
const MAX_IN_FLIGHT: usize = 128;
/// A datagram counts as lost if no reply arrives in this time.
const LOSS_TIMEOUT_MS: u16 = 200;

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

    /// Sends batches for the given time, and waits until every datagram is answered or lost.
    pub(crate) fn run(&mut self, time: Duration) -> io::Result<LoadResult> {
        let Self { epoll, sockets, traffic } = self;
        let depth = traffic.depth();
        let max_busy = (MAX_IN_FLIGHT / depth).max(1);
        let mut events = vec![EpollEvent::empty(); sockets.len()];
        let mut latency = histogram();
        let started = Instant::now();
        let end = started + time;
        let mut queue: VecDeque<usize> = (0..sockets.len()).collect();
        let (mut busy, mut messages, mut lost) = (0, 0, 0);
        loop {
            while busy < max_busy
                && Instant::now() < end
                && let Some(nth) = queue.pop_front()
            {
                sockets[nth].send(nth, traffic)?;
                busy += 1;
            }
            if busy == 0 {
                break;
            }
            let ready = epoll.wait(&mut events, LOSS_TIMEOUT_MS)?;
            for event in &events[..ready] {
                let nth = event.data() as usize;
                let before = sockets[nth].received;
                let done = sockets[nth].receive(nth, traffic)?;
                messages += (sockets[nth].received - before) as u64;
                if done {
                    record(&mut latency, sockets[nth].since.elapsed());
                    queue.push_back(nth);
                    busy -= 1;
                }
            }
            if ready == 0 {
                for (nth, socket) in sockets.iter_mut().enumerate().filter(|(_, socket)| socket.busy) {
                    lost += (depth - socket.received) as u64;
                    socket.busy = false;
                    queue.push_back(nth);
                }
                busy = 0;
                if messages == 0 {
                    return Err(io::Error::other("no replies to datagrams"));
                }
            }
        }
        Ok(LoadResult { messages, time: started.elapsed(), latency, lost })
    }
}

impl Socket {
    fn send(&mut self, nth: usize, traffic: &mut Traffic) -> io::Result<()> {
        if self.received < traffic.depth() && self.batch > 0 {
            // The previous batch timed out: discards its late replies.
            while self.socket.recv(&mut [0]).is_ok() {}
        }
        self.batch = self.batch.wrapping_add(1);
        (self.received, self.busy, self.since) = (0, true, Instant::now());
        for message in traffic.requests(nth, self.batch) {
            self.socket.send(message)?;
        }
        Ok(())
    }

    /// Reads until the batch is answered or no datagram is available. Returns whether the batch is answered.
    fn receive(&mut self, nth: usize, traffic: &mut Traffic) -> io::Result<bool> {
        let mut buffer = [0; 2048];
        while self.busy {
            let read = match self.socket.recv(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                read => read?,
            };
            let expected = traffic.answers(nth, self.batch).nth(self.received).unwrap_or_default();
            expect(&buffer[..read], expected)?;
            self.received += 1;
            self.busy = self.received < traffic.depth();
            if !self.busy {
                return Ok(true);
            }
        }
        let _ = self.socket.recv(&mut buffer); // A late reply to a batch that timed out.
        Ok(false)
    }
}
