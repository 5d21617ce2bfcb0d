//! What one datagram socket has in hand: peers, messages that wait, answers that are not sent yet.
//!
//! Everything here is bounded. What does not fit is dropped and counted: datagrams may be lost anyway, memory may not.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::ReusableBoxFuture;

use crate::address::Address;
use crate::connection::{Connection, ListenerContext};
use crate::driver::datagram::drop_reason::DropReason;
use crate::driver::datagram::peers::{Session, Sessions};
use crate::driver::datagram::send_queue::SendQueue;
use crate::driver::datagram::service::{DatagramDispatcher, Stage};
use crate::driver::datagram::source_filter::reject_source;
use crate::driver::handler_calls::HandlerCalls;
use crate::error::Result;
use crate::framing::Framing;
use crate::handler::{Frames, Reply, Then};
use crate::layer::Panicked;
use crate::outbox::Pushed;
use crate::reason::CloseReason;
use crate::settings::Limits;
use crate::transport::{DatagramSocket, Route};

/// How much of each kind is done before others have their turn: datagrams received, pushes sent, waiting work looked at.
const BATCH: usize = 64;
/// How many pieces of work are polled in one round.
const TURNS: usize = 16 * BATCH;
/// How many messages may be with handlers that are not ready, over all peers; and how many of one peer wait behind its own.
const WAITING: usize = 1024;
const WAITING_OF_ONE: usize = 64;
/// How many messages wait behind others, over all peers, and how many bytes all that waits may be.
const QUEUED: usize = 4096;
pub(crate) const WAITING_BYTES: usize = 16 * 1024 * 1024;
/// The least that is received into, more than the largest datagram of UDP; and the largest datagram that is taken, whatever
/// the limit.
const LEAST: usize = 64 * 1024;
pub(crate) const LARGEST: usize = 1024 * 1024;
/// After a batch of errors in a row nothing is received for so long.
const PAUSE: Duration = Duration::from_millis(100);

/// A message on its way through the handler of a peer, whose calls it keeps busy.
pub(crate) struct Job<C> {
    /// The peer's place in the table.
    peer: usize,
    calls: Box<C>,
    /// The size of the message: what it counts against the limit of what waits.
    bytes: usize,
}

/// What was done since it was last added to what the listener counts.
#[derive(Default)]
struct Round {
    /// When the first datagram came.
    begun: Option<Instant>,
    received: u64,
    bytes: u64,
    /// Handled without having waited.
    handled: u64,
}

/// What a piece of work came to.
pub(crate) enum PlannedChange<C, Out> {
    Reply { job: Job<C>, result: Result<Reply<Out>> },
    Frame { job: Job<C>, frames: FrameStream<Out>, next: Option<Result<Out>>, then: Then },
}

type FrameStream<Out> = Pin<Box<dyn Stream<Item = Result<Out>> + Send>>;
type Work<C, Out> = ReusableBoxFuture<'static, PlannedChange<C, Out>>;

