//! The driver of a framed connection: greet, then read, handle and write until it ends.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use tower::Service;

use crate::driver::close_outcome::CloseOutcome;
use crate::driver::handler_calls::{HandlerCalls, direct, has_layers, layered};
use crate::driver::stream::framed_connection::FramedConnection;
use crate::error::BoxError;
use crate::framing::Framing;
use crate::handler::{Context, Frames, Handler, HandlerLayer, Reply, Then};
use crate::layer::{MessageStack, Panicked};
use crate::outbox::{Outbox, Pusher};
use crate::reason::CloseReason;
use crate::settings::{Limits, Timeouts};
use crate::transport::Incoming;

/// How long `Handler::close` may take.
const CLOSE_HOOK: Duration = Duration::from_secs(1);

/// Drives framed connections: one call a connection.
pub(crate) struct StreamDriver<H, F, L> {
    pub(crate) handler: Arc<H>,
    pub(crate) framing: Arc<F>,
    pub(crate) stack: Arc<MessageStack>,
    /// The layers inside of the stack, outermost first; each connection gets services of its own from them.
    pub(crate) layer: L,
    pub(crate) limits: Limits,
    pub(crate) timeouts: Arc<Timeouts>,
}

/// A connection from its first byte to its last.
type Driving = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

impl<H, F, L> Service<Incoming> for StreamDriver<H, F, L>
where
    F: Framing,
    H: Handler<F::In, F::Out>,
    L: HandlerLayer<H, F::In, F::Out>,
{
    type Response = ();
    type Error = BoxError;
    type Future = Driving;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, incoming: Incoming) -> Self::Future {
        let outbox = Arc::new(Outbox::new(self.limits.outbox));
        let pusher = Pusher::to_stream(incoming.connection.clone(), outbox.clone());
        let context = Context::new(H::State::default(), pusher);
        let framed = FramedConnection::<F>::new(incoming, &self.framing, &self.limits, self.timeouts.clone(), outbox);
        let (handler, stack) = (self.handler.clone(), self.stack.clone());
        if has_layers::<L>() {
            let calls = layered(handler, context, &stack, &self.layer);
            StreamSession { framed, calls }.run()
        } else {
            let calls = direct(handler, context, stack);
            StreamSession { framed, calls }.run()
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
    /// Not an `async fn`, whose future would have room for `self` twice.
    fn run(mut self) -> Driving {
        Box::pin(async move {
            // The handler, its streams, the codec: wherever it panics, the connection still ends in good order.
            let (end, discard) = match AssertUnwindSafe(self.hold()).catch_unwind().await {
                Ok(Ok(then)) => (CloseOutcome::plain(CloseReason::HandlerClosed), then == Then::Close),
                Ok(Err(end)) => (end, false),
                Err(payload) => (CloseOutcome::from_service(Panicked::new(&*payload).into()), false),
            };
            // In a box of its own, so that a connection does not carry its end about while it is open.
            Box::pin(self.wind_up(end, discard)).await
        })
    }

    /// Talks until the handler closes (`Ok`) or something else ends it.
    async fn hold(&mut self) -> Result<Then, CloseOutcome> {
        // What happens once, or seldom, is in a box: an open connection does not carry the room for it about.
        let mut then = Box::pin(self.greet()).await?;
        while then == Then::Continue {
            let Some(message) = self.framed.next_message()? else {
                self.framed.fill().await?;
                continue;
            };
            let reply = {
                let call = pin!(self.calls.message(message));
                self.framed.during(call).await?
            };
            let reply = match reply {
                Ok(reply) => reply,
                Err(error) => return Err(self.framed.failed(error)),
            };
            self.framed.handled();
            if let Some(slow) = self.queue(reply)?.map(|reply| Box::pin(self.deliver(reply))) {
                then = slow.await?;
            }
            self.framed.make_room().await?;
            if self.framed.has_had_its_turn() {
                self.framed.give_way().await?;
            }
        }
        Ok(then)
    }

    async fn greet(&mut self) -> Result<Then, CloseOutcome> {
        let greeting = self.framed.during(self.calls.open()).await?.map_err(CloseOutcome::from_service)?;
        self.deliver(greeting).await
    }

    /// Queues a reply of one frame at most that nothing must leave before, and that ends nothing, as most are. Any other is
    /// handed back.
    #[inline]
    fn queue(&mut self, reply: Reply<F::Out>) -> Result<Option<Reply<F::Out>>, CloseOutcome> {
        let Reply { frames, then } = reply;
        match frames {
            Frames::None if then == Then::Continue => Ok(None),
            Frames::One(frame) if then == Then::Continue && self.framed.nothing_pushed() => {
                self.framed.encode(frame)?;
                Ok(None)
            }
            frames => Ok(Some(Reply { frames, then })),
        }
    }

    /// Queues the frames of a reply, after what was pushed before it.
    async fn deliver(&mut self, reply: Reply<F::Out>) -> Result<Then, CloseOutcome> {
        let framed = &mut self.framed;
        if reply.then == Then::Close {
            return Ok(Then::Close);
        }
        framed.encode_pushed().await?;
        match reply.frames {
            Frames::None => {}
            Frames::One(frame) => framed.encode(frame)?,
            Frames::Many(frames) => {
                for frame in frames {
                    framed.encode(frame)?;
                    framed.make_room().await?;
                }
            }
            Frames::Stream(mut frames) => {
                while let Some(frame) = framed.during(frames.next()).await? {
                    framed.encode(frame.map_err(CloseOutcome::from_service)?)?;
                    framed.make_room().await?;
                }
            }
        }
        framed.make_room().await?;
        Ok(reply.then)
    }

    /// Ends in good order: the handler is told, what is queued is written where that still makes sense, the peer hears goodbye.
    async fn wind_up(&mut self, mut end: CloseOutcome, discard: bool) -> Result<(), BoxError> {
        // From here on nothing can be pushed, so what is written at the end is bounded.
        self.framed.close_outbox();
        let connection = self.framed.connection().clone();
        let told = AssertUnwindSafe(self.calls.close(end.reason)).catch_unwind();
        let framed = &mut self.framed;
        let closed = async {
            if let Some(failed) = framed.settle(end.reason, discard).await {
                end = failed;
            }
            connection.finish(end.reason);
            framed.lingering_close(end.reason).await;
        };
        let closed = AssertUnwindSafe(closed).catch_unwind();
        // Side by side: the last reply does not wait for the handler's lingering_close, nor the other way round.
        let (told, _) = futures_util::join!(tokio::time::timeout(CLOSE_HOOK, told), closed);
        if let Ok(Err(payload)) = told {
            end.error.get_or_insert_with(|| Panicked::new(&*payload).into());
        }
        connection.finish(end.reason);
        end.error.map_or(Ok(()), Err)
    }
}

impl<H, F, L> Clone for StreamDriver<H, F, L>
where
    L: Clone,
{
    fn clone(&self) -> Self {
        Self {
            handler: self.handler.clone(),
            framing: self.framing.clone(),
            stack: self.stack.clone(),
            layer: self.layer.clone(),
            limits: self.limits,
            timeouts: self.timeouts.clone(),
        }
    }
}

impl<H, F, L> fmt::Debug for StreamDriver<H, F, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamDriver")
    }
}
