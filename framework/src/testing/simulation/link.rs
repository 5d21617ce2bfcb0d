//! One simulated connection: the segments on their way, and what the network does to them.

use std::collections::VecDeque;
use std::io;
use std::mem::take;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use tokio::io::ReadBuf;
use tokio::time::Instant;

use crate::testing::conformance::Random;
use crate::testing::simulation::conditions::{Conditions, happens, random_time};
use crate::testing::simulation::trace::{Subject, Trace, What};

/// A connection. Both ends refer to it.
pub(super) struct Link {
    number: usize,
    client: SocketAddr,
    conditions: Conditions,
    random: Random,
    trace: Trace,
    /// When it transports nothing.
    outage: Option<Range<Instant>>,
    /// From when on it transports nothing more.
    partition: Option<Instant>,
    /// When the first fault begins.
    fault_at: Option<Instant>,
    /// To the server, and to the client.
    directions: [Direction; 2],
}

struct Direction {
    /// The segments in the order of their arrival.
    segments: VecDeque<(Instant, Segment)>,
    last_arrival: Instant,
    /// Bytes that are sent and not read.
    unread: usize,
    is_ended: bool,
    /// The receiver is gone.
    is_abandoned: bool,
    /// When the receiver learns that the connection is reset.
    reset_at: Option<Instant>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

enum Segment {
    Bytes(Bytes),
    Fin,
}

/// The result of a read or write.
pub(super) enum Progress<T> {
    Done(io::Result<T>),
    /// It is possible after a call of the waker, or at this time.
    Wait(Option<Instant>),
}

/// The end of the client (1: it reads direction 1) or of the server (0). Dropping it closes the connection.
pub(super) struct LinkEnd {
    link: Arc<Mutex<Link>>,
    reads: usize,
}

impl Link {
    pub(super) fn new(number: usize, client: SocketAddr, conditions: Conditions, seed: u64, trace: Trace) -> Self {
        let (mut random, now) = (Random::new(seed), Instant::now());
        let Conditions { resets, outages, longest_outage, partitions, faults_within, .. } = conditions;
        let begin = |random: &mut Random| now + random_time(random, &(Duration::ZERO..faults_within));
        let reset_at = happens(&mut random, resets).then(|| begin(&mut random));
        let outage = happens(&mut random, outages).then(|| {
            let begin = begin(&mut random);
            begin..begin + random_time(&mut random, &(Duration::ZERO..longest_outage))
        });
        let partition = happens(&mut random, partitions).then(|| begin(&mut random));
        let direction = || Direction {
            segments: VecDeque::new(),
            last_arrival: now,
            unread: 0,
            is_ended: false,
            is_abandoned: false,
            reset_at,
            reader: None,
            writer: None,
        };
        let faults = [reset_at, partition, outage.as_ref().map(|outage| outage.start)];
        let (fault_at, directions) = (faults.into_iter().flatten().min(), [direction(), direction()]);
        Self { number, client, conditions, random, trace, outage, partition, fault_at, directions }
    }

    /// The end of the client, and that of the server.
    pub(super) fn ends(self) -> (LinkEnd, LinkEnd) {
        let link = Arc::new(Mutex::new(self));
        (LinkEnd { link: link.clone(), reads: 1 }, LinkEnd { link, reads: 0 })
    }

    /// When something arrives that is sent in this direction. `None`: never.
    fn arrival(&mut self, direction: usize, sent: Instant) -> Option<Instant> {
        let delay = random_time(&mut self.random, &self.conditions.delay);
        let mut at = (sent + delay).max(self.directions[direction].last_arrival);
        if let Some(outage) = self.outage.as_ref().filter(|outage| outage.contains(&at)) {
            at = outage.end + delay;
        }
        self.directions[direction].last_arrival = at;
        self.partition.is_none_or(|partition| at < partition).then_some(at)
    }

    fn push(&mut self, direction: usize, segment: Segment) {
        let Some(at) = self.arrival(direction, Instant::now()) else { return };
        let direction = &mut self.directions[direction];
        if direction.segments.is_empty() {
            direction.reader.take().into_iter().for_each(Waker::wake); // it waits for the arrival from now on
        }
        direction.segments.push_back((at, segment));
    }

    /// Sends a reset in this direction.
    fn push_reset(&mut self, direction: usize, sent: Instant) {
        let Some(at) = self.arrival(direction, sent) else { return };
        let reset_at = &mut self.directions[direction].reset_at;
        *reset_at = Some(reset_at.map_or(at, |earlier| earlier.min(at)));
        // Both wait until then.
        let wakers = [self.directions[direction].reader.take(), self.directions[1 - direction].writer.take()];
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    fn note(&self, reads: usize, what: What) {
        self.trace.add(Subject { client: self.client, connection: self.number, is_client: reads == 1 }, what);
    }
}

impl LinkEnd {
    pub(super) fn client(&self) -> SocketAddr {
        self.link.lock().client
    }

