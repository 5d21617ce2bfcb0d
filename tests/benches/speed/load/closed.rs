//! The closed loop: each connection sends a batch, awaits all its answers, and sends the next.

use std::io;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

use super::{Link, PATIENCE, Seen, Target, Traffic, connect, expect, histogram, record};

/// Open connections, none of which is owed an answer.
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
    link: Link,
    batch: u32,
    sent: usize,
    received: usize,
    since: Instant,
    blocked: bool,
}

impl Closed {
    pub(crate) fn connect(target: &Target, count: usize, traffic: Traffic) -> io::Result<Self> {
        let mut buffer = vec![0; 256 * 1024];
        let (epoll, links) = connect(target, count, &traffic, &mut buffer)?;
        let since = Instant::now();
        let fresh = |link| Connection { link, batch: 0, sent: 0, received: 0, since, blocked: false };
        let connections = links.into_iter().map(fresh).collect();
        Ok(Self { epoll, events: vec![EpollEvent::empty(); 1024], connections, traffic, buffer })
    }

    /// Asks for so long, at least once, and then until all has been answered.
    pub(crate) fn run(&mut self, time: Duration) -> io::Result<Seen> {
        let Self { epoll, events, connections, traffic, buffer } = self;
        let mut latency = histogram();
        let begun = Instant::now();
        let end = begun + time;
        for (nth, connection) in connections.iter_mut().enumerate() {
            connection.next(nth, traffic, epoll, Instant::now())?;
        }
        let (mut busy, mut batches) = (connections.len(), 0);
        while busy > 0 {
            let ready = epoll.wait(events, PATIENCE)?;
            if ready == 0 {
                return Err(io::Error::other(format!("{busy} connections wait for an answer that does not come")));
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
        Ok(Seen { messages: batches * traffic.depth() as u64, time: begun.elapsed(), latency, lost: 0 })
    }
}

impl Connection {
    /// Begins the next batch.
    fn next(&mut self, nth: usize, traffic: &mut Traffic, epoll: &Epoll, now: Instant) -> io::Result<()> {
        self.batch = self.batch.wrapping_add(1);
        (self.sent, self.received, self.since) = (0, 0, now);
        self.send(nth, traffic, epoll)
    }

    fn send(&mut self, nth: usize, traffic: &mut Traffic, epoll: &Epoll) -> io::Result<()> {
        let request = traffic.request(nth, self.batch);
        self.sent += self.link.write(&request[self.sent..])?;
        let blocked = self.sent < request.len() || self.link.holds();
        if blocked != self.blocked {
            self.blocked = blocked;
            let interest = if blocked { EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
            epoll.modify(&self.link, &mut EpollEvent::new(interest, nth as u64))?;
        }
        Ok(())
    }

    /// One read; whether the batch is answered now.
    fn receive(&mut self, nth: usize, traffic: &mut Traffic, buffer: &mut [u8]) -> io::Result<bool> {
        let read = self.link.read(buffer)?;
        let answer = traffic.answer(nth, self.batch);
        let to = self.received + read;
        expect(&buffer[..read], answer.get(self.received..to).unwrap_or_default())?;
        self.received = to;
        Ok(read > 0 && to == answer.len())
    }
}
