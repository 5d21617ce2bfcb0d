//! The closed loop: each connection sends a batch, awaits all its answers, and sends the next.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use super::{PATIENCE, Seen, Traffic, histogram};

/// Open connections, none of which is owed an answer.
#[derive(Debug)]
pub(crate) struct Closed {
    epoll: Epoll,
    events: Vec<EpollEvent>,
    connections: Vec<Connection>,
    traffic: Traffic,
    depth: usize,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    batch: u32,
    sent: usize,
    received: usize,
    since: Instant,
    blocked: bool,
}

impl Closed {
    pub(crate) fn connect(addresses: &[SocketAddr], count: usize, traffic: Traffic, depth: usize) -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mut connections = Vec::with_capacity(count);
        for nth in 0..count {
            let mut stream = TcpStream::connect(addresses[nth % addresses.len()])?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_millis(PATIENCE.into())))?;
            let mut welcome = vec![0; traffic.welcome.len()];
            stream.read_exact(&mut welcome)?;
            expect(&welcome, traffic.welcome)?;
            stream.set_nonblocking(true)?;
            epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, nth as u64))?;
            connections.push(Connection {
                stream,
                batch: 0,
                sent: 0,
                received: 0,
                since: Instant::now(),
                blocked: false,
            });
        }
        let events = vec![EpollEvent::empty(); 1024];
        Ok(Self { epoll, events, connections, traffic, depth, buffer: vec![0; 256 * 1024] })
    }

    /// Asks for so long, and then until all has been answered.
    pub(crate) fn run(&mut self, time: Duration) -> io::Result<Seen> {
        let Self { epoll, events, connections, traffic, depth, buffer } = self;
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
        Ok(Seen { messages: batches * *depth as u64, time: begun.elapsed(), latency })
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
        match self.stream.write(&request[self.sent..]) {
            Ok(written) => self.sent += written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        let blocked = self.sent < request.len();
        if blocked != self.blocked {
            self.blocked = blocked;
            let interest = if blocked { EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
            epoll.modify(&self.stream, &mut EpollEvent::new(interest, nth as u64))?;
        }
        Ok(())
    }

    /// One read; whether the batch is answered now.
    fn receive(&mut self, nth: usize, traffic: &mut Traffic, buffer: &mut [u8]) -> io::Result<bool> {
        let read = self.stream.read(buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let answer = traffic.answer(nth, self.batch);
        let to = self.received + read;
        expect(&buffer[..read], answer.get(self.received..to).unwrap_or_default())?;
        self.received = to;
        Ok(to == answer.len())
    }
}

fn record(latency: &mut Histogram<u64>, time: Duration) {
    latency.saturating_record(time.as_nanos() as u64);
}

fn expect(got: &[u8], wanted: &[u8]) -> io::Result<()> {
    if got == wanted { Ok(()) } else { Err(io::Error::other("the server sent other bytes than it should")) }
}
