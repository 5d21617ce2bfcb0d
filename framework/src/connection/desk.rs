//! What one datagram socket has in hand: peers, messages that wait, answers that are not sent yet.
//!
//! Everything here is bounded. What does not fit is dropped and counted: datagrams may be lost anyway, memory may not.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context as TaskContext, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::sync::mpsc;
use tokio_util::sync::ReusableBoxFuture;
use tower::{Layer, Service};

use crate::connection::datagram::Maker;
use crate::connection::sanity::insane;
use crate::connection::sessions::Sessions;
use crate::error::{BoxError, Result, chain, find_cause};
use crate::framing::Framing;
use crate::handler::{Frames, Handler, HandlerService, Reply, Request, Then};
use crate::io::{DatagramSocket, Route};
use crate::layer::{OverRate, Panicked};
use crate::pace::Pace;
use crate::reason::CloseReason;
use crate::spec::Limits;

/// How many datagrams are received before others have their turn.
const BATCH: usize = 64;
/// How many pieces of work are polled at once before others have their turn.
const TURNS: usize = 16 * BATCH;
/// How many messages wait for their handler at once, over all peers, and how many bytes they may be.
const WAITING: usize = 1024;
const WAITING_BYTES: usize = 16 * 1024 * 1024;
/// The largest datagram of UDP.
const LARGEST: usize = 64 * 1024;

/// A message on its way through the handler, and the service that it keeps busy.
pub(crate) struct Job<S> {
    route: Route,
    service: S,
    /// The size of the message: what it counts against the limit of what waits.
    bytes: usize,
}

/// What a piece of work came to.
pub(crate) enum Step<S, Out> {
    Reply { job: Job<S>, result: Result<Reply<Out>> },
    Frame { job: Job<S>, frames: FrameStream<Out>, next: Option<Result<Out>>, then: Then },
}

type FrameStream<Out> = Pin<Box<dyn Stream<Item = Result<Out>> + Send>>;
type Work<S, Out> = ReusableBoxFuture<'static, Step<S, Out>>;
type PeerService<H, F, L> = <L as Layer<HandlerService<H, <F as Framing>::In, <F as Framing>::Out>>>::Service;
type StepOf<H, F, L> = Step<PeerService<H, F, L>, <F as Framing>::Out>;

/// Everything that one socket has in hand.
pub(crate) struct Desk<H, F, L>
where
    F: Framing,
    H: Handler<F::In, F::Out>,
    L: Layer<HandlerService<H, F::In, F::Out>>,
{
    socket: Box<dyn DatagramSocket>,
    sessions: Sessions<L::Service, F::In>,
    make: Maker<H, L, F::Out>,
    framing: Arc<F>,
    limits: Limits,
    /// Messages whose handler was not ready at once.
    waiting: FuturesUnordered<Work<L::Service, F::Out>>,
    waiting_bytes: usize,
    /// Messages that wait behind those.
    queued: usize,
    /// The allocation of the last piece of work, for the next.
    spare: Option<Work<L::Service, F::Out>>,
    pushed: mpsc::Receiver<(Route, F::Out)>,
    /// Answers that the system's queue had no room for.
    unsent: VecDeque<(Route, Bytes)>,
    receive: BytesMut,
    /// How many pieces of work may still be polled in this round.
    turns: usize,
    dropped: Pace,
    failed: Pace,
}

