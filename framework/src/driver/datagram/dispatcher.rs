//! Serves the datagrams of one socket: receives, calls the handlers of the peers, and sends replies and pushed frames.
//!
//! A reply that is ready immediately needs neither a task nor another allocation. A reply that is not ready delays only
//! later messages of the same peer. Messages, frames and peers are bounded; the excess is dropped and counted.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context as TaskContext, Poll};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::mpsc;

use crate::close_reason::CloseReason;
use crate::connection::{Connection, ListenerContext};
use crate::driver::datagram::batch_counters::BatchCounters;
use crate::driver::datagram::drop_reason::DropReason;
use crate::driver::datagram::jobs::{Job, JobQueue, JobResult};
use crate::driver::datagram::later_peers::{FrameStream, LaterPeers};
use crate::driver::datagram::peers::{Peer, PeerTable};
use crate::driver::datagram::receiver::DatagramReceiver;
use crate::driver::datagram::send_queue::SendQueue;
use crate::driver::datagram::{DatagramDispatcher, LoopState};
use crate::driver::handler_calls::{HandlerCalls, call};
use crate::error::Panicked;
use crate::framing::Framing;
use crate::handler::Then;
use crate::push_queue::PushedFrame;
use crate::settings::Limits;
use crate::transport::{Datagram, DatagramSocket, Route};

/// Maximum datagrams received, frames pushed and jobs resumed per batch, before other tasks get a turn.
const BATCH: usize = 64;

/// The result of a job, if it is ready immediately.
pub(super) type Step<C, Out> = Option<JobResult<C, Out>>;

pub(crate) struct Dispatcher<F: Framing, C, N> {
    framing: Arc<F>,
    receiver: DatagramReceiver,
    /// Empty; keeps the allocation for the next batch.
    received: Vec<Datagram>,
    pub(super) send_queue: SendQueue,
    pub(super) peers: PeerTable<C, F::In>,
    new_peer: N,
    pub(super) later: LaterPeers<C, F::Out>,
    pub(super) limits: Limits,
    pub(super) jobs: JobQueue<C, F::Out>,
    pushed: mpsc::Receiver<PushedFrame<F::Out>>,
    pub(super) counters: BatchCounters,
    /// During a drain: every datagram that the system had queued is received.
    input_drained: bool,
}

