//! Those that come and go: connect, hear the greeting, ask once, hear the answer, close.

use std::io;
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use super::{Link, PATIENCE, Seen, Target, Traffic, expect, histogram, record};

/// So many at the same time.
const VISITORS: usize = 64;

struct Visitor {
    link: Link,
    number: usize,
    has_sent: bool,
    received: usize,
    since: Instant,
}

/// Visits for so long, and then until all have left.
pub(crate) fn run(target: &Target, traffic: &mut Traffic, time: Duration) -> io::Result<Seen> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut latency = histogram();
    let mut buffer = vec![0; 64 * 1024];
    let mut events = vec![EpollEvent::empty(); VISITORS];
    let begun = Instant::now();
    let end = begun + time;
    let mut visitors = Vec::with_capacity(VISITORS);
    for place in 0..VISITORS {
        visitors.push(Some(Visitor::come(target, traffic, &epoll, place, place)?));
    }
    let (mut busy, mut number) = (VISITORS, VISITORS);
    while busy > 0 {
        let ready = epoll.wait(&mut events, PATIENCE)?;
        if ready == 0 {
            return Err(io::Error::other(format!("{busy} connections wait for an answer that does not come")));
        }
        for event in &events[..ready] {
            let place = event.data() as usize;
            let Some(visitor) = &mut visitors[place] else { continue };
            if !visitor.hear(traffic, &mut buffer)? {
                continue;
            }
            if let Some(visitor) = visitors[place].take() {
                visitor.link.close()?;
                record(&mut latency, visitor.since.elapsed());
            }
            if Instant::now() < end {
                visitors[place] = Some(Visitor::come(target, traffic, &epoll, place, number)?);
                number += 1;
            } else {
                busy -= 1;
            }
        }
    }
    Ok(Seen { messages: number as u64, time: begun.elapsed(), latency, lost: 0 })
}

impl Visitor {
    fn come(target: &Target, traffic: &mut Traffic, epoll: &Epoll, place: usize, number: usize) -> io::Result<Self> {
        let since = Instant::now();
        let link = target.begin(number)?;
        epoll.add(&link, EpollEvent::new(EpollFlags::EPOLLIN, place as u64))?;
        let mut visitor = Self { link, number, has_sent: false, received: 0, since };
        if traffic.welcome.is_empty() {
            visitor.ask(traffic)?;
        }
        Ok(visitor)
    }

    fn ask(&mut self, traffic: &mut Traffic) -> io::Result<()> {
        self.has_sent = true;
        let request = traffic.request(self.number, 0);
        if self.link.write(request)? < request.len() {
            return Err(io::Error::other("a new connection takes no message"));
        }
        Ok(())
    }

    /// One read; whether this visit is over.
    fn hear(&mut self, traffic: &mut Traffic, buffer: &mut [u8]) -> io::Result<bool> {
        let read = self.link.read(buffer)?;
        let (from, to) = (self.received, self.received + read);
        self.received = to;
        let welcome = traffic.welcome;
        if from < welcome.len() {
            expect(&buffer[..read], welcome.get(from..to).unwrap_or_default())?;
            if to == welcome.len() {
                self.ask(traffic)?;
            }
            return Ok(false);
        }
        let answer = traffic.answer(self.number, 0);
        expect(&buffer[..read], answer.get(from - welcome.len()..to - welcome.len()).unwrap_or_default())?;
        Ok(self.has_sent && to == welcome.len() + answer.len())
    }
}
