//! The driver of a framed connection: greet, then read, handle and write until it ends.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use tower::Service;

use crate::connection::calls::{Calls, has_layers, layered, straight};
use crate::connection::end::End;
use crate::connection::wire::Wire;
use crate::error::BoxError;
use crate::framing::Framing;
use crate::handler::{Context, Frames, Handler, HandlerLayer, Reply, Then};
use crate::io::Incoming;
use crate::layer::{MessageStack, Panicked};
use crate::outbox::{Outbox, Pusher};
use crate::reason::CloseReason;
use crate::spec::{Limits, Timeouts};

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
        let wire = Wire::<F>::new(incoming, &self.framing, &self.limits, self.timeouts.clone(), outbox);
        let (handler, stack) = (self.handler.clone(), self.stack.clone());
        if has_layers::<L>() {
            let calls = layered(handler, context, &stack, &self.layer);
            Conversation { wire, calls }.run()
        } else {
            let calls = straight(handler, context, stack);
            Conversation { wire, calls }.run()
        }
    }
}

struct Conversation<F: Framing, C> {
    wire: Wire<F>,
    calls: C,
}

impl<F, C> Conversation<F, C>
where
    F: Framing,
    C: Calls<F::In, F::Out>,
{
    /// Not an `async fn`, whose future would have room for `self` twice.
    fn run(mut self) -> Driving {
        Box::pin(async move {
            // The handler, its streams, the codec: wherever it panics, the connection still ends in good order.
            let (end, discard) = match AssertUnwindSafe(self.hold()).catch_unwind().await {
                Ok(Ok(then)) => (End::plain(CloseReason::HandlerClosed), then == Then::Close),
                Ok(Err(end)) => (end, false),
                Err(payload) => (End::from_service(Panicked::new(&*payload).into()), false),
            };
            // In a box of its own, so that a connection does not carry its end about while it is open.
            Box::pin(self.wind_up(end, discard)).await
        })
    }

    /// Talks until the handler closes (`Ok`) or something else ends it.
    async fn hold(&mut self) -> Result<Then, End> {
        // What happens once, or seldom, is in a box: an open connection does not carry the room for it about.
        let mut then = Box::pin(self.greet()).await?;
        while then == Then::Continue {
            let Some(message) = self.wire.next_message()? else {
                self.wire.fill().await?;
                continue;
            };
            let reply = {
                let call = pin!(self.calls.message(message));
                self.wire.during(call).await?
            };
            let reply = match reply {
                Ok(reply) => reply,
                Err(error) => return Err(self.wire.failed(error)),
            };
            self.wire.handled();
            if let Some(slow) = self.queue(reply)?.map(|reply| Box::pin(self.deliver(reply))) {
                then = slow.await?;
            }
            self.wire.make_room().await?;
            if self.wire.has_had_its_turn() {
                self.wire.give_way().await?;
            }
        }
        Ok(then)
    }

    async fn greet(&mut self) -> Result<Then, End> {
        let greeting = self.wire.during(self.calls.open()).await?.map_err(End::from_service)?;
        self.deliver(greeting).await
    }

    /// Queues a reply of one frame at most that nothing must leave before, and that ends nothing, as most are. Any other is
    /// handed back.
    #[inline]
    fn queue(&mut self, reply: Reply<F::Out>) -> Result<Option<Reply<F::Out>>, End> {
        let Reply { frames, then } = reply;
        match frames {
            Frames::None if then == Then::Continue => Ok(None),
            Frames::One(frame) if then == Then::Continue && self.wire.nothing_pushed() => {
                self.wire.encode(frame)?;
                Ok(None)
            }
            frames => Ok(Some(Reply { frames, then })),
        }
    }

    /// Queues the frames of a reply, after what was pushed before it.
    async fn deliver(&mut self, reply: Reply<F::Out>) -> Result<Then, End> {
        let wire = &mut self.wire;
        if reply.then == Then::Close {
            return Ok(Then::Close);
        }
        wire.encode_pushed().await?;
        match reply.frames {
            Frames::None => {}
            Frames::One(frame) => wire.encode(frame)?,
            Frames::Many(frames) => {
                for frame in frames {
                    wire.encode(frame)?;
                    wire.make_room().await?;
                }
            }
            Frames::Stream(mut frames) => {
                while let Some(frame) = wire.during(frames.next()).await? {
                    wire.encode(frame.map_err(End::from_service)?)?;
                    wire.make_room().await?;
                }
            }
        }
        wire.make_room().await?;
        Ok(reply.then)
    }

    /// Ends in good order: the handler is told, what is queued is written where that still makes sense, the peer hears goodbye.
    async fn wind_up(&mut self, mut end: End, discard: bool) -> Result<(), BoxError> {
        // From here on nothing can be pushed, so what is written at the end is bounded.
        self.wire.close_outbox();
        let connection = self.wire.connection().clone();
        let told = AssertUnwindSafe(self.calls.close(end.reason)).catch_unwind();
        let wire = &mut self.wire;
        let closed = async {
            if let Some(failed) = wire.settle(end.reason, discard).await {
                end = failed;
            }
            connection.finish(end.reason);
            wire.farewell(end.reason).await;
        };
        let closed = AssertUnwindSafe(closed).catch_unwind();
        // Side by side: the last reply does not wait for the handler's farewell, nor the other way round.
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
