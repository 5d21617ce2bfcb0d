//! The open loop: batches of messages are sent on schedule, whether or not earlier ones are answered.
//!
//! A latency starts at the scheduled time of the batch. This avoids coordinated omission: a stall of the server
//! delays all batches scheduled meanwhile. The load generator polls without sleeping, for precise timing.

use std::io;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollEvent, EpollTimeout};

use super::{ClientStream, LoadResult, TIMEOUT_MS, Target, Traffic, connect, expect, histogram, record};

#[derive(Debug)]
pub(crate) struct Open {
    epoll: Epoll,
    connections: Vec<Connection>,
    traffic: Traffic,
    buffer: Vec<u8>,
}

/// Counts of batches, and the position within the current request and reply.
#[derive(Debug)]
struct Connection {
    client: ClientStream,
    due: u32,
    sent: u32,
    request_position: usize,
    received: u32,
    reply_position: usize,
}

impl Open {
    pub(crate) fn connect(target: &Target, count: usize, traffic: Traffic) -> io::Result<Self> {
        let mut buffer = vec![0; 256 * 1024];
        let (epoll, clients) = connect(target, count, &traffic, &mut buffer)?;
        let new = |client| Connection { client, due: 0, sent: 0, request_position: 0, received: 0, reply_position: 0 };
        let connections = clients.into_iter().map(new).collect();
        Ok(Self { epoll, connections, traffic, buffer })
    }

    /// Sends batches at the given rate for the given time, and waits for all replies.
    pub(crate) fn run(&mut self, time: Duration, rate: f64) -> io::Result<LoadResult> {
        let Self { epoll, connections, traffic, buffer } = self;
        let mut events = vec![EpollEvent::empty(); connections.len()];
        let mut latency = histogram();
        for connection in connections.iter_mut() {
            (connection.due, connection.sent, connection.received) = (0, 0, 0);
        }
        let started = Instant::now();
        let scheduled = |nth: u64| started + Duration::from_secs_f64(nth as f64 / rate);
        let all = (time.as_secs_f64() * rate) as u64;
        let many = connections.len() as u64;
        let (mut next, mut answered, mut last_reply) = (0, 0, started);
        while answered < all {
            while next < all && scheduled(next) <= Instant::now() {
                let nth = (next % many) as usize;
                connections[nth].due += 1;
                connections[nth].send(nth, traffic)?;
                next += 1;
            }
            let ready = epoll.wait(&mut events, EpollTimeout::ZERO)?;
            let now = Instant::now();
            if ready > 0 {
                last_reply = now;
            } else if now - last_reply > Duration::from_millis(TIMEOUT_MS.into()) {
                return Err(io::Error::other(format!("timeout: {} replies are missing", all - answered)));
            }
            for event in &events[..ready] {
                let nth = event.data() as usize;
                let first = connections[nth].received;
                connections[nth].receive(nth, traffic, buffer)?;
                for number in first..connections[nth].received {
                    answered += 1;
                    record(
                        &mut latency,
                        now.saturating_duration_since(scheduled(u64::from(number) * many + nth as u64)),
                    );
                }
                connections[nth].send(nth, traffic)?; // Continues a partial write.
            }
        }
        Ok(LoadResult { messages: answered * traffic.depth() as u64, time: started.elapsed(), latency, lost: 0 })
    }
}

impl Connection {
    fn send(&mut self, nth: usize, traffic: &mut Traffic) -> io::Result<()> {
        while self.sent < self.due {
            let request = traffic.request(nth, self.sent);
            let rest = &request[self.request_position..];
            let written = self.client.write(rest)?;
            if written < rest.len() {
                self.request_position += written;
                return Ok(());
            }
            (self.request_position, self.sent) = (0, self.sent + 1);
        }
        Ok(())
    }

    fn receive(&mut self, nth: usize, traffic: &mut Traffic, buffer: &mut [u8]) -> io::Result<()> {
        let read = self.client.read(buffer)?;
        let mut received = &buffer[..read];
        while !received.is_empty() && self.received < self.sent {
            let expected = &traffic.answer(nth, self.received)[self.reply_position..];
            let (piece, rest) = received.split_at(received.len().min(expected.len()));
            expect(piece, &expected[..piece.len()])?;
            received = rest;
            if piece.len() == expected.len() {
                (self.reply_position, self.received) = (0, self.received + 1);
            } else {
                self.reply_position += piece.len();
            }
        }
        expect(received, b"")
    }
}
