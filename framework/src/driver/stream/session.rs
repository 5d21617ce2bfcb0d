//! The driver of framed connections: opens the session, then reads, handles and replies until it closes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use tower::Service;

use crate::close_reason::CloseReason;
use crate::connection::ControlSignal;
use crate::deadline_timer;
use crate::driver::HandlerDriver;
use crate::driver::close_outcome::CloseOutcome;
use crate::driver::handler_calls::{HandlerCalls, direct, has_layers, layered};
use crate::driver::later::Done;
use crate::driver::stream::framed_connection::FramedConnection;
use crate::driver::stream::framed_io::{FramedIo, failed};
use crate::driver::stream::linger::{is_graceful, takes_last_message};
use crate::error::BoxError;
use crate::framing::Framing;
use crate::handler::{Context, Frames, Handler, HandlerLayer, Reply, Then};
use crate::layer::Panicked;
use crate::push_queue::{Outbox, Pusher};
use crate::transport::Incoming;

/// Maximum time that `Handler::close` may take.
const CLOSE_HOOK_TIMEOUT: Duration = Duration::from_secs(1);

type SessionFuture = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

impl<H, F, L> Service<Incoming> for Arc<HandlerDriver<H, F, L>>
where
    F: Framing,
    H: Handler<F::In, F::Out>,
    L: HandlerLayer<H, F::In, F::Out>,
{
    type Response = ();
    type Error = BoxError;
    type Future = SessionFuture;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, incoming: Incoming) -> Self::Future {
        let outbox = Arc::new(Outbox::new(self.limits.outbox));
        let pusher = Pusher::to_stream(incoming.connection.clone(), outbox.clone());
        let context = Context::new(H::State::default(), pusher);
        let io = FramedIo::new(incoming, &*self.framing, &self.limits, self.timeouts.clone(), outbox);
        let framed = FramedConnection::new(io);
        let (handler, stack) = (self.handler.clone(), self.stack.clone());
        if has_layers::<L>() {
            let calls = layered(handler, context, stack, &self.layer);
            StreamSession { framed, calls }.drive()
        } else {
            let calls = direct(handler, context, stack);
            StreamSession { framed, calls }.drive()
        }
    }
}

struct StreamSession<F: Framing, C> {
    framed: FramedConnection<F>,
    calls: C,
}

