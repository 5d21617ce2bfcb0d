//! The open loop: messages are sent when their time has come, whether or not the server has answered those before.
//!
//! A latency counts from the moment at which the message was to be sent, so that a server that stalls is charged for all who
//! would have come meanwhile. The load never sleeps, which gives it the precision of the clock.

use std::io;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollEvent, EpollTimeout};

use super::{Link, PATIENCE, Seen, Target, Traffic, connect, expect, histogram, record};

#[derive(Debug)]
pub(crate) struct Open {
    epoll: Epoll,
    connections: Vec<Connection>,
    traffic: Traffic,
    buffer: Vec<u8>,
}

/// Numbers of messages, and bytes of the message that is under way.
#[derive(Debug)]
struct Connection {
    link: Link,
    due: u32,
    sent: u32,
    of_request: usize,
    received: u32,
    of_answer: usize,
}

impl Open {
    pub(crate) fn connect(target: &Target, count: usize, traffic: Traffic) -> io::Result<Self> {
        let mut buffer = vec![0; 256 * 1024];
        let (epoll, links) = connect(target, count, &traffic, &mut buffer)?;
        let fresh = |link| Connection { link, due: 0, sent: 0, of_request: 0, received: 0, of_answer: 0 };
        let connections = links.into_iter().map(fresh).collect();
        Ok(Self { epoll, connections, traffic, buffer })
    }

    /// Sends so many messages a second for so long, and waits for all answers.
    pub(crate) fn run(&mut self, time: Duration, rate: f64) -> io::Result<Seen> {
        let Self { epoll, connections, traffic, buffer } = self;
        let mut events = vec![EpollEvent::empty(); connections.len()];
        let mut latency = histogram();
        for connection in connections.iter_mut() {
            (connection.due, connection.sent, connection.received) = (0, 0, 0);
        }
        let begun = Instant::now();
        let moment = |nth: u64| begun + Duration::from_secs_f64(nth as f64 / rate);
        let all = (time.as_secs_f64() * rate) as u64;
        let many = connections.len() as u64;
        let (mut next, mut answered, mut heard) = (0, 0, begun);
        while answered < all {
            while next < all && moment(next) <= Instant::now() {
                let nth = (next % many) as usize;
                connections[nth].due += 1;
                connections[nth].send(nth, traffic)?;
                next += 1;
            }
            let ready = epoll.wait(&mut events, EpollTimeout::ZERO)?;
            let now = Instant::now();
            if ready > 0 {
                heard = now;
            } else if now - heard > Duration::from_millis(PATIENCE.into()) {
                return Err(io::Error::other(format!("{} answers do not come", all - answered)));
            }
            for event in &events[..ready] {
                let nth = event.data() as usize;
                let first = connections[nth].received;
                connections[nth].receive(nth, traffic, buffer)?;
                for number in first..connections[nth].received {
                    answered += 1;
                    record(&mut latency, now.saturating_duration_since(moment(u64::from(number) * many + nth as u64)));
                }
                connections[nth].send(nth, traffic)?; // what could not be sent before
            }
        }
        Ok(Seen { messages: answered, time: begun.elapsed(), latency, lost: 0 })
    }
}

impl Connection {
    fn send(&mut self, nth: usize, traffic: &mut Traffic) -> io::Result<()> {
        while self.sent < self.due {
            let request = traffic.request(nth, self.sent);
            let rest = &request[self.of_request..];
            let written = self.link.write(rest)?;
            if written < rest.len() {
                self.of_request += written;
                return Ok(());
            }
            (self.of_request, self.sent) = (0, self.sent + 1);
        }
        Ok(())
    }

    fn receive(&mut self, nth: usize, traffic: &mut Traffic, buffer: &mut [u8]) -> io::Result<()> {
        let read = self.link.read(buffer)?;
        let mut got = &buffer[..read];
        while !got.is_empty() && self.received < self.sent {
            let wanted = &traffic.answer(nth, self.received)[self.of_answer..];
            let (piece, rest) = got.split_at(got.len().min(wanted.len()));
            expect(piece, &wanted[..piece.len()])?;
            got = rest;
            if piece.len() == wanted.len() {
                (self.of_answer, self.received) = (0, self.received + 1);
            } else {
                self.of_answer += piece.len();
            }
        }
        expect(got, b"")
    }
}
