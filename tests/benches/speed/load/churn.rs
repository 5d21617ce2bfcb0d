//! Connection churn: connect, receive the welcome, send one message, receive the reply, close.

use std::io;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use super::{ClientStream, LoadResult, TIMEOUT_MS, Target, Traffic, expect, histogram, record};

/// Number of simultaneous connections.
const CONCURRENCY: usize = 64;

struct ChurnConnection {
    client: ClientStream,
    number: usize,
    sent: bool,
    received: usize,
    since: Instant,
}

/// Opens connections for the given time and then waits until all are closed.
pub(crate) fn run(target: &Target, traffic: &mut Traffic, time: Duration) -> io::Result<LoadResult> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut latency = histogram();
    let mut buffer = vec![0; 64 * 1024];
    let mut events = vec![EpollEvent::empty(); CONCURRENCY];
    let started = Instant::now();
    let end = started + time;
    let mut connections = Vec::with_capacity(CONCURRENCY);
    for slot in 0..CONCURRENCY {
        connections.push(Some(ChurnConnection::open(target, traffic, &epoll, slot, slot)?));
    }
    let (mut busy, mut number) = (CONCURRENCY, CONCURRENCY);
    while busy > 0 {
        let ready = epoll.wait(&mut events, TIMEOUT_MS)?;
        if ready == 0 {
            return Err(io::Error::other(format!("timeout: {busy} connections wait for a reply")));
        }
        for event in &events[..ready] {
            let slot = event.data() as usize;
            let Some(connection) = &mut connections[slot] else { continue };
            if !connection.receive(traffic, &mut buffer)? {
                continue;
            }
            if let Some(connection) = connections[slot].take() {
                connection.client.close()?;
                record(&mut latency, connection.since.elapsed());
            }
            if Instant::now() < end {
                connections[slot] = Some(ChurnConnection::open(target, traffic, &epoll, slot, number)?);
                number += 1;
            } else {
                busy -= 1;
            }
        }
    }
    Ok(LoadResult { messages: number as u64, time: started.elapsed(), latency, lost: 0 })
}

impl ChurnConnection {
    fn open(target: &Target, traffic: &mut Traffic, epoll: &Epoll, slot: usize, number: usize) -> io::Result<Self> {
        let since = Instant::now();
        let client = target.open_from_source(number)?;
        epoll.add(&client, EpollEvent::new(EpollFlags::EPOLLIN, slot as u64))?;
        let mut connection = Self { client, number, sent: false, received: 0, since };
        if traffic.welcome.is_empty() {
            connection.send(traffic)?;
        }
        Ok(connection)
    }

    fn send(&mut self, traffic: &mut Traffic) -> io::Result<()> {
        self.sent = true;
        let request = traffic.request(self.number, 0);
        if self.client.write(request)? < request.len() {
            return Err(io::Error::other("a new connection accepts no message"));
        }
        Ok(())
    }

    /// Reads once. Returns whether the reply is complete.
    fn receive(&mut self, traffic: &mut Traffic, buffer: &mut [u8]) -> io::Result<bool> {
        let read = self.client.read(buffer)?;
        let (from, to) = (self.received, self.received + read);
        self.received = to;
        let welcome = traffic.welcome;
        if from < welcome.len() {
            expect(&buffer[..read], welcome.get(from..to).unwrap_or_default())?;
            if to == welcome.len() {
                self.send(traffic)?;
            }
            return Ok(false);
        }
        let reply = traffic.answer(self.number, 0);
        expect(&buffer[..read], reply.get(from - welcome.len()..to - welcome.len()).unwrap_or_default())?;
        Ok(self.sent && to == welcome.len() + reply.len())
    }
}