    pub(super) fn delay(&self) -> Duration {
        let link = &mut *self.link.lock();
        random_time(&mut link.random, &link.conditions.delay)
    }

    pub(super) fn note(&self, event: &'static str) {
        self.link.lock().note(self.reads, What::Event(event));
    }

    /// Whether a fault of the network or of the client has begun.
    pub(super) fn is_faulted(&self) -> bool {
        self.link.lock().fault_at.is_some_and(|at| at <= Instant::now())
    }

    pub(super) fn is_reset(&self) -> bool {
        self.link.lock().directions[self.reads].is_reset()
    }

    /// The client resets the connection.
    pub(super) fn reset(&self) {
        let (link, now) = (&mut *self.link.lock(), Instant::now());
        link.note(self.reads, What::Event("resets"));
        link.fault_at = Some(link.fault_at.map_or(now, |at| at.min(now)));
        link.push_reset(1 - self.reads, now);
        link.directions[self.reads].reset_at = Some(now);
    }

    pub(super) fn read(&self, cx: &Context<'_>, buf: &mut ReadBuf<'_>) -> Progress<()> {
        let (link, now) = (&mut *self.link.lock(), Instant::now());
        let direction = &mut link.directions[self.reads];
        if direction.is_reset() {
            link.note(self.reads, What::Event("reads a reset"));
            return Progress::Done(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let read = match direction.segments.front_mut() {
            Some((at, Segment::Bytes(bytes))) if *at <= now => {
                let most = bytes.len().min(buf.remaining()).min(link.conditions.segment);
                let part = most.min(1 + link.random.below(most));
                buf.put_slice(&bytes[..part]);
                bytes.advance(part);
                direction.unread -= part;
                if bytes.is_empty() {
                    direction.segments.pop_front();
                }
                direction.writer.take().into_iter().for_each(Waker::wake);
                part
            }
            Some((at, Segment::Fin)) if *at <= now => 0,
            next => {
                let next = next.map(|(at, _)| *at);
                direction.reader = Some(cx.waker().clone());
                return Progress::Wait([next, direction.reset_at].into_iter().flatten().min());
            }
        };
        link.note(self.reads, What::Reads(read));
        Progress::Done(Ok(()))
    }

    pub(super) fn write(&self, cx: &Context<'_>, bytes: &[u8]) -> Progress<usize> {
        let (link, writes) = (&mut *self.link.lock(), 1 - self.reads);
        if link.directions[self.reads].is_reset() {
            return Progress::Done(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if link.directions[writes].is_ended {
            return Progress::Done(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if link.directions[writes].is_abandoned {
            // The bytes are lost, and the answer is a reset.
            if let Some(arrived) = link.arrival(writes, Instant::now()) {
                link.push_reset(self.reads, arrived);
            }
            return Progress::Done(Ok(bytes.len()));
        }
        let room = link.conditions.window.saturating_sub(link.directions[writes].unread).min(bytes.len());
        if room == 0 && !bytes.is_empty() {
            link.directions[writes].writer = Some(cx.waker().clone());
            return Progress::Wait(link.directions[self.reads].reset_at);
        }
        let most = room.min(link.conditions.segment);
        let part = most.min(1 + link.random.below(most));
        let bytes = Bytes::copy_from_slice(&bytes[..part]);
        link.note(self.reads, What::Writes(bytes.clone()));
        link.directions[writes].unread += part;
        link.push(writes, Segment::Bytes(bytes));
        Progress::Done(Ok(part))
    }

    /// Ends the output.
    pub(super) fn end(&self) {
        let (link, writes) = (&mut *self.link.lock(), 1 - self.reads);
        if !link.directions[writes].is_ended && !link.directions[self.reads].is_reset() {
            link.directions[writes].is_ended = true;
            link.note(self.reads, What::Event("ends its output"));
            link.push(writes, Segment::Fin);
        }
    }
}

impl Direction {
    fn is_reset(&self) -> bool {
        self.reset_at.is_some_and(|at| at <= Instant::now())
    }
}

impl Drop for LinkEnd {
    fn drop(&mut self) {
        self.end();
        let (link, now) = (&mut *self.link.lock(), Instant::now());
        link.note(self.reads, What::Event("closes"));
        let read = &mut link.directions[self.reads];
        read.is_abandoned = true;
        read.writer.take().into_iter().for_each(Waker::wake);
        // Input that is unread, or that arrives later, resets the connection (RFC 1122, section 4.2.2.13).
        let segments = take(&mut read.segments).into_iter();
        let unread = segments.filter(|(_, segment)| matches!(segment, Segment::Bytes(_))).map(|(at, _)| at).min();
        if let Some(at) = unread {
            link.push_reset(1 - self.reads, at.max(now));
        }
    }
}
