//! The driver of framed connections: opens the session, then reads, handles and replies until it closes.

use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use tower::Service;

use crate::close_reason::CloseReason;
use crate::deadline_timer;
use crate::driver::HandlerDriver;
use crate::driver::close_outcome::CloseOutcome;
use crate::driver::handler_calls::{HandlerCalls, direct, has_layers, layered};
use crate::driver::stream::framed_connection::FramedConnection;
use crate::driver::stream::framed_io::FramedIo;
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
            let ended = AssertUnwindSafe(self.run()).catch_unwind().await;
            // Rejects further pushes, so that the remaining output is bounded.
            self.framed.io.writer.outbox.close();
            if matches!(ended, Ok(Ok(Then::Close))) {
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
                self.framed.read_more().await?;
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
            io.message_handled();
            if let Some(send) = self.encode_simple(reply)?.map(|reply| Box::pin(self.send(reply))) {
                then = send.await?;
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
            Frames::One(frame) if then == Then::Continue && self.framed.io.writer.outbox.len() == 0 => {
                self.framed.io.encode(frame)?;
                Ok(None)
            }
            frames => Ok(Some(Reply { frames, then })),
        }
    }

    /// Encodes the frames of a reply after the frames pushed before it.
    async fn send(&mut self, reply: Reply<F::Out>) -> Result<Then, CloseOutcome> {
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
            Frames::Stream(mut frames) => {
                while let Some(frame) = framed.drive_while(frames.next()).await? {
                    framed.io.encode(frame.map_err(CloseOutcome::from_service)?)?;
                    framed.wait_for_write_capacity().await?;
                }
            }
        }
        framed.wait_for_write_capacity().await?;
        Ok(reply.then)
    }

    /// Calls the handler's `close`, writes the queued output and closes the transport.
    async fn close(&mut self, mut outcome: CloseOutcome) -> Result<(), BoxError> {
        let connection = self.framed.io.connection.clone();
        let close_hook = AssertUnwindSafe(self.calls.close(outcome.reason)).catch_unwind();
        let framed = &mut self.framed;
        let close_transport = async {
            if let Some(failed) = framed.flush_remaining(outcome.reason).await {
                outcome = failed;
            }
            connection.finish(outcome.reason);
            framed.io.lingering_close(outcome.reason).await;
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
