//! Later replies of datagram peers: handles the messages beside them, and sends them in their order.

use std::panic::AssertUnwindSafe;
use std::task::Context as TaskContext;

use futures_util::{FutureExt, StreamExt};

use crate::close_reason::CloseReason;
use crate::connection::{Connection, ListenerContext};
use crate::driver::datagram::dispatcher::{Dispatcher, Step};
use crate::driver::datagram::drop_reason::DropReason;
use crate::driver::datagram::jobs::Job;
use crate::driver::datagram::later_peers::{FrameStream, LaterResult, PeerId};
use crate::driver::handler_calls::HandlerCalls;
use crate::driver::later::{Done, WorkInfo};
use crate::error::Result;
use crate::framing::Framing;
use crate::handler::{Frames, Reply, Then};
use crate::layer::Panicked;
use crate::transport::Route;

impl<F, C, N> Dispatcher<F, C, N>
where
    F: Framing,
    C: HandlerCalls<F::In, F::Out>,
    N: Fn(&Route, &ListenerContext) -> (Connection, C) + 'static,
{
    /// Handles the result of a call beside later replies, or a reply that is later itself.
    pub(super) fn reply_beside_later(
        &mut self,
        job: Job<C>,
        result: Result<Reply<F::Out>>,
        cx: &mut TaskContext<'_>,
    ) -> Step<C, F::Out> {
        let Job { peer: key, calls, bytes } = job;
        let running_since = self.peers.get(key).running_since.take();
        let message = (Some(running_since.unwrap_or_else(|| self.counters.started())), bytes);
        let peer = self.later.get_or_insert(key);
        let id = peer.id;
        match result {
            Err(error) => self.send_queue.message_failed(&self.peers.get(key).route, &error),
            Ok(Reply { then: Then::Close, .. }) => {
                self.remove_peer(key, CloseReason::HandlerClosed);
                return None;
            }
            Ok(Reply { frames: Frames::Switch(_), .. }) => {
                let error = "a datagram peer cannot change its protocol (then_framing, then_tls)".into();
                self.send_queue.message_failed(&self.peers.get(key).route, &error);
            }
            Ok(Reply { frames: Frames::Later(order, future), then }) => {
                let connection = &self.peers.get(key).connection;
                peer.finishes |= then == Then::Finish;
                let work = peer.order.begin(order, future, then, calls.stack(), connection, message);
                let message = work.message();
                self.start_later(id, message, async move { LaterResult::Reply(work.await) }, cx);
            }
            Ok(reply) => peer.order.push(reply, message),
        }
        if let Some(peer) = self.later.get(id) {
            peer.calls = Some(calls);
        }
        self.send_ready(id, cx);
        self.next_beside_later(id, cx)
    }

    /// Handles a later reply that is ready, or its next frame.
    pub(super) fn later_result(
        &mut self,
        id: PeerId,
        result: LaterResult<F::Out>,
        cx: &mut TaskContext<'_>,
    ) -> Step<C, F::Out> {
        let peer = self.later.get(id)?; // otherwise the peer was removed
        match result {
            LaterResult::Reply(done) => peer.order.complete(done),
            LaterResult::Frame { frames, next, then, message } => {
                peer.streams = false;
                match next {
                    None => self.reply_sent(id, message, then),
                    Some(Err(error)) => self.send_queue.message_failed(&self.peers.get(id.key).route, &error),
                    Some(Ok(frame)) => {
                        if self.send_to(id.key, frame) {
                            self.start_frames(id, message, frames, then, cx);
                            return None;
                        }
                    }
                }
            }
        }
        self.send_ready(id, cx);
        self.next_beside_later(id, cx)
    }

    /// Sends the replies that are ready.
    fn send_ready(&mut self, id: PeerId, cx: &mut TaskContext<'_>) {
        while let Some(peer) = self.later.get(id).filter(|peer| !peer.streams)
            && let Some(Done { message, result }) = peer.order.pop()
        {
            match result {
                Err(error) => self.send_queue.message_failed(&self.peers.get(id.key).route, &error),
                Ok(Reply { then: Then::Close, .. }) => drop(self.remove_peer(id.key, CloseReason::HandlerClosed)),
                Ok(Reply { frames: Frames::Stream(frames), then }) => {
                    self.start_frames(id, message, frames, then, cx);
                }
                Ok(Reply { frames, then }) => {
                    let is_sent = match frames {
                        Frames::One(frame) => self.send_to(id.key, frame),
                        Frames::Many(frames) => frames.into_iter().all(|frame| self.send_to(id.key, frame)),
                        _ => true,
                    };
                    self.reply_sent(id, if is_sent { message } else { message.failed() }, then);
                }
            }
        }
    }

    fn reply_sent(&mut self, id: PeerId, message: WorkInfo, then: Then) {
        if let Some(latency) = message.latency() {
            self.send_queue.listener_context.info.metrics.latency.record(1, latency);
        }
        if then != Then::Continue {
            self.remove_peer(id.key, CloseReason::HandlerClosed);
        }
    }

    fn start_frames(
        &mut self,
        id: PeerId,
        message: WorkInfo,
        mut frames: FrameStream<F::Out>,
        then: Then,
        cx: &mut TaskContext<'_>,
    ) {
        if let Some(peer) = self.later.get(id) {
            peer.streams = true;
        }
        let step = async move {
            let next = AssertUnwindSafe(frames.next()).catch_unwind().await;
            let next = next.unwrap_or_else(|payload| Some(Err(Panicked::new(&*payload).into())));
            LaterResult::Frame { frames, next, then, message }
        };
        self.start_later(id, message, step, cx);
    }

    /// Adds a step of a later reply. If too many messages are pending, the reply is dropped.
    fn start_later(
        &mut self,
        id: PeerId,
        message: WorkInfo,
        step: impl Future<Output = LaterResult<F::Out>> + Send + 'static,
        cx: &mut TaskContext<'_>,
    ) {
        if self.jobs.start_later(id, message.bytes(), step, cx) {
            return;
        }
        self.send_queue.drop_one(&self.peers.get(id.key).route, DropReason::Waiting);
        if let Some(peer) = self.later.get(id) {
            peer.streams = false;
            peer.order.complete(message.dropped());
        }
    }

    /// Starts the next queued message of a peer, if it may be handled beside the later replies.
    fn next_beside_later(&mut self, id: PeerId, cx: &mut TaskContext<'_>) -> Step<C, F::Out> {
        let peer = self.later.get(id)?;
        let is_over = peer.order.is_empty() && !peer.streams;
        let calls = if is_over { peer.calls.take() } else { self.later.take_calls(id.key, &self.limits) };
        if is_over {
            self.later.remove(id.key);
        }
        let (calls, peer) = (calls?, self.peers.get(id.key));
        match self.jobs.dequeue(&mut peer.queue) {
            Some((message, bytes)) if is_over => self.start_message(Job { peer: id.key, calls, bytes }, message, cx),
            Some((message, bytes)) => self.start_beside_later(Job { peer: id.key, calls, bytes }, message, cx),
            None => {
                match self.later.get(id) {
                    Some(later) => later.calls = Some(calls),
                    None => peer.calls = Some(calls),
                }
                None
            }
        }
    }
}
