//! The driver of framed connections: opens the session, then reads, handles and replies until it closes.

use std::any::Any;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use futures_util::FutureExt;
use tower::Service;

use crate::driver::HandlerDriver;
use crate::driver::close_outcome::CloseOutcome;
use crate::driver::handler_calls::{HandlerCalls, direct, has_layers, layered};
use crate::driver::stream::framed_connection::FramedConnection;
use crate::driver::stream::framed_io::FramedIo;
#[cfg(feature = "script")]
use crate::driver::stream::recorded::close_after;
use crate::error::{BoxError, Result};
use crate::framing::{BoxFraming, Framing};
use crate::handler::{Context, Frames, Handler, HandlerLayer, Reply, Then};
use crate::outbox::{self, Outbox};
use crate::push_queue::Pusher;
use crate::transport::{Incoming, SessionFuture};

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
        let outbox = Arc::new(Outbox::new(self.limits.outbox, incoming.connection.clone()));
        let pusher = Pusher::to_stream(incoming.connection.clone(), outbox.clone());
        let context = Context::new(H::State::default(), pusher);
        let io = FramedIo::new(incoming, &*self.framing, &self.limits, self.timeouts.clone(), outbox);
        let framed = FramedConnection::new(io);
        let (handler, stack) = (self.handler.clone(), self.stack.clone());
        #[cfg(feature = "script")]
        if let Some(recorded) = &self.recorded {
            let connection = framed.io.connection.clone();
            let recording = recorded.begin(&connection);
            let framed = framed.recorded(recording.clone());
            let session = if has_layers::<L>() {
                StreamSession { framed, calls: layered(handler, context, stack, &self.layer) }.drive()
            } else {
                StreamSession { framed, calls: direct(handler, context, stack) }.drive()
            };
            return close_after(session, connection, recording);
        }
        if has_layers::<L>() {
            let calls = layered(handler, context, stack, &self.layer);
            StreamSession { framed, calls }.drive()
        } else {
            let calls = direct(handler, context, stack);
            StreamSession { framed, calls }.drive()
        }
    }
}

pub(super) struct StreamSession<F: Framing, C> {
    pub(super) framed: FramedConnection<F>,
    pub(super) calls: C,
}

/// What a session does next.
pub(super) enum Flow<F: Framing> {
    Continue,
    Finish,
    Close,
    /// Continues with another framing.
    Framing(Box<BoxFraming<F::In, F::Out>>),
}

/// How a session ended; the outer error is the payload of a panic.
pub(super) type Ended<F> = Result<Result<Flow<F>, CloseOutcome>, Box<dyn Any + Send>>;

