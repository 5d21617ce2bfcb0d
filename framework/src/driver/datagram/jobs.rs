//! The messages of one datagram socket that are being handled or wait to be handled: bounded in number and bytes.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio_util::sync::{CancellationToken, ReusableBoxFuture};

use crate::driver::datagram::later_peers::{FrameStream, LaterResult, PeerId};
use crate::error::Result;
use crate::handler::{Reply, Then};

/// Maximum job polls per batch.
const POLLS_PER_BATCH: usize = 1024;
/// Maximum messages whose handler is not ready, over all peers.
const MAX_RUNNING: usize = 1024;
/// Maximum messages of one peer that wait behind a running one.
const MAX_QUEUED_PER_PEER: usize = 64;
/// Maximum messages that wait behind running ones, over all peers.
const MAX_QUEUED: usize = 4096;
/// Maximum bytes of running and waiting messages.
pub(crate) const MAX_PENDING_BYTES: usize = 16 * 1024 * 1024;

pub(crate) type QueuedMessage<In> = (In, usize);
type JobFuture<C, Out> = ReusableBoxFuture<'static, JobResult<C, Out>>;

/// A message that is being handled. It holds the handler calls of its peer.
pub(crate) struct Job<C> {
    pub(crate) peer: usize,
    pub(crate) calls: Box<C>,
    /// The size of the message, which counts against [`MAX_PENDING_BYTES`].
    pub(crate) bytes: usize,
}

pub(crate) enum JobResult<C, Out> {
    Reply {
        job: Job<C>,
        result: Result<Reply<Out>>,
    },
    Frame {
        job: Job<C>,
        frames: FrameStream<Out>,
        next: Option<Result<Out>>,
        then: Then,
    },
    Later {
        peer: PeerId,
        bytes: usize,
        /// `None`: the peer is removed. Boxed, so that the results of other messages stay small.
        result: Option<Box<LaterResult<Out>>>,
    },
}

pub(crate) struct JobQueue<C, Out> {
    pub(crate) running: FuturesUnordered<JobFuture<C, Out>>,
    queued: usize,
    pending_bytes: usize,
    /// The allocation of the last job, for the next one.
    spare: Option<JobFuture<C, Out>>,
    /// The step that [`start`](Self::start) has polled last, if it was not ready.
    not_ready: Option<JobFuture<C, Out>>,
    remaining_polls: usize,
}

impl<C: Send + 'static, Out: Send + 'static> JobQueue<C, Out> {
    pub(crate) fn new() -> Self {
        Self {
            running: FuturesUnordered::new(),
            queued: 0,
            pending_bytes: 0,
            spare: None,
            not_ready: None,
            remaining_polls: 0,
        }
    }

    pub(crate) fn start_batch(&mut self) {
        self.remaining_polls = POLLS_PER_BATCH;
    }

    pub(crate) fn pending(&self) -> usize {
        self.running.len() + self.queued
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Option<JobResult<C, Out>> {
        // An empty set would register the waker first.
        if self.running.is_empty() {
            return None;
        }
        match self.running.poll_next_unpin(cx) {
            Poll::Ready(result) => result,
            Poll::Pending => None,
        }
    }

    /// Polls a step of a job once, in the allocation of the previous job. Only a step that is not ready needs another
    /// allocation. Call [`keep_running`](Self::keep_running) after `None`.
    pub(crate) fn start(
        &mut self,
        step: impl Future<Output = JobResult<C, Out>> + Send + 'static,
        bytes: usize,
        cx: &mut Context<'_>,
    ) -> Option<JobResult<C, Out>> {
        let mut step = match self.spare.take() {
            Some(mut spare) => {
                spare.set(step);
                spare
            }
            None => ReusableBoxFuture::new(step),
        };
        self.pending_bytes += bytes;
        self.remaining_polls = self.remaining_polls.saturating_sub(1);
        if self.remaining_polls == 0 {
            cx.waker().wake_by_ref(); // the next batch polls it, after other tasks had a turn
        } else if let Poll::Ready(result) = step.poll(cx) {
            self.spare = Some(step);
            return Some(result);
        }
        self.not_ready = Some(step);
        None
    }

    /// Keeps the step that was not ready; [`poll_next`](Self::poll_next) returns its result. False if too many messages
    /// are pending: the step is dropped.
    pub(crate) fn keep_running(&mut self, bytes: usize) -> bool {
        let step = self.not_ready.take();
        if self.running.len() < MAX_RUNNING && self.pending_bytes <= MAX_PENDING_BYTES {
            self.running.extend(step);
            return true;
        }
        self.pending_bytes -= bytes;
        false
    }

    /// Adds a step of a later reply, which is dropped when the peer is removed. False if too many messages are pending.
    pub(crate) fn start_later(
        &mut self,
        (peer, removed): (PeerId, CancellationToken),
        bytes: usize,
        step: impl Future<Output = LaterResult<Out>> + Send + 'static,
        cx: &mut Context<'_>,
    ) -> bool {
        let has_room = self.running.len() < MAX_RUNNING && self.pending_bytes + bytes <= MAX_PENDING_BYTES;
        if has_room {
            let step = async move {
                let result = removed.run_until_cancelled_owned(step).await;
                JobResult::Later { peer, bytes, result: result.map(Box::new) }
            };
            self.running.push(ReusableBoxFuture::new(step));
            self.pending_bytes += bytes;
            cx.waker().wake_by_ref(); // the next batch polls it
        }
        has_room
    }

    /// A step of a job has a result: its message does not count until the next step starts.
    pub(crate) fn step_done(&mut self, bytes: usize) {
        self.pending_bytes -= bytes;
    }

    /// Queues a message behind the running job of its peer. False if a limit is reached.
    pub(crate) fn enqueue<In>(&mut self, queue: &mut VecDeque<QueuedMessage<In>>, message: In, bytes: usize) -> bool {
        let has_room = self.pending_bytes + bytes <= MAX_PENDING_BYTES
            && self.queued < MAX_QUEUED
            && queue.len() < MAX_QUEUED_PER_PEER;
        if has_room {
            queue.push_back((message, bytes));
            self.queued += 1;
            self.pending_bytes += bytes;
        }
        has_room
    }

    pub(crate) fn dequeue<In>(&mut self, queue: &mut VecDeque<QueuedMessage<In>>) -> Option<QueuedMessage<In>> {
        let (message, bytes) = queue.pop_front()?;
        self.queued -= 1;
        self.pending_bytes -= bytes;
        Some((message, bytes))
    }

    /// Drops the queued messages of a peer. Returns their number.
    pub(crate) fn clear<In>(&mut self, queue: &mut VecDeque<QueuedMessage<In>>) -> usize {
        let dropped = queue.len();
        self.queued -= dropped;
        self.pending_bytes -= queue.drain(..).map(|(_, bytes)| bytes).sum::<usize>();
        dropped
    }
}
