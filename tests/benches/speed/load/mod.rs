//! The load generator: one thread that sends, receives and checks every byte.

pub(crate) mod churn;
pub(crate) mod closed;
pub(crate) mod datagram;
pub(crate) mod open;
mod stream;
mod traffic;

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use hdrhistogram::Histogram;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
pub(crate) use stream::{ClientStream, Target};
pub(crate) use traffic::Traffic;

/// Timeout for a reply.
const TIMEOUT_MS: u16 = 10_000;

/// Result of one run of a load.
#[derive(Debug)]
pub(crate) struct LoadResult {
    /// Number of replies.
    pub(crate) messages: u64,
    pub(crate) time: Duration,
    pub(crate) latency: Histogram<u64>,
    /// Datagrams without a reply.
    pub(crate) lost: u64,
}

impl LoadResult {
    /// Messages per second.
    pub(crate) fn rate(&self) -> f64 {
        self.messages as f64 / self.time.as_secs_f64()
    }
}

/// Opens connections and waits for the welcome of each. The epoll data of a connection is its index.
fn connect(
    target: &Target,
    count: usize,
    traffic: &Traffic,
    buffer: &mut [u8],
) -> io::Result<(Epoll, Vec<ClientStream>)> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut clients = Vec::with_capacity(count);
    for nth in 0..count {
        let mut client = target.open(nth)?;
        receive_welcome(&mut client, traffic, buffer)?;
        epoll.add(&client, EpollEvent::new(EpollFlags::EPOLLIN, nth as u64))?;
        clients.push(client);
    }
    Ok((epoll, clients))
}

/// Waits for the welcome.
fn receive_welcome(client: &mut ClientStream, traffic: &Traffic, buffer: &mut [u8]) -> io::Result<()> {
    let mut rest = traffic.welcome;
    while !rest.is_empty() {
        if poll(&mut [PollFd::new(client.as_fd(), PollFlags::POLLIN)], PollTimeout::from(TIMEOUT_MS))? == 0 {
            return Err(io::Error::other("the server sends no welcome"));
        }
        let read = client.read(buffer)?;
        expect(&buffer[..read], rest.get(..read).unwrap_or_default())?;
        rest = &rest[read..];
    }
    Ok(())
}

/// Covers 1 µs to one minute with three significant digits. Recording does not allocate.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 60_000_000_000, 3).expect("valid bounds")
}

fn record(latency: &mut Histogram<u64>, time: Duration) {
    latency.saturating_record(time.as_nanos() as u64);
}

fn expect(received: &[u8], expected: &[u8]) -> io::Result<()> {
    if received == expected { Ok(()) } else { Err(io::Error::other("the server sent wrong bytes")) }
}
