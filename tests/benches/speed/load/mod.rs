//! The load: one thread that sends, receives, and holds every byte against what it should be.

pub(crate) mod churn;
pub(crate) mod closed;
pub(crate) mod datagram;
mod link;
pub(crate) mod open;
mod traffic;

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use hdrhistogram::Histogram;
pub(crate) use link::{Link, Target};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
pub(crate) use traffic::Traffic;

/// So many milliseconds nothing may come from a server that owes an answer.
const PATIENCE: u16 = 10_000;

/// What one run of a load has seen.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Messages that were answered.
    pub(crate) messages: u64,
    pub(crate) time: Duration,
    pub(crate) latency: Histogram<u64>,
    /// Datagrams that were not answered.
    pub(crate) lost: u64,
}

impl Seen {
    /// Messages a second.
    pub(crate) fn rate(&self) -> f64 {
        self.messages as f64 / self.time.as_secs_f64()
    }
}

/// Opens so many connections, and waits until each is greeted. The number of a connection is its data in epoll.
fn connect(target: &Target, count: usize, traffic: &Traffic, buffer: &mut [u8]) -> io::Result<(Epoll, Vec<Link>)> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut links = Vec::with_capacity(count);
    for nth in 0..count {
        let mut link = target.open(nth)?;
        welcomed(&mut link, traffic, buffer)?;
        epoll.add(&link, EpollEvent::new(EpollFlags::EPOLLIN, nth as u64))?;
        links.push(link);
    }
    Ok((epoll, links))
}

/// Waits for what the server says first.
fn welcomed(link: &mut Link, traffic: &Traffic, buffer: &mut [u8]) -> io::Result<()> {
    let mut rest = traffic.welcome;
    while !rest.is_empty() {
        if poll(&mut [PollFd::new(link.as_fd(), PollFlags::POLLIN)], PollTimeout::from(PATIENCE))? == 0 {
            return Err(io::Error::other("the server does not greet"));
        }
        let read = link.read(buffer)?;
        expect(&buffer[..read], rest.get(..read).unwrap_or_default())?;
        rest = &rest[read..];
    }
    Ok(())
}

/// From 1 µs to a minute at three digits, without allocation later.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 60_000_000_000, 3).expect("bounds that can be")
}

fn record(latency: &mut Histogram<u64>, time: Duration) {
    latency.saturating_record(time.as_nanos() as u64);
}

fn expect(got: &[u8], wanted: &[u8]) -> io::Result<()> {
    if got == wanted { Ok(()) } else { Err(io::Error::other("the server sent other bytes than it should")) }
}