impl<H, F, L> Desk<H, F, L>
where
    F: Framing,
    H: Handler<F::In, F::Out>,
    L: Layer<HandlerService<H, F::In, F::Out>>,
    L::Service: Service<Request<F::In>, Response = Reply<F::Out>, Error = BoxError> + Send + 'static,
    <L::Service as Service<Request<F::In>>>::Future: Send,
{
    pub(crate) fn new(
        socket: Box<dyn DatagramSocket>,
        framing: Arc<F>,
        limits: Limits,
        make: Maker<H, L, F::Out>,
        pushed: mpsc::Receiver<(Route, F::Out)>,
    ) -> Self {
        Self {
            socket,
            sessions: Sessions::new(limits.sessions),
            make,
            framing,
            limits,
            waiting: FuturesUnordered::new(),
            waiting_bytes: 0,
            queued: 0,
            spare: None,
            pushed,
            unsent: VecDeque::new(),
            receive: BytesMut::new(),
            turns: 0,
            dropped: Pace::default(),
            failed: Pace::default(),
        }
    }

    /// How many messages are neither answered nor given up.
    pub(crate) fn in_hand(&self) -> usize {
        self.waiting.len() + self.queued
    }

    /// One round. True when, leaving, nothing is in hand any more.
    pub(crate) fn poll(&mut self, cx: &mut TaskContext<'_>, leaving: bool) -> bool {
        self.turns = TURNS;
        self.flush(cx);
        for _ in 0..BATCH {
            let Poll::Ready(Some(step)) = self.waiting.poll_next_unpin(cx) else { break };
            self.go_on(Some(step), cx);
        }
        for _ in 0..BATCH {
            let Poll::Ready(Some((route, frame))) = self.pushed.poll_recv(cx) else { break };
            self.send_frame(&route, frame);
        }
        let mut more = true;
        for _ in 0..BATCH {
            more = self.receive(cx);
            if !more {
                break;
            }
        }
        self.flush(cx);
        if more {
            cx.waker().wake_by_ref(); // there may be more: others first
        }
        leaving && !more && self.waiting.is_empty() && self.unsent.is_empty()
    }

    /// Receives one datagram, if there is one.
    fn receive(&mut self, cx: &mut TaskContext<'_>) -> bool {
        let largest = LARGEST.max(self.limits.frame.saturating_add(1));
        if self.receive.capacity() - self.receive.len() < largest {
            self.receive.reserve(4 * largest);
        }
        match self.socket.poll_receive(cx, &mut self.receive) {
            Poll::Pending => false,
            Poll::Ready(Ok(route)) => {
                let datagram = self.receive.split().freeze();
                self.take_in(route, datagram, cx);
                true
            }
            // The kernel reports here what became of earlier answers; it is about one peer, never about the socket.
            Poll::Ready(Err(error)) => {
                if let Some(count) = self.failed.count() {
                    let (listener, error) = (&*self.make.lane.name, error.to_string());
                    tracing::debug!(listener, error, count, "receive failed");
                }
                true
            }
        }
    }

    fn take_in(&mut self, route: Route, datagram: Bytes, cx: &mut TaskContext<'_>) {
        let bytes = datagram.len();
        if bytes > self.limits.frame {
            return self.drop_one(&route, "frame_too_large");
        }
        if let Some(why) = insane(&route, &self.make.local) {
            return self.drop_one(&route, why);
        }
        let Ok(message) = self.framing.datagram_in(datagram) else {
            return self.drop_one(&route, "bad_frame");
        };
        let make = &self.make;
        let Some(session) = self.sessions.enter(&route, || make.session::<F::In>(&route)) else {
            return self.drop_one(&route, "sessions");
        };
        let meter = session.connection.meter();
        meter.messages.fetch_add(1, Relaxed);
        meter.bytes_in.fetch_add(bytes as u64, Relaxed);
        let room = self.waiting.len() + self.queued < WAITING && self.waiting_bytes + bytes <= WAITING_BYTES;
        match session.service.take() {
            Some(service) if room => {
                let request = Request::new(message, session.connection.clone());
                let step = self.start(Job { route, service, bytes }, request, cx);
                self.go_on(step, cx);
            }
            None if room => {
                session.queue.push_back((message, bytes));
                self.queued += 1;
                self.waiting_bytes += bytes;
            }
            service => {
                session.service = service;
                self.drop_one(&route, "waiting");
            }
        }
    }

    /// Has a message handled. Answers what it came to, if it was ready at once.
    fn start(
        &mut self,
        mut job: Job<L::Service>,
        request: Request<F::In>,
        cx: &mut TaskContext<'_>,
    ) -> Option<StepOf<H, F, L>> {
        let bytes = job.bytes;
        let work = async move {
            let result = async {
                poll_fn(|cx| job.service.poll_ready(cx)).await?;
                job.service.call(request).await
            };
            let result = result.await;
            Step::Reply { job, result }
        };
        self.work(work, bytes, cx)
    }

    /// Polls a piece of work once, in the allocation of the one before; only work that is not ready costs another.
    fn work(
        &mut self,
        work: impl Future<Output = StepOf<H, F, L>> + Send + 'static,
        bytes: usize,
        cx: &mut TaskContext<'_>,
    ) -> Option<StepOf<H, F, L>> {
        let mut work = match self.spare.take() {
            Some(mut spare) => {
                spare.set(work);
                spare
            }
            None => ReusableBoxFuture::new(work),
        };
        self.waiting_bytes += bytes;
        self.turns = self.turns.saturating_sub(1);
        if self.turns > 0
            && let Poll::Ready(step) = work.poll(cx)
        {
            self.spare = Some(work);
            return Some(step);
        }
        if self.turns == 0 {
            cx.waker().wake_by_ref(); // it was not polled: the next round does that, after others had their turn
        }
        self.waiting.push(work);
        None
    }

    /// Goes on with whatever a piece of work leads to, for as long as that is ready at once.
    fn go_on(&mut self, mut step: Option<StepOf<H, F, L>>, cx: &mut TaskContext<'_>) {
        while let Some(ended) = step {
            step = self.advance(ended, cx);
        }
    }

    /// Sends what a piece of work came to, and starts what comes next.
    fn advance(&mut self, step: StepOf<H, F, L>, cx: &mut TaskContext<'_>) -> Option<StepOf<H, F, L>> {
        match step {
            Step::Reply { job, result } => {
                self.waiting_bytes -= job.bytes;
                let Reply { frames, then } = result.unwrap_or_else(|error| {
                    self.fail_message(&job.route, &error);
                    Reply::none()
                });
                match frames {
                    _ if then == Then::Close => {}
                    Frames::None => {}
                    Frames::One(frame) => self.send_frame(&job.route, frame),
                    Frames::Many(frames) => frames.into_iter().for_each(|frame| self.send_frame(&job.route, frame)),
                    Frames::Stream(frames) => return self.await_frame(job, frames, then, cx),
                }
                self.next_message(job, then, cx)
            }
            Step::Frame { job, frames, next, then } => {
                self.waiting_bytes -= job.bytes;
                match next {
                    Some(Ok(frame)) => {
                        self.send_frame(&job.route, frame);
                        return self.await_frame(job, frames, then, cx);
                    }
                    Some(Err(error)) => self.fail_message(&job.route, &error),
                    None => {}
                }
                self.next_message(job, then, cx)
            }
        }
    }

    fn await_frame(
        &mut self,
        job: Job<L::Service>,
        mut frames: FrameStream<F::Out>,
        then: Then,
        cx: &mut TaskContext<'_>,
    ) -> Option<StepOf<H, F, L>> {
        let bytes = job.bytes;
        let work = async move {
            let next = AssertUnwindSafe(frames.next()).catch_unwind().await;
            let next = next.unwrap_or_else(|payload| Some(Err(Panicked::new(&*payload).into())));
            Step::Frame { job, frames, next, then }
        };
        self.work(work, bytes, cx)
    }

    /// The peer's message is done with: the next one that waits, or none.
    fn next_message(&mut self, job: Job<L::Service>, then: Then, cx: &mut TaskContext<'_>) -> Option<StepOf<H, F, L>> {
        if then != Then::Continue {
            let session = self.sessions.forget(&job.route, CloseReason::HandlerClosed)?;
            self.queued -= session.queue.len();
            self.waiting_bytes -= session.queue.iter().map(|(_, bytes)| bytes).sum::<usize>();
            return None;
        }
        let session = self.sessions.peek(&job.route)?;
        let Some((message, bytes)) = session.queue.pop_front() else {
            session.service = Some(job.service);
            return None;
        };
        self.queued -= 1;
        self.waiting_bytes -= bytes;
        let request = Request::new(message, session.connection.clone());
        self.start(Job { bytes, ..job }, request, cx)
    }

    fn send_frame(&mut self, route: &Route, frame: F::Out) {
        match self.framing.datagram_out(frame) {
            Ok(datagram) => self.send(route, datagram),
            Err(error) => self.fail(route, &error),
        }
    }

    fn send(&mut self, route: &Route, datagram: Bytes) {
        let full = if self.unsent.is_empty() {
            match self.socket.try_send(&datagram, route) {
                Ok(()) => return self.sent(route, datagram.len()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
                Err(error) => return self.fail(route, &error.into()),
            }
        } else {
            self.unsent.len() >= self.limits.outbox
        };
        if full {
            self.drop_one(route, "outbox_full");
        } else {
            self.unsent.push_back((route.clone(), datagram));
        }
    }

    fn sent(&mut self, route: &Route, bytes: usize) {
        if let Some(session) = self.sessions.peek(route) {
            session.connection.meter().bytes_out.fetch_add(bytes as u64, Relaxed);
        }
    }

    fn flush(&mut self, cx: &mut TaskContext<'_>) {
        while let Some((route, datagram)) = self.unsent.pop_front() {
            match self.socket.try_send(&datagram, &route) {
                Ok(()) => self.sent(&route, datagram.len()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.unsent.push_front((route, datagram));
                    if self.socket.poll_send_ready(cx).is_pending() {
                        return;
                    }
                }
                Err(error) => self.fail(&route, &error.into()),
            }
        }
    }

    fn drop_one(&mut self, route: &Route, why: &'static str) {
        if let Some(count) = self.dropped.count() {
            let (listener, peer) = (&*self.make.lane.name, &route.peer);
            tracing::warn!(listener, %peer, why, count, "datagram dropped");
        }
    }

    fn fail_message(&mut self, route: &Route, error: &BoxError) {
        match find_cause::<OverRate>(&**error) {
            Some(_) => self.drop_one(route, "rate"),
            None => self.fail(route, error),
        }
    }

    /// An error is said here and never answered: two servers must not be able to complain to each other for ever.
    fn fail(&mut self, route: &Route, error: &BoxError) {
        if let Some(count) = self.failed.count() {
            let (listener, peer, error) = (&*self.make.lane.name, &route.peer, chain(&**error));
            tracing::warn!(listener, %peer, error, count, "datagram failed");
        }
    }
}