impl<F, C, N> Dispatcher<F, C, N>
where
    F: Framing,
    C: HandlerCalls<F::In, F::Out>,
    N: Fn(&Route, &ListenerContext) -> (Connection, C) + 'static,
{
    pub(crate) fn new(
        socket: Arc<dyn DatagramSocket>,
        framing: Arc<F>,
        limits: Limits,
        listener_context: Arc<ListenerContext>,
        new_peer: N,
        pushed: mpsc::Receiver<PushedFrame<F::Out>>,
    ) -> Self {
        Self {
            receiver: DatagramReceiver::new(socket.clone(), framing.limit(limits.frame)),
            received: Vec::new(),
            send_queue: SendQueue::new(socket, listener_context, limits.outbox),
            peers: PeerTable::new(limits.sessions),
            later: LaterPeers::default(),
            limits,
            jobs: JobQueue::new(),
            counters: BatchCounters::default(),
            input_drained: false,
            framing,
            new_peer,
            pushed,
        }
    }

    fn resume_job(&mut self, cx: &mut TaskContext<'_>) -> bool {
        let result = self.jobs.poll_next(cx);
        let resumed = result.is_some();
        self.run(result, cx);
        resumed
    }

    fn send_pushed(&mut self, cx: &mut TaskContext<'_>) -> bool {
        let Poll::Ready(Some(PushedFrame { connection, route, frame })) = self.pushed.poll_recv(cx) else {
            return false;
        };
        self.send_queue.send_pushed(&*self.framing, &route, &connection, frame);
        true
    }

    /// Receives and handles the datagrams of one batch. Every datagram that is received is handled before the task
    /// waits: a replaced dispatcher receives no more. False if the socket has no more datagrams.
    fn receive(&mut self, cx: &mut TaskContext<'_>) -> bool {
        let mut remaining = BATCH;
        let mut datagrams = std::mem::take(&mut self.received);
        while remaining > 0 {
            let Poll::Ready(received) = self.receiver.poll_receive(cx, remaining, &mut datagrams) else { break };
            remaining = remaining.saturating_sub(datagrams.len().max(1));
            match received {
                Err(error) => self.send_queue.receive_failed(&error),
                Ok(()) => {
                    self.send_queue.gather(datagrams.len() > 1);
                    for Datagram { route, payload } in datagrams.drain(..) {
                        if let Err(reason) = self.handle_datagram(&route, payload, cx) {
                            self.drop_received(&route, reason);
                        }
                    }
                    self.send_queue.send_gathered();
                }
            }
        }
        self.received = datagrams;
        remaining == 0
    }

    fn handle_datagram(&mut self, route: &Route, datagram: Bytes, cx: &mut TaskContext<'_>) -> Result<(), DropReason> {
        let bytes = datagram.len();
        self.receiver.check(route, &datagram)?;
        let admission = &self.send_queue.listener_context.admission;
        if admission.can_reject()
            && let Some(reason) = admission.reject(&route.peer)
        {
            return Err(if reason == CloseReason::Banned { DropReason::Banned } else { DropReason::Denied });
        }
        let decoded = catch_unwind(AssertUnwindSafe(|| self.framing.datagram_in(datagram)));
        let Ok(Ok(message)) = decoded else { return Err(DropReason::BadFrame) };
        // A panic while a state or layer is created drops only this datagram.
        let new_peer =
            || catch_unwind(AssertUnwindSafe(|| (self.new_peer)(route, &self.send_queue.listener_context))).ok();
        let new_peer = || new_peer().map(|(connection, calls)| (connection, Box::new(calls)));
        let (key, peer) = self.peers.get_or_insert(route, new_peer).ok_or(DropReason::Sessions)?;
        let factor = self.send_queue.listener_context.admission.limits.amplification;
        if let Some(limit) = peer.connection.amplification_limit() {
            limit.credit(&route.peer, bytes, factor);
        }
        peer.connection.counters().messages.add(1);
        peer.connection.counters().bytes_in.add(bytes);
        self.counters.received(bytes);
        match peer.calls.take() {
            Some(calls) => {
                let result = self.start_message(Job { peer: key, calls, bytes }, message, cx);
                self.run(result, cx);
                Ok(())
            }
            None => self.handle_busy(key, message, bytes, cx),
        }
    }

    /// Handles a message of a peer with another message in progress.
    fn handle_busy(
        &mut self,
        key: usize,
        message: F::In,
        bytes: usize,
        cx: &mut TaskContext<'_>,
    ) -> Result<(), DropReason> {
        if let Some(calls) = self.later.take_calls(key, &self.limits) {
            let result = self.start_message(Job { peer: key, calls, bytes }, message, cx);
            self.run(result, cx);
            return Ok(());
        }
        let is_queued = self.jobs.enqueue(&mut self.peers.get(key).queue, message, bytes);
        if is_queued { Ok(()) } else { Err(DropReason::Waiting) }
    }

    fn run(&mut self, mut result: Step<C, F::Out>, cx: &mut TaskContext<'_>) {
        while let Some(ready) = result {
            result = self.handle_result(ready, cx);
        }
    }

    pub(super) fn start_message(
        &mut self,
        mut job: Job<C>,
        message: F::In,
        cx: &mut TaskContext<'_>,
    ) -> Step<C, F::Out> {
        let (peer, bytes) = (job.peer, job.bytes);
        let step = async move {
            let result = AssertUnwindSafe(call(&mut *job.calls, message)).catch_unwind().await;
            JobResult::Reply { job, result: result.unwrap_or_else(|payload| Err(Panicked::new(&*payload).into())) }
        };
        self.start(step, peer, bytes, cx)
    }

    pub(super) fn start_frame(
        &mut self,
        job: Job<C>,
        mut frames: FrameStream<F::Out>,
        then: Then,
        cx: &mut TaskContext<'_>,
    ) -> Step<C, F::Out> {
        let (peer, bytes) = (job.peer, job.bytes);
        let step = async move {
            let next = AssertUnwindSafe(frames.next()).catch_unwind().await;
            let next = next.unwrap_or_else(|payload| Some(Err(Panicked::new(&*payload).into())));
            JobResult::Frame { job, frames, next, then }
        };
        self.start(step, peer, bytes, cx)
    }

    /// Starts a step of a job. If too many jobs are pending, it is dropped and its peer is removed.
    fn start(
        &mut self,
        step: impl Future<Output = JobResult<C, F::Out>> + Send + 'static,
        peer: usize,
        bytes: usize,
        cx: &mut TaskContext<'_>,
    ) -> Step<C, F::Out> {
        let result = self.jobs.start(step, bytes, cx);
        if result.is_none() {
            self.keep_running(peer, bytes);
        }
        result
    }

    fn keep_running(&mut self, peer: usize, bytes: usize) {
        if self.jobs.keep_running(bytes) {
            self.peers.get(peer).running_since = Some(self.counters.started());
        } else {
            let route = self.remove_peer(peer, CloseReason::Limit);
            self.send_queue.drop_one(&route, DropReason::Waiting);
        }
    }

    /// Sends a frame of a reply. False if the message fails because of it.
    #[inline]
    pub(super) fn send_to(&mut self, peer: usize, frame: F::Out) -> bool {
        let Peer { route, connection, .. } = self.peers.get(peer);
        self.send_queue.send_reply(&*self.framing, route, connection, frame)
    }

    pub(super) fn remove_peer(&mut self, peer: usize, reason: CloseReason) -> Route {
        let later = self.later.remove(peer);
        let mut peer = self.peers.remove(peer, reason);
        let dropped = self.jobs.clear(&mut peer.queue) + later.map_or(0, |later| later.unanswered());
        self.send_queue.listener_context.info.metrics.dropped(dropped);
        peer.route
    }
}