/// Everything that one socket has in hand.
pub(crate) struct Dispatcher<F: Framing, C, M> {
    socket: Arc<dyn DatagramSocket>,
    listener_context: Arc<ListenerContext>,
    local: Address,
    send_queue: SendQueue,
    sessions: Sessions<Box<C>, F::In>,
    /// Makes the connection and the calls of a new peer.
    make: M,
    framing: Arc<F>,
    /// The largest datagram that is taken.
    limit: usize,
    /// Messages whose handler was not ready at once.
    waiting: FuturesUnordered<Work<C, F::Out>>,
    waiting_bytes: usize,
    /// Messages that wait behind those.
    queued: usize,
    /// The allocation of the last piece of work, for the next.
    spare: Option<Work<C, F::Out>>,
    pushed: mpsc::Receiver<Pushed<F::Out>>,
    receive: BytesMut,
    /// How many pieces of work may still be polled in this round.
    turns: usize,
    /// Leaving, and what had come by then has been received: nothing more is.
    dry: bool,
    /// How many times in a row receiving failed, and the pause that follows from it.
    failures: usize,
    round: Round,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<F, C, M> Dispatcher<F, C, M>
where
    F: Framing,
    C: HandlerCalls<F::In, F::Out>,
    M: Fn(&Route, &Arc<ListenerContext>) -> (Connection, C),
{
    pub(crate) fn new(
        socket: Arc<dyn DatagramSocket>,
        framing: Arc<F>,
        limits: Limits,
        listener_context: Arc<ListenerContext>,
        make: M,
        pushed: mpsc::Receiver<Pushed<F::Out>>,
    ) -> Self {
        Self {
            send_queue: SendQueue::new(socket.clone(), listener_context.clone(), limits.outbox),
            local: socket.local(),
            limit: framing.limit(limits.frame).min(LARGEST),
            socket,
            listener_context,
            sessions: Sessions::new(limits.sessions),
            make,
            framing,
            waiting: FuturesUnordered::new(),
            waiting_bytes: 0,
            queued: 0,
            spare: None,
            pushed,
            receive: BytesMut::new(),
            turns: 0,
            dry: false,
            failures: 0,
            round: Round::default(),
            pause: None,
        }
    }

    /// Goes on with work that waited, if some is ready.
    fn resume_one(&mut self, cx: &mut TaskContext<'_>) -> bool {
        // An empty set would say so too, after it has stored the waker.
        if self.waiting.is_empty() {
            return false;
        }
        let Poll::Ready(Some(step)) = self.waiting.poll_next_unpin(cx) else { return false };
        self.go_on(Some(step), cx);
        true
    }

    /// Sends a frame that was pushed, if there is one.
    fn push_one(&mut self, cx: &mut TaskContext<'_>) -> bool {
        let Poll::Ready(Some(Pushed { connection, route, frame })) = self.pushed.poll_recv(cx) else { return false };
        send_frame(&*self.framing, &mut self.send_queue, &route, &connection, frame);
        true
    }

    /// Receives a datagram, if there is one.
    fn receive_one(&mut self, cx: &mut TaskContext<'_>) -> bool {
        if let Some(pause) = &mut self.pause {
            if pause.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.pause = None;
        }
        // One byte more than is taken: what the system truncates is longer than the limit still, and dropped for that.
        self.receive.clear();
        self.receive.reserve((self.limit + 1).max(LEAST));
        match self.socket.poll_receive(cx, &mut self.receive) {
            Poll::Pending => return false,
            Poll::Ready(Ok(route)) => {
                self.failures = 0;
                // In memory of its own: a small message that waits must not keep a large buffer.
                let datagram = Bytes::copy_from_slice(&self.receive);
                self.take_in(&route, datagram, cx);
            }
            Poll::Ready(Err(error)) => {
                self.send_queue.receive_failed(&error);
                self.failures += 1;
                if self.failures.is_multiple_of(BATCH) {
                    self.pause = Some(Box::pin(tokio::time::sleep(PAUSE)));
                }
            }
        }
        true
    }

    fn take_in(&mut self, route: &Route, datagram: Bytes, cx: &mut TaskContext<'_>) {
        let bytes = datagram.len();
        if bytes > self.limit {
            return self.send_queue.drop_one(route, DropReason::FrameTooLarge);
        }
        if let Some(why) = reject_source(route, &self.local) {
            return self.send_queue.drop_one(route, why);
        }
        if !self.listener_context.admission.allows(&route.peer) {
            return self.send_queue.drop_one(route, DropReason::Denied);
        }
        let decoded = catch_unwind(AssertUnwindSafe(|| self.framing.datagram_in(datagram)));
        let Ok(Ok(message)) = decoded else {
            return self.send_queue.drop_one(route, DropReason::BadFrame);
        };
        // A state or a layer may panic when it is made for a new peer: that is one peer's loss.
        let make = || catch_unwind(AssertUnwindSafe(|| (self.make)(route, &self.listener_context))).ok();
        let make = || make().map(|(connection, calls)| (connection, Box::new(calls)));
        let Some((peer, session)) = self.sessions.enter(route, make) else {
            return self.send_queue.drop_one(route, DropReason::Sessions);
        };
        session.connection.amplification_limit().received(&route.peer, bytes);
        session.connection.counters().received(bytes);
        self.round.received += 1;
        self.round.bytes += bytes as u64;
        self.round.begun.get_or_insert_with(Instant::now);
        let room = self.waiting_bytes + bytes <= WAITING_BYTES;
        if let Some(calls) = session.calls.take() {
            let step = self.start(Job { peer, calls, bytes }, message, cx);
            self.go_on(step, cx);
        } else if room && self.queued < QUEUED && session.queue.len() < WAITING_OF_ONE {
            session.queue.push_back((message, bytes));
            self.queued += 1;
            self.waiting_bytes += bytes;
        } else {
            self.send_queue.drop_one(route, DropReason::Waiting);
        }
    }

    /// Has a message handled. SendQueue what it came to, if it was ready at once.
    fn start(&mut self, mut job: Job<C>, message: F::In, cx: &mut TaskContext<'_>) -> Option<PlannedChange<C, F::Out>> {
        let (peer, bytes) = (job.peer, job.bytes);
        let work = async move {
            let result = AssertUnwindSafe(job.calls.message(message)).catch_unwind().await;
            let result = result.unwrap_or_else(|payload| Err(Panicked::new(&*payload).into()));
            PlannedChange::Reply { job, result }
        };
        self.work(work, peer, bytes, cx)
    }

    /// Polls a piece of work once, in the allocation of the one before; only work that is not ready costs another. If too
    /// much waits already, it is dropped, and its peer is forgotten.
    fn work(
        &mut self,
        work: impl Future<Output = PlannedChange<C, F::Out>> + Send + 'static,
        peer: usize,
        bytes: usize,
        cx: &mut TaskContext<'_>,
    ) -> Option<PlannedChange<C, F::Out>> {
        let mut work = match self.spare.take() {
            Some(mut spare) => {
                spare.set(work);
                spare
            }
            None => ReusableBoxFuture::new(work),
        };
        self.waiting_bytes += bytes;
        self.turns = self.turns.saturating_sub(1);
        if self.turns == 0 {
            cx.waker().wake_by_ref(); // it is not polled now: the next round does that, after others had their turn
        } else if let Poll::Ready(step) = work.poll(cx) {
            self.spare = Some(work);
            return Some(step);
        }
        if self.waiting.len() < WAITING && self.waiting_bytes <= WAITING_BYTES {
            self.sessions.at(peer).waits_since = Some(self.round.begun.unwrap_or_else(Instant::now));
            self.waiting.push(work);
        } else {
            self.waiting_bytes -= bytes;
            let route = self.forget(peer, CloseReason::Limit);
            self.send_queue.drop_one(&route, DropReason::Waiting);
        }
        None
    }

    /// Forgets a peer and what it has waiting. SendQueue where it was.
    fn forget(&mut self, peer: usize, reason: CloseReason) -> Route {
        let session = self.sessions.forget(peer, reason);
        self.queued -= session.queue.len();
        self.waiting_bytes -= session.queue.iter().map(|(_, bytes)| bytes).sum::<usize>();
        session.route
    }

    /// Goes on with whatever a piece of work leads to, for as long as that is ready at once.
    fn go_on(&mut self, mut step: Option<PlannedChange<C, F::Out>>, cx: &mut TaskContext<'_>) {
        while let Some(ended) = step {
            step = self.advance(ended, cx);
        }
    }

    /// Sends what a piece of work came to, and starts what comes next.
    fn advance(
        &mut self,
        step: PlannedChange<C, F::Out>,
        cx: &mut TaskContext<'_>,
    ) -> Option<PlannedChange<C, F::Out>> {
        match step {
            PlannedChange::Reply { job, result } => {
                self.waiting_bytes -= job.bytes;
                let is_handled = result.is_ok();
                let Reply { frames, then } = result.unwrap_or_else(|error| {
                    self.send_queue.fail(&self.sessions.at(job.peer).route, &error);
                    Reply::none()
                });
                match frames {
                    _ if then == Then::Close => {}
                    Frames::None => {}
                    Frames::One(frame) => self.send_to(job.peer, frame),
                    Frames::Many(frames) => frames.into_iter().for_each(|frame| self.send_to(job.peer, frame)),
                    Frames::Stream(frames) => return self.await_frame(job, frames, then, cx),
                }
                self.finish(job.peer, is_handled);
                self.next_message(job, then, cx)
            }
            PlannedChange::Frame { job, frames, next, then } => {
                self.waiting_bytes -= job.bytes;
                match next {
                    Some(Ok(frame)) => {
                        self.send_to(job.peer, frame);
                        return self.await_frame(job, frames, then, cx);
                    }
                    Some(Err(error)) => {
                        self.send_queue.fail(&self.sessions.at(job.peer).route, &error);
                        self.finish(job.peer, false);
                    }
                    None => self.finish(job.peer, true),
                }
                self.next_message(job, then, cx)
            }
        }
    }

    fn await_frame(
        &mut self,
        job: Job<C>,
        mut frames: FrameStream<F::Out>,
        then: Then,
        cx: &mut TaskContext<'_>,
    ) -> Option<PlannedChange<C, F::Out>> {
        let (peer, bytes) = (job.peer, job.bytes);
        let work = async move {
            let next = AssertUnwindSafe(frames.next()).catch_unwind().await;
            let next = next.unwrap_or_else(|payload| Some(Err(Panicked::new(&*payload).into())));
            PlannedChange::Frame { job, frames, next, then }
        };
        self.work(work, peer, bytes, cx)
    }

    /// The peer's message is done with: the next one that waits, or none.
    fn next_message(&mut self, job: Job<C>, then: Then, cx: &mut TaskContext<'_>) -> Option<PlannedChange<C, F::Out>> {
        if then != Then::Continue {
            self.forget(job.peer, CloseReason::HandlerClosed);
            return None;
        }
        let session = self.sessions.at(job.peer);
        let Some((message, bytes)) = session.queue.pop_front() else {
            session.calls = Some(job.calls);
            return None;
        };
        self.queued -= 1;
        self.waiting_bytes -= bytes;
        self.start(Job { bytes, ..job }, message, cx)
    }

    /// Sends a frame of the peer that is served.
    /// The message of a peer has been answered, or has failed.
    fn finish(&mut self, peer: usize, is_handled: bool) {
        match self.sessions.at(peer).waits_since.take() {
            _ if !is_handled => {}
            Some(begun) => self.listener_context.metrics.latency.record(1, begun.elapsed()),
            None => self.round.handled += 1,
        }
    }

    /// Adds what was done to what the listener counts. The time of a round is shared by those who were handled in it.
    fn add_up(&mut self) {
        let Round { begun, received, bytes, handled } = std::mem::take(&mut self.round);
        let metrics = &self.listener_context.metrics;
        if let Some(begun) = begun {
            metrics.messages.fetch_add(received, Relaxed);
            metrics.bytes_in.fetch_add(bytes, Relaxed);
            if let Some(each) = begun.elapsed().checked_div(handled as u32) {
                metrics.latency.record(handled, each);
            }
        }
        match self.send_queue.take_sent() {
            0 => {}
            sent => drop(metrics.bytes_out.fetch_add(sent, Relaxed)),
        }
    }

    fn send_to(&mut self, peer: usize, frame: F::Out) {
        let Session { route, connection, .. } = self.sessions.at(peer);
        send_frame(&*self.framing, &mut self.send_queue, route, connection, frame);
    }
}

impl<F, C, M> DatagramDispatcher for Dispatcher<F, C, M>
where
    F: Framing,
    C: HandlerCalls<F::In, F::Out>,
    M: Fn(&Route, &Arc<ListenerContext>) -> (Connection, C) + Send,
{
    fn poll(&mut self, cx: &mut TaskContext<'_>, stage: Stage) -> bool {
        self.turns = TURNS;
        self.send_queue.flush(cx);
        // Each of these stops after a batch; then there may be more, and it is for the next round.
        let mut more = (0..BATCH).all(|_| self.resume_one(cx));
        more |= (0..BATCH).all(|_| self.push_one(cx));
        let receives = match stage {
            Stage::Open => true,
            Stage::LastCall => !self.dry,
            Stage::Closed => false,
        };
        if receives {
            let full = (0..BATCH).all(|_| self.receive_one(cx));
            self.dry = stage == Stage::LastCall && !full;
            more |= full;
        }
        self.send_queue.flush(cx);
        self.add_up();
        if stage == Stage::Open {
            self.listener_context.metrics.sessions.store(self.sessions.len(), Relaxed);
        }
        if more {
            cx.waker().wake_by_ref();
        }
        stage != Stage::Open && !more && self.waiting.is_empty() && self.send_queue.is_empty()
    }

    fn in_hand(&self) -> usize {
        self.waiting.len() + self.queued
    }

    fn set_context(&mut self, listener_context: Arc<ListenerContext>) {
        self.send_queue.set_context(listener_context.clone());
        self.listener_context = listener_context;
    }
}

fn send_frame<F: Framing>(
    framing: &F,
    send_queue: &mut SendQueue,
    route: &Route,
    connection: &Connection,
    frame: F::Out,
) {
    match catch_unwind(AssertUnwindSafe(|| framing.datagram_out(frame))) {
        Ok(Ok(datagram)) => {
            if !connection.amplification_limit().spend(&route.peer, datagram.len()) {
                return send_queue.drop_one(route, DropReason::AmplificationLimit);
            }
            connection.counters().sent(datagram.len());
            send_queue.send(route, datagram);
        }
        Ok(Err(error)) => send_queue.fail(route, &error),
        Err(payload) => send_queue.fail(route, &Panicked::new(&*payload).into()),
    }
}
