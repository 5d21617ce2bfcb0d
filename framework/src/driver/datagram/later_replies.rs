//! Later replies of datagram peers: handles the messages beside them, and sends them in their order.

use std::panic::AssertUnwindSafe;
use std::task::Context as TaskContext;
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};

use crate::close_reason::CloseReason;
use crate::connection::{Connection, ListenerContext};
use crate::driver::datagram::dispatcher::{Dispatcher, Step};
use crate::driver::datagram::drop_reason::DropReason;
use crate::driver::datagram::jobs::Job;
use crate::driver::datagram::later_peers::{Ending, FrameStream, LaterResult, PeerId};
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
        if matches!(result, Ok(Reply { then: Then::Finish, .. })) && peer.end == Ending::No {
            peer.end = Ending::WithReply;
        }
        match result {
            Err(error) => self.message_failed(key, &error),
            Ok(_) if peer.end == Ending::AfterCall => {}
            Ok(Reply { then: Then::Close, .. }) => {
                peer.end = Ending::AfterCall;
                self.answered(message.0.map(|received| received.elapsed()));
            }
            Ok(Reply { frames: Frames::Switch(_), .. }) => {
                let error = "a datagram peer cannot change its protocol (then_framing, then_tls)".into();
                self.message_failed(key, &error);
            }
            Ok(Reply { frames: Frames::Later(order, future), then }) => {
                let connection = &self.peers.get(key).connection;
                let work = peer.replies.begin(order, future, then, calls.stack(), connection, message);
                let message = work.message();
                if !self.start_later(id, message, async move { LaterResult::Reply(work.await) }, cx)
                    && let Some(peer) = self.later.get(id)
                {
                    peer.replies.complete(message.dropped());
                }
            }
            Ok(reply) => peer.replies.push(reply, message),
        }
        if let Some(peer) = self.later.get(id) {
            peer.calls = Some(calls);
            if peer.end == Ending::AfterCall {
                self.remove_peer(key, CloseReason::HandlerClosed);
                return None;
            }
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
        let peer = self.later.get(id).filter(|peer| peer.end != Ending::AfterCall)?; // otherwise the exchange has ended
        match result {
            LaterResult::Reply(done) => peer.replies.complete(done),
            LaterResult::Frame { frames, next, then, message } => {
                peer.streams = false;
                match next {
                    None => self.reply_sent(id, message, then),
                    Some(Err(error)) => self.message_failed(id.key, &error),
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
        while let Some(peer) = self.later.get(id).filter(|peer| !peer.streams && peer.end != Ending::AfterCall)
            && let Some(Done { message, result }) = peer.replies.pop()
        {
            match result {
                Err(error) => self.message_failed(id.key, &error),
                Ok(Reply { then: Then::Close, .. }) => self.reply_sent(id, message, Then::Close),
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
        self.answered(message.latency());
        if then != Then::Continue {
            self.end(id);
        }
    }

    fn answered(&self, latency: Option<Duration>) {
        if let Some(latency) = latency {
            self.send_queue.listener_context.info.metrics.latency.record(1, latency);
        }
    }

    /// A later reply ends the exchange. A call in progress refers to the peer, so it ends first.
    fn end(&mut self, id: PeerId) {
        match self.later.get(id) {
            Some(peer) if peer.calls.is_none() => peer.end = Ending::AfterCall,
            Some(_) => drop(self.remove_peer(id.key, CloseReason::HandlerClosed)),
            None => {}
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
        if !self.start_later(id, message, step, cx) {
            if let Some(peer) = self.later.get(id) {
                peer.streams = false;
            }
            self.reply_sent(id, message.failed(), then);
        }
    }

    /// Adds a step of a later reply. False if too many messages are pending: the step is dropped, which is logged.
    fn start_later(
        &mut self,
        id: PeerId,
        message: WorkInfo,
        step: impl Future<Output = LaterResult<F::Out>> + Send + 'static,
        cx: &mut TaskContext<'_>,
    ) -> bool {
        let Some(peer) = self.later.get(id) else { return false };
        let has_room = self.jobs.start_later((id, peer.removed.clone()), message.bytes(), step, cx);
        if !has_room {
            self.send_queue.drop_one(&self.peers.get(id.key).route, DropReason::Waiting);
        }
        has_room
    }

    /// Starts the next queued message of a peer, if it may be handled beside the later replies.
    fn next_beside_later(&mut self, id: PeerId, cx: &mut TaskContext<'_>) -> Step<C, F::Out> {
        let peer = self.later.get(id).filter(|peer| peer.end != Ending::AfterCall)?;
        let is_over = peer.replies.is_empty() && !peer.streams;
        let calls = if is_over { peer.calls.take() } else { self.later.take_calls(id.key, &self.limits) };
        if is_over {
            self.later.remove(id.key);
        }
        let (calls, peer) = (calls?, self.peers.get(id.key));
        match self.jobs.dequeue(&mut peer.queue) {
            Some((message, bytes)) => self.start_message(Job { peer: id.key, calls, bytes }, message, cx),
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
