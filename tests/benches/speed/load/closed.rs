//! The closed loop: each connection sends a batch, waits for all replies, and sends the next batch.

use std::io;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use super::{ClientStream, LoadResult, TIMEOUT_MS, Target, Traffic, connect, expect, histogram, record};

/// Open connections without outstanding replies.
#[derive(Debug)]
pub(crate) struct Closed {
    epoll: Epoll,
    events: Vec<EpollEvent>,
    connections: Vec<Connection>,
    traffic: Traffic,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Connection {
    client: ClientStream,
    batch: u32,
    sent: usize,
    received: usize,
    since: Instant,
    blocked: bool,
}

impl Closed {
    pub(crate) fn connect(target: &Target, count: usize, traffic: Traffic) -> io::Result<Self> {
        let mut buffer = vec![0; 256 * 1024];
        let (epoll, clients) = connect(target, count, &traffic, &mut buffer)?;
        let since = Instant::now();
        let new = |client| Connection { client, batch: 0, sent: 0, received: 0, since, blocked: false };
        let connections = clients.into_iter().map(new).collect();
        Ok(Self { epoll, events: vec![EpollEvent::empty(); 1024], connections, traffic, buffer })
    }

    /// Sends batches for the given time, at least one, and waits for all replies.
    pub(crate) fn run(&mut self, time: Duration) -> io::Result<LoadResult> {
        let Self { epoll, events, connections, traffic, buffer } = self;
        let mut latency = histogram();
        let started = Instant::now();
        let end = started + time;
        for (nth, connection) in connections.iter_mut().enumerate() {
            connection.next(nth, traffic, epoll, Instant::now())?;
        }
        let (mut busy, mut batches) = (connections.len(), 0);
        while busy > 0 {
            let ready = epoll.wait(events, TIMEOUT_MS)?;
            if ready == 0 {
                return Err(io::Error::other(format!("timeout: {busy} connections wait for a reply")));
            }
            for event in &events[..ready] {
                let nth = event.data() as usize;
                let connection = &mut connections[nth];
                if connection.blocked && event.events().contains(EpollFlags::EPOLLOUT) {
                    connection.send(nth, traffic, epoll)?;
                }
                if event.events() == EpollFlags::EPOLLOUT || !connection.receive(nth, traffic, buffer)? {
                    continue;
                }
                batches += 1;
                let now = Instant::now();
                record(&mut latency, now - connection.since);
                if now < end {
                    connection.next(nth, traffic, epoll, now)?;
                } else {
                    busy -= 1;
                }
            }
        }
        Ok(LoadResult { messages: batches * traffic.depth() as u64, time: started.elapsed(), latency, lost: 0 })
    }
}

impl Connection {
    /// Starts the next batch.
    fn next(&mut self, nth: usize, traffic: &mut Traffic, epoll: &Epoll, now: Instant) -> io::Result<()> {
        self.batch = self.batch.wrapping_add(1);
        (self.sent, self.received, self.since) = (0, 0, now);
        self.send(nth, traffic, epoll)
    }

    fn send(&mut self, nth: usize, traffic: &mut Traffic, epoll: &Epoll) -> io::Result<()> {
        let request = traffic.request(nth, self.batch);
        self.sent += self.client.write(&request[self.sent..])?;
        let blocked = self.sent < request.len() || self.client.has_unsent();
        if blocked != self.blocked {
            self.blocked = blocked;
            let interest = if blocked { EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
            epoll.modify(&self.client, &mut EpollEvent::new(interest, nth as u64))?;
        }
        Ok(())
    }

    /// Reads once. Returns whether all replies of the batch are received.
    fn receive(&mut self, nth: usize, traffic: &mut Traffic, buffer: &mut [u8]) -> io::Result<bool> {
        let read = self.client.read(buffer)?;
        let answer = traffic.answer(nth, self.batch);
        let to = self.received + read;
        expect(&buffer[..read], answer.get(self.received..to).unwrap_or_default())?;
        self.received = to;
        Ok(read > 0 && to == answer.len())
    }
}
