//! Later replies: the futures of messages in progress, and the order in which their replies are written.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use crate::connection::Connection;
use crate::error::Result;
use crate::handler::{Frames, Reply, ReplyFuture, ReplyOrder, Then};
use crate::layer::{MessageStack, StackCall};
use crate::settings::Limits;

/// The future of a later reply returned `then_framing` or `then_tls`: the next messages may be decoded already.
#[derive(Debug, thiserror::Error)]
#[error("the future of a later reply cannot change the protocol; call then_framing or then_tls on the later reply")]
struct LateSwitch;

/// A message whose reply is not ready.
pub(crate) struct Work<Out> {
    future: ReplyFuture<Out>,
    call: StackCall,
    /// The reply before this one finishes the connection.
    finishes: bool,
    message: WorkInfo,
}

/// What is known about a message while its reply is in progress.
#[derive(Clone, Copy)]
pub(crate) struct WorkInfo {
    /// When it was received. `None`: the reply is a greeting.
    received: Option<Instant>,
    /// Its size.
    bytes: usize,
    position: Position,
}

impl WorkInfo {
    /// The same message without a latency.
    pub(crate) fn failed(self) -> Self {
        Self { received: None, ..self }
    }

    /// The result for a message whose reply is dropped.
    pub(crate) fn dropped<Out>(self) -> Done<Out> {
        Done { message: self.failed(), result: Ok(Reply::none()) }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The time since the message was received.
    pub(crate) fn latency(&self) -> Option<Duration> {
        self.received.map(|received| received.elapsed())
    }
}

/// The position of a reply in the order of replies.
#[derive(Clone, Copy)]
enum Position {
    /// The number of an ordered reply.
    Ordered(u64),
    Unordered,
}

/// A reply that can be written.
pub(crate) struct Done<Out> {
    pub(crate) message: WorkInfo,
    pub(crate) result: Result<Reply<Out>>,
}

impl<Out> Work<Out> {
    pub(crate) fn message(&self) -> WorkInfo {
        self.message
    }
}

impl<Out: Send + 'static> Future for Work<Out> {
    type Output = Done<Out>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Done<Out>> {
        let Self { future, call, finishes, message } = &mut *self;
        loop {
            let mut result = ready!(call.poll(Pin::new(future), cx));
            if let Ok(reply) = &mut result {
                *finishes |= reply.then == Then::Finish;
                match std::mem::replace(&mut reply.frames, Frames::None) {
                    Frames::Later(_, next) => {
                        *future = next;
                        continue;
                    }
                    Frames::Switch(_) => result = Err(LateSwitch.into()),
                    frames => reply.frames = frames,
                }
                if *finishes
                    && let Ok(reply) = &mut result
                    && reply.then == Then::Continue
                {
                    reply.then = Then::Finish;
                }
            }
            return Poll::Ready(Done { message: *message, result });
        }
    }
}

/// The order of the replies of one connection or peer.
pub(crate) struct PendingReplies<Out> {
    /// The ordered replies that are not written, oldest first; `None` while one is not ready.
    ordered: VecDeque<Option<Done<Out>>>,
    /// The number of the first one.
    first: u64,
    /// Unordered replies that are ready.
    unordered: VecDeque<Done<Out>>,
    /// Messages whose replies are not written.
    len: usize,
    /// Their size.
    bytes: usize,
}

impl<Out> Default for PendingReplies<Out> {
    fn default() -> Self {
        Self { ordered: VecDeque::new(), first: 0, unordered: VecDeque::new(), len: 0, bytes: 0 }
    }
}

impl<Out> PendingReplies<Out> {
    /// Adds a message whose reply is not ready.
    pub(crate) fn begin(
        &mut self,
        order: ReplyOrder,
        future: ReplyFuture<Out>,
        then: Then,
        stack: &MessageStack,
        connection: &Connection,
        (received, bytes): (Option<Instant>, usize),
    ) -> Work<Out> {
        let position = self.reserve(order, bytes);
        let message = WorkInfo { received, bytes, position };
        Work { future, call: stack.begin_later(connection), finishes: then == Then::Finish, message }
    }