impl<F, C, N> DatagramDispatcher for Dispatcher<F, C, N>
where
    F: Framing,
    C: HandlerCalls<F::In, F::Out>,
    N: Fn(&Route, &ListenerContext) -> (Connection, C) + Send + 'static,
{
    fn poll(&mut self, cx: &mut TaskContext<'_>, state: LoopState) -> bool {
        self.jobs.start_batch();
        self.send_queue.flush(cx);
        self.send_queue.gather(true);
        let mut has_more = (0..BATCH).all(|_| self.resume_job(cx));
        has_more |= (0..BATCH).all(|_| self.send_pushed(cx));
        self.send_queue.send_gathered();
        if state == LoopState::Active || (state == LoopState::DrainingInput && !self.input_drained) {
            let is_full = self.receive(cx);
            self.input_drained = state == LoopState::DrainingInput && !is_full;
            has_more |= is_full;
        }
        self.send_queue.flush(cx);
        self.send_queue.publish_sent_bytes();
        let metrics = &self.send_queue.listener_context.info.metrics;
        self.counters.publish(metrics);
        if state == LoopState::Active {
            metrics.sessions.store(self.peers.len(), Relaxed);
        }
        if has_more {
            cx.waker().wake_by_ref();
        }
        state != LoopState::Active && !has_more && self.jobs.running.is_empty() && self.send_queue.is_empty()
    }

    fn pending(&self) -> usize {
        self.jobs.pending()
    }

    fn remove_banned(&mut self) -> bool {
        self.forget_banned()
    }

    fn set_context(&mut self, listener_context: Arc<ListenerContext>) {
        self.send_queue.listener_context = listener_context;
    }
}