impl<F, C> StreamSession<F, C>
where
    F: Framing,
    C: HandlerCalls<F::In, F::Out>,
{
    /// Not an `async fn`: its future would store `self` twice.
    fn drive(mut self) -> SessionFuture {
        Box::pin(async move {
            // Rare steps are boxed: an open connection does not reserve memory for them. A panic in the handler, its
            // streams or the codec closes only this connection.
            match AssertUnwindSafe(Box::pin(self.open())).catch_unwind().await {
                Ok(Ok(Flow::Continue)) => {}
                ended => return self.conclude(ended).await,
            }
            let ended = AssertUnwindSafe(self.run()).catch_unwind().await;
            self.conclude(ended).await
        })
    }

    /// Closes the connection, or continues with another framing.
    fn conclude(mut self, ended: Ended<F>) -> SessionFuture {
        Box::pin(async move {
            match ended {
                Ok(Ok(Flow::Framing(framing))) => self.drive_with(framing).await,
                ended => self.end(ended).await,
            }
        })
    }

    /// Drives the session with framings that the handler chooses.
    async fn drive_with(self, mut framing: Box<BoxFraming<F::In, F::Out>>) -> Result<(), BoxError> {
        let Self { framed, calls } = self;
        let frame_limit = calls.stack().limits.frame;
        let mut session = StreamSession { framed: framed.with_other_framing(&framing, frame_limit), calls };
        loop {
            match AssertUnwindSafe(session.run()).catch_unwind().await {
                Ok(Ok(Flow::Framing(next))) => framing = next,
                ended => return session.end(ended).await,
            }
            let StreamSession { framed, calls } = session;
            session = StreamSession { framed: framed.with_other_framing(&framing, frame_limit), calls };
        }
    }

    async fn open(&mut self) -> Result<Flow<F>, CloseOutcome> {
        let reply = self.framed.drive_while(pin!(self.calls.open())).await?.map_err(CloseOutcome::from_service)?;
        self.send(reply).await
    }

    /// Handles messages until the handler closes the connection or changes the framing (`Ok`), or something else ends
    /// it.
    #[expect(clippy::manual_async_fn, reason = "the future of an async fn would store self twice")]
    fn run(&mut self) -> impl Future<Output = Result<Flow<F>, CloseOutcome>> {
        async move {
            loop {
                let Some(message) = self.framed.io.next_message()? else {
                    if self.framed.has_other_work() {
                        match Box::pin(self.read_or_reply()).await? {
                            Flow::Continue => {}
                            ended => return Ok(ended),
                        }
                    } else {
                        self.framed.read_more().await?;
                    }
                    continue;
                };
                let reply = 'reply: {
                    self.framed.is_calling = true; // the handler can panic before it returns a future
                    let (call, layers) = self.calls.message(message);
                    let mut call = pin!(call);
                    let is_idle = layers.are_idle();
                    let framed = &mut self.framed;
                    // Most replies are ready immediately and small: they are encoded where they are.
                    let first = poll_fn(|cx| {
                        let first = if is_idle { call.as_mut().poll(cx) } else { Poll::Pending };
                        framed.is_calling = false;
                        Poll::Ready(first.map(|result| framed.encode_simple(result)))
                    });
                    if let Poll::Ready(reply) = first.await {
                        break 'reply reply?;
                    }
                    let call = Box::pin(layers.wrap(call, is_idle));
                    let result = self.framed.drive_while(pin!(call)).await;
                    let FramedIo { latency, connection, .. } = &mut self.framed.io;
                    let result = result.inspect_err(|_| latency.message_dropped(connection))?;
                    let reply = self.framed.encode_simple(result)?;
                    if reply.is_none() {
                        self.framed.message_handled();
                    }
                    reply
                };
                if let Some(reply) = reply {
                    match Box::pin(self.send(*reply)).await? {
                        Flow::Continue => {}
                        ended => return Ok(ended),
                    }
                }
                // Checked here too: the call of a function that is not inlined costs more than the check.
                if !self.framed.io.writer.has_capacity() {
                    self.framed.wait_for_write_capacity().await?;
                }
                if self.framed.io.should_yield() {
                    self.framed.yield_now().await?;
                }
            }
        }
    }
}

impl<F: Framing> FramedConnection<F> {
    /// Encodes a reply with at most one frame that continues the session and follows no pushed frames: the common case.
    /// Returns any other reply, boxed: the future of the session has no room for it.
    #[inline(always)] // twice in the session, and a function of its own costs 35 instructions
    fn encode_simple(&mut self, result: Result<Reply<F::Out>>) -> Result<Option<Box<Reply<F::Out>>>, CloseOutcome> {
        match result {
            Ok(Reply { frames: Frames::None, then: Then::Continue }) => Ok(None),
            Ok(Reply { frames: Frames::One(frame), then: Then::Continue }) if outbox::is_clear(&self.io.connection) => {
                self.io.encode(frame)?;
                Ok(None)
            }
            Ok(reply) => Ok(Some(Box::new(reply))),
            Err(error) => Err(self.io.latency.message_failed(&self.io.connection, error)),
        }
    }
}