    /// Adds a reply that is ready, behind the ordered replies.
    pub(crate) fn push(&mut self, reply: Reply<Out>, (received, bytes): (Option<Instant>, usize)) {
        let position = self.reserve(ReplyOrder::Requests, bytes);
        self.complete(Done { message: WorkInfo { received, bytes, position }, result: Ok(reply) });
    }

    fn reserve(&mut self, order: ReplyOrder, bytes: usize) -> Position {
        self.len += 1;
        self.bytes += bytes;
        match order {
            ReplyOrder::Requests => {
                self.ordered.push_back(None);
                Position::Ordered(self.first + self.ordered.len() as u64 - 1)
            }
            ReplyOrder::Ready => Position::Unordered,
        }
    }

    /// Stores a reply that is ready.
    pub(crate) fn complete(&mut self, done: Done<Out>) {
        match done.message.position {
            Position::Unordered => self.unordered.push_back(done),
            Position::Ordered(number) => {
                // A reply that was dropped has no place any more.
                let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
                if let Some(place) = index.and_then(|index| self.ordered.get_mut(index)) {
                    *place = Some(done);
                }
            }
        }
    }

    /// Removes the next reply to write, if it has at most some frames that are ready and does not end the connection.
    pub(crate) fn pop_simple(&mut self) -> Option<Done<Out>> {
        let next = match self.ordered.front() {
            Some(Some(done)) => done,
            _ => self.unordered.front()?,
        };
        let is_simple = next.result.as_ref().is_ok_and(|reply| {
            reply.then == Then::Continue && matches!(reply.frames, Frames::None | Frames::One(_) | Frames::Many(_))
        });
        if is_simple { self.pop() } else { None }
    }

    /// Removes the next reply to write.
    pub(crate) fn pop(&mut self) -> Option<Done<Out>> {
        let done = match self.ordered.front_mut().and_then(Option::take) {
            Some(done) => {
                self.ordered.pop_front();
                self.first += 1;
                done
            }
            None => self.unordered.pop_front()?,
        };
        self.len -= 1;
        self.bytes -= done.message.bytes;
        Some(done)
    }

    /// Drops the ordered replies: the connection finishes with the reply before them.
    pub(crate) fn drop_ordered(&mut self) {
        self.first += self.ordered.len() as u64;
        self.len -= self.ordered.len();
        self.ordered.clear();
    }

    pub(crate) fn has_ordered(&self) -> bool {
        !self.ordered.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Messages that have neither failed nor a reply that is written.
    pub(crate) fn unanswered(&self) -> usize {
        let ready = self.ordered.iter().flatten().chain(&self.unordered);
        self.len - ready.filter(|done| done.message.received.is_none()).count()
    }

    /// Whether no further message may be handled.
    pub(crate) fn is_full(&self, limits: &Limits) -> bool {
        self.len >= limits.in_flight.max(1) || self.bytes >= limits.frame
    }
}

/// The later replies of one stream connection.
pub(crate) struct LaterReplies<Out> {
    running: FuturesUnordered<Work<Out>>,
    pub(crate) replies: PendingReplies<Out>,
    /// Messages that are neither answered nor failed.
    pub(crate) unanswered: usize,
}

impl<Out> Default for LaterReplies<Out> {
    fn default() -> Self {
        Self { running: FuturesUnordered::new(), replies: PendingReplies::default(), unanswered: 0 }
    }
}

impl<Out: Send + 'static> LaterReplies<Out> {
    pub(crate) fn add(&mut self, work: Work<Out>) {
        self.running.push(work);
    }

    /// Polls the futures.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(done)) = self.running.poll_next_unpin(cx) {
            self.replies.complete(done);
        }
    }
}
