//! Handles the results of jobs: sends replies, and starts the next message of a peer.

use std::task::Context as TaskContext;

use crate::close_reason::CloseReason;
use crate::connection::{Connection, ListenerContext};
use crate::driver::datagram::dispatcher::{Dispatcher, Step};
use crate::driver::datagram::jobs::{Job, JobResult};
use crate::driver::handler_calls::HandlerCalls;
use crate::framing::Framing;
use crate::handler::{Frames, Reply, Then};
use crate::transport::Route;

impl<F, C, N> Dispatcher<F, C, N>
where
    F: Framing,
    C: HandlerCalls<F::In, F::Out>,
    N: Fn(&Route, &ListenerContext) -> (Connection, C) + 'static,
{
    /// Handles an immediate reply of one frame here: the common case.
    #[inline]
    pub(super) fn handle_result(&mut self, result: JobResult<C, F::Out>, cx: &mut TaskContext<'_>) -> Step<C, F::Out> {
        match result {
            JobResult::Reply { job, result: Ok(Reply { frames: Frames::One(frame), then: Then::Continue }) }
                if !self.later.contains(job.peer) =>
            {
                self.jobs.step_done(job.bytes);
                let is_handled = self.send_to(job.peer, frame);
                self.message_done(job.peer, is_handled);
                self.next_message(job, Then::Continue, cx)
            }
            result => self.handle_other_result(result, cx),
        }
    }

    #[inline(never)]
    fn handle_other_result(&mut self, result: JobResult<C, F::Out>, cx: &mut TaskContext<'_>) -> Step<C, F::Out> {
        let (job, then, is_handled) = match result {
            JobResult::Reply { job, result } => {
                self.jobs.step_done(job.bytes);
                if self.later.contains(job.peer) {
                    return self.reply_beside_later(job, result, cx);
                }
                let mut is_handled = result.is_ok();
                let Reply { frames, then } = result.unwrap_or_else(|error| {
                    self.message_failed(job.peer, &error);
                    Reply::none()
                });
                match frames {
                    Frames::Later(..) | Frames::Switch(_) => {
                        return self.reply_beside_later(job, Ok(Reply { frames, then }), cx);
                    }
                    _ if then == Then::Close => {}
                    Frames::None => {}
                    Frames::One(frame) => is_handled = self.send_to(job.peer, frame),
                    Frames::Many(frames) => is_handled = frames.into_iter().all(|frame| self.send_to(job.peer, frame)),
                    Frames::Stream(frames) => return self.start_frame(job, frames, then, cx),
                }
                (job, then, is_handled)
            }
            JobResult::Later { peer, bytes, result } => {
                self.jobs.step_done(bytes);
                return self.later_result(peer, *result?, cx);
            }
            JobResult::Frame { job, frames, next, then } => {
                self.jobs.step_done(job.bytes);
                match next.map(|next| next.map(|frame| self.send_to(job.peer, frame))) {
                    Some(Ok(true)) => return self.start_frame(job, frames, then, cx),
                    Some(Ok(false)) => (job, then, false),
                    Some(Err(error)) => {
                        self.message_failed(job.peer, &error);
                        (job, then, false)
                    }
                    None => (job, then, true),
                }
            }
        };
        self.message_done(job.peer, is_handled);
        self.next_message(job, then, cx)
    }

    /// Starts the next queued message of a peer. Without one, the peer is idle.
    fn next_message(&mut self, job: Job<C>, then: Then, cx: &mut TaskContext<'_>) -> Step<C, F::Out> {
        if then != Then::Continue {
            self.remove_peer(job.peer, CloseReason::HandlerClosed);
            return None;
        }
        let peer = self.peers.get(job.peer);
        match self.jobs.dequeue(&mut peer.queue) {
            Some((message, bytes)) => self.start_message(Job { bytes, ..job }, message, cx),
            None => {
                peer.calls = Some(job.calls);
                None
            }
        }
    }

    fn message_done(&mut self, peer: usize, is_handled: bool) {
        match self.peers.get(peer).running_since.take() {
            _ if !is_handled => {}
            Some(since) => self.send_queue.listener_context.info.metrics.latency.record(1, since.elapsed()),
            None => self.counters.handled += 1,
        }
    }
}