impl<F, C> StreamSession<F, C>
where
    F: Framing,
    C: HandlerCalls<F::In, F::Out>,
{
    /// Not an `async fn`: its future would store `self` twice.
    fn drive(mut self) -> SessionFuture {
        Box::pin(async move {
            // A panic in the handler, its streams or the codec closes only this connection.
            let ended = match AssertUnwindSafe(self.run()).catch_unwind().await {
                Ok(result) if self.framed.later.is_some() => {
                    AssertUnwindSafe(Box::pin(self.finish_later_replies(result))).catch_unwind().await
                }
                ended => ended,
            };
            self.framed.later = None;
            // Rejects further pushes, so that the remaining output is bounded.
            self.framed.io.writer.outbox.close();
            let is_discarded = matches!(ended, Ok(Ok(Then::Close))) || self.is_closed_by_task();
            if is_discarded {
                self.framed.io.writer.discard();
            }
            let outcome = match ended {
                Ok(Ok(_)) => CloseOutcome::plain(CloseReason::HandlerClosed),
                Ok(Err(outcome)) => outcome,
                Err(payload) => CloseOutcome::from_service(Panicked::new(&*payload).into()),
            };
            // Boxed: an open connection does not reserve memory for its close.
            Box::pin(self.close(outcome)).await
        })
    }

    /// Handles messages until the handler closes the connection (`Ok`) or something else ends it.
    async fn run(&mut self) -> Result<Then, CloseOutcome> {
        // Rare steps are boxed: an idle connection does not reserve memory for them.
        let mut then = Box::pin(self.open()).await?;
        while then == Then::Continue {
            let Some(message) = self.framed.io.next_message()? else {
                if self.framed.has_later_replies() {
                    then = Box::pin(self.read_or_reply()).await?;
                } else {
                    self.framed.read_more().await?;
                }
                continue;
            };
            let reply = {
                let call = pin!(self.calls.message(message));
                self.framed.drive_while(call).await?
            };
            let io = &mut self.framed.io;
            let reply = match reply {
                Ok(reply) => reply,
                Err(error) => return Err(io.latency.message_failed(&io.connection, error)),
            };
            match self.encode_simple(reply)? {
                None => self.framed.io.message_handled(),
                Some(reply) => then = Box::pin(self.send(reply)).await?,
            }
            self.framed.wait_for_write_capacity().await?;
            if self.framed.io.should_yield() {
                self.framed.yield_now().await?;
            }
        }
        Ok(then)
    }

    async fn open(&mut self) -> Result<Then, CloseOutcome> {
        let reply = self.framed.drive_while(self.calls.open()).await?.map_err(CloseOutcome::from_service)?;
        self.send(reply).await
    }

    /// Encodes a reply with at most one frame that continues the session and follows no pushed frames: the common case.
    /// Returns any other reply.
    #[inline]
    fn encode_simple(&mut self, reply: Reply<F::Out>) -> Result<Option<Reply<F::Out>>, CloseOutcome> {
        let Reply { frames, then } = reply;
        match frames {
            Frames::None if then == Then::Continue => Ok(None),
            Frames::One(frame) if then == Then::Continue && self.framed.io.writer.outbox.is_clear() => {
                self.framed.io.encode(frame)?;
                Ok(None)
            }
            frames => Ok(Some(Reply { frames, then })),
        }
    }

    /// Sends the greeting or the reply to the last message, or adds it to the later replies.
    async fn send(&mut self, mut reply: Reply<F::Out>) -> Result<Then, CloseOutcome> {
        let framed = &mut self.framed;
        if reply.then == Then::Continue && framed.io.writer.outbox.finishes() {
            reply.then = Then::Finish;
        }
        let waits = framed.later.as_ref().is_some_and(|later| later.order.has_ordered());
        if reply.then == Then::Close || !(waits || matches!(reply.frames, Frames::Later(..))) {
            framed.io.message_handled();
            return self.write(reply).await;
        }
        let Reply { frames, then } = reply;
        let io = &mut framed.io;
        let message = (io.latency.defer(), io.reader.last_message);
        let (later, stack) = (framed.later.get_or_insert_default(), self.calls.stack());
        match frames {
            Frames::Later(order, future) => {
                let work = later.order.begin(order, future, then, stack, &io.connection, message);
                later.add(work);
            }
            frames => later.order.push(Reply { frames, then }, message),
        }
        framed.later_changed();
        if then != Then::Continue {
            return Ok(then); // no further message is read, and the session ends after the later replies
        }
        let limits = stack.limits;
        while self.framed.later.as_ref().is_some_and(|later| later.order.is_full(&limits))
            && let Some(done) = self.framed.next_reply().await?
        {
            let then = self.send_later(done).await?;
            if then != Then::Continue {
                return Ok(then);
            }
        }
        Ok(Then::Continue)
    }

    /// Reads input, or writes later replies that are ready.
    async fn read_or_reply(&mut self) -> Result<Then, CloseOutcome> {
        match self.framed.read_or_reply().await? {
            Some(done) => self.send_later(done).await,
            None => Ok(Then::Continue),
        }
    }

    /// Writes a later reply that is ready.
    async fn send_later(&mut self, Done { message, result }: Done<F::Out>) -> Result<Then, CloseOutcome> {
        let framed = &mut self.framed;
        let reply = match result {
            Ok(reply) => reply,
            Err(error) => {
                framed.later = None;
                framed.later_changed();
                return Err(failed(&framed.io.connection, error));
            }
        };
        if reply.then != Then::Continue
            && let Some(later) = &mut framed.later
        {
            later.order.drop_ordered();
        }
        let then = self.write(reply).await?;
        self.framed.reply_written(message);
        Ok(then)
    }

    /// The session has ended. Waits for the later replies and writes them, if the peer can still receive them.
    async fn finish_later_replies(&mut self, ended: Result<Then, CloseOutcome>) -> Result<Then, CloseOutcome> {
        let waits = match &ended {
            Ok(then) => *then != Then::Close,
            Err(outcome) => is_graceful(outcome.reason) && !self.is_closed_by_task(),
        };
        if !waits {
            return ended;
        }
        match self.write_later_replies().await {
            Ok(Then::Close) => Ok(Then::Close),
            // A close by the peer during this write does not change the reason.
            Err(failed) if failed.reason != CloseReason::IoError => Err(failed),
            Err(_) => {
                self.framed.io.reader.ended = true;
                ended
            }
            Ok(_) => ended,
        }
    }

    async fn write_later_replies(&mut self) -> Result<Then, CloseOutcome> {
        while let Some(done) = self.framed.next_reply().await? {
            if self.send_later(done).await? == Then::Close {
                return Ok(Then::Close);
            }
        }
        Ok(Then::Continue)
    }

    /// Encodes the frames of a reply after the frames pushed before it.
    async fn write(&mut self, reply: Reply<F::Out>) -> Result<Then, CloseOutcome> {
        let framed = &mut self.framed;
        if reply.then == Then::Close {
            return Ok(Then::Close);
        }
        framed.encode_pushed().await?;
        match reply.frames {
            Frames::None => {}
            Frames::One(frame) => framed.io.encode(frame)?,
            Frames::Many(frames) => {
                for frame in frames {
                    framed.io.encode(frame)?;
                    framed.wait_for_write_capacity().await?;
                }
            }
            Frames::Later(..) => unreachable!("a later reply is written when it is ready"),
            Frames::Stream(mut frames) => {
                while let Some(frame) = framed.drive_frame(frames.next()).await? {
                    framed.io.encode(frame.map_err(CloseOutcome::from_service)?)?;
                    framed.wait_for_write_capacity().await?;
                }
            }
        }
        framed.wait_for_write_capacity().await?;
        Ok(reply.then)
    }

    /// Whether a task has requested to close the connection without writing its queued frames.
    fn is_closed_by_task(&self) -> bool {
        self.framed.io.connection.current_signal() == ControlSignal::Close
    }

    /// Queues the last message of the handler, behind everything else. False if there is none.
    fn queue_last_message(&mut self, reason: CloseReason) -> bool {
        if !takes_last_message(reason) {
            return false;
        }
        let message = catch_unwind(AssertUnwindSafe(|| self.calls.closing(reason)));
        let writer = &mut self.framed.io.writer;
        if !is_graceful(reason) {
            writer.discard_pushed();
        }
        message.ok().flatten().map(|frame| writer.outbox.push_last(frame)).is_some()
    }

    /// Calls the handler's `close`, writes the queued output and closes the transport.
    async fn close(&mut self, mut outcome: CloseOutcome) -> Result<(), BoxError> {
        let connection = self.framed.io.connection.clone();
        let has_last_message = self.queue_last_message(outcome.reason);
        let close_hook = AssertUnwindSafe(self.calls.close(outcome.reason)).catch_unwind();
        let framed = &mut self.framed;
        let close_transport = async {
            if let Some(failed) = framed.flush_remaining(outcome.reason).await {
                outcome = failed;
            }
            if has_last_message && !is_graceful(outcome.reason) {
                framed.write_last_message().await;
            }
            connection.finish(outcome.reason);
            framed.io.lingering_close(outcome.reason, has_last_message).await;
        };
        let close_transport = AssertUnwindSafe(close_transport).catch_unwind();
        // Concurrently: neither waits for the other.
        let close_hook = deadline_timer::timeout(CLOSE_HOOK_TIMEOUT, close_hook);
        let (close_hook, _) = futures_util::join!(close_hook, close_transport);
        if let Ok(Err(payload)) = close_hook {
            outcome.error.get_or_insert_with(|| Panicked::new(&*payload).into());
        }
        connection.finish(outcome.reason);
        outcome.error.map_or(Ok(()), Err)
    }
}
