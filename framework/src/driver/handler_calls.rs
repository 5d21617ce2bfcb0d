//! How messages reach the handler of a connection: straight, or through the layers that its developer has added.

use std::any::TypeId;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use tower::Layer;

use crate::connection::Connection;
use crate::error::Result;
use crate::handler::{Context, Handler, HandlerCell, HandlerLayer, HandlerService, MessageService, Reply, Request};
use crate::layer::{MessageStack, Timeout};
use crate::reason::CloseReason;

/// The calls of one connection's handler: one at a time.
pub(crate) trait HandlerCalls<In, Out>: Send + 'static {
    /// It has opened. A call like any other, under the same deadline.
    fn open(&mut self) -> impl Future<Output = Result<Reply<Out>>> + Send;

    /// A message has come.
    fn message(&mut self, message: In) -> impl Future<Output = Result<Reply<Out>>> + Send;

    /// It has ended.
    fn close(&mut self, reason: CloseReason) -> impl Future<Output = ()> + Send;
}

/// The calls of a handler with the layers `L` of its developer: without any, they are [`straight`].
pub(crate) fn has_layers<L: 'static>() -> bool {
    TypeId::of::<L>() != TypeId::of::<()>()
}

/// Under the default stack alone: a call borrows what it needs, and costs no box and no count.
pub(crate) fn direct<H, In, Out>(
    handler: Arc<H>,
    context: Context<H::State, Out>,
    stack: Arc<MessageStack>,
) -> impl HandlerCalls<In, Out>
where
    H: Handler<In, Out>,
    In: Send + 'static,
    Out: Send + 'static,
{
    Direct { connection: context.connection().clone(), handler, context, stack }
}

/// Through further layers: a call is of a service of tower's, and owns what it needs.
pub(crate) fn layered<H, In, Out, L>(
    handler: Arc<H>,
    context: Context<H::State, Out>,
    stack: &MessageStack,
    layer: &L,
) -> impl HandlerCalls<In, Out> + use<H, In, Out, L>
where
    H: Handler<In, Out>,
    In: Send + 'static,
    Out: Send + 'static,
    L: HandlerLayer<H, In, Out>,
{
    let connection = context.connection().clone();
    let seat = HandlerCell::new(handler, context);
    let service = stack.layer(layer.layer(HandlerService::new(seat.clone())));
    Layered { seat, service, connection, deadline: stack.deadline() }
}

struct Direct<H, S, Out> {
    handler: Arc<H>,
    context: Context<S, Out>,
    stack: Arc<MessageStack>,
    connection: Connection,
}

impl<H, In, Out> HandlerCalls<In, Out> for Direct<H, H::State, Out>
where
    H: Handler<In, Out>,
    In: Send + 'static,
    Out: Send + 'static,
{
    async fn open(&mut self) -> Result<Reply<Out>> {
        self.stack.deadline().around(self.handler.open(&mut self.context)).await
    }

    // Not an `async fn`, whose future would have room for the message once more.
    fn message(&mut self, message: In) -> impl Future<Output = Result<Reply<Out>>> + Send {
        let Self { handler, context, stack, connection } = self;
        async move {
            // Pinned first: what the layers pass on is small.
            let call = pin!(handler.message(context, message));
            stack.around(connection, call).await
        }
    }

    async fn close(&mut self, reason: CloseReason) {
        self.handler.close(&mut self.context, reason).await;
    }
}

struct Layered<H, St, Out, S> {
    seat: Arc<HandlerCell<H, St, Out>>,
    service: S,
    connection: Connection,
    deadline: Timeout,
}

impl<H, In, Out, S> HandlerCalls<In, Out> for Layered<H, H::State, Out, S>
where
    H: Handler<In, Out>,
    In: Send + 'static,
    Out: Send + 'static,
    S: MessageService<In, Out>,
{
    async fn open(&mut self) -> Result<Reply<Out>> {
        self.deadline.around(self.seat.open()).await
    }

    async fn message(&mut self, message: In) -> Result<Reply<Out>> {
        poll_fn(|cx| self.service.poll_ready(cx)).await?;
        self.service.call(Request::new(message, self.connection.clone())).await
    }

    async fn close(&mut self, reason: CloseReason) {
        self.seat.close(reason).await;
    }
}
