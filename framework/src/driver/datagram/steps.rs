//! Starts the steps of jobs: a handler call, or the next frame of a reply.

use std::panic::AssertUnwindSafe;
use std::task::Context as TaskContext;

use futures_util::{FutureExt, StreamExt};

use crate::close_reason::CloseReason;
use crate::connection::{Connection, ListenerContext};
use crate::driver::datagram::dispatcher::{Dispatcher, Step};
use crate::driver::datagram::drop_reason::DropReason;
use crate::driver::datagram::jobs::{FrameStream, Job, JobResult};
use crate::driver::handler_calls::HandlerCalls;
use crate::error::Panicked;
use crate::framing::Framing;
use crate::handler::Then;
use crate::transport::Route;

impl<F, C, N> Dispatcher<F, C, N>
where
    F: Framing,
    C: HandlerCalls<F::In, F::Out>,
    N: Fn(&Route, &ListenerContext) -> (Connection, C) + 'static,
{
    pub(super) fn start_message(
        &mut self,
        mut job: Job<C>,
        message: F::In,
        cx: &mut TaskContext<'_>,
    ) -> Step<C, F::Out> {
        let (peer, bytes) = (job.peer, job.bytes);
        let step = async move {
            let result = AssertUnwindSafe(job.calls.message(message)).catch_unwind().await;
            JobResult::Reply { job, result: result.unwrap_or_else(|payload| Err(Panicked::new(&*payload).into())) }
        };
        self.start(step, peer, bytes, cx)
    }

    /// Like [`start_message`](Self::start_message), for a peer with later replies.
    pub(super) fn start_beside_later(
        &mut self,
        mut job: Job<C>,
        message: F::In,
        cx: &mut TaskContext<'_>,
    ) -> Step<C, F::Out> {
        let (peer, bytes) = (job.peer, job.bytes);
        let step = async move {
            let result = AssertUnwindSafe(job.calls.message(message)).catch_unwind().await;
            let result = result.unwrap_or_else(|payload| Err(Panicked::new(&*payload).into()));
            JobResult::BesideLater { job, result }
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
}
