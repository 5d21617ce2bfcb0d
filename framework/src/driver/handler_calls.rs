//! How a driver calls the handler of a connection: directly, or through the message layers of the developer.

use std::any::TypeId;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;

use tower::Layer;

use crate::close_reason::CloseReason;
use crate::connection::Connection;
use crate::error::Result;
use crate::handler::{Context, Handler, HandlerCell, HandlerLayer, HandlerService, MessageService, Reply, Request};
use crate::layer::{CallLayer, MessageStack};

/// Calls the handler of one connection, one call at a time.
pub(crate) trait HandlerCalls<In, Out>: Send + 'static {
    fn open(&mut self) -> impl Future<Output = Result<Reply<Out>>> + Send;

    fn message(&mut self, message: In) -> impl Future<Output = Result<Reply<Out>>> + Send;

    fn close(&mut self, reason: CloseReason) -> impl Future<Output = ()> + Send;
}

/// Whether the developer added layers; `()` is the layer of a server without any. Monomorphized to a constant.
pub(crate) fn has_layers<L: 'static>() -> bool {
    TypeId::of::<L>() != TypeId::of::<()>()
}

/// Calls inside the default layers only. A call borrows its data and needs no allocation and no reference count.
pub(crate) fn direct<In: Send + 'static, Out: Send + 'static, H: Handler<In, Out>>(
    handler: Arc<H>,
    context: Context<H::State, Out>,
    stack: Arc<MessageStack>,
) -> impl HandlerCalls<In, Out> {
    Direct { connection: context.connection().clone(), handler, context, stack }
}

/// Calls inside the default layers and `layer`. A call goes through a tower service and owns its data.
pub(crate) fn layered<H, In, Out, L>(
    handler: Arc<H>,
    context: Context<H::State, Out>,
    stack: Arc<MessageStack>,
    layer: &L,
) -> impl HandlerCalls<In, Out> + use<H, In, Out, L>
where
    H: Handler<In, Out>,
    In: Send + 'static,
    Out: Send + 'static,
    L: HandlerLayer<H, In, Out>,
{
    let connection = context.connection().clone();
    let cell = HandlerCell::new(handler, context);
    let service = stack.layer(layer.layer(HandlerService::new(cell.clone())));
    Layered { cell, service, connection, stack }
}

struct Direct<H, S, Out> {
    handler: Arc<H>,
    context: Context<S, Out>,
    stack: Arc<MessageStack>,
    connection: Connection,
}

impl<In: Send + 'static, Out: Send + 'static, H: Handler<In, Out>> HandlerCalls<In, Out> for Direct<H, H::State, Out> {
    async fn open(&mut self) -> Result<Reply<Out>> {
        self.stack.timeout().wrap(&self.connection, self.handler.open(&mut self.context)).await
    }

    // Not an `async fn`: its future would store the message twice.
    fn message(&mut self, message: In) -> impl Future<Output = Result<Reply<Out>>> + Send {
        let Self { handler, context, stack, connection } = self;
        async move {
            // Pinned first, so that the layers move only a pointer.
            let call = pin!(handler.message(context, message));
            stack.wrap(connection, call).await
        }
    }

    async fn close(&mut self, reason: CloseReason) {
        self.handler.close(&mut self.context, reason).await;
    }
}

struct Layered<H, St, Out, S> {
    cell: Arc<HandlerCell<H, St, Out>>,
    service: S,
    connection: Connection,
    stack: Arc<MessageStack>,
}

impl<H, In, Out, S> HandlerCalls<In, Out> for Layered<H, H::State, Out, S>
where
    H: Handler<In, Out>,
    In: Send + 'static,
    Out: Send + 'static,
    S: MessageService<In, Out>,
{
    async fn open(&mut self) -> Result<Reply<Out>> {
        self.stack.timeout().wrap(&self.connection, self.cell.open()).await
    }

    async fn message(&mut self, message: In) -> Result<Reply<Out>> {
        poll_fn(|cx| self.service.poll_ready(cx)).await?;
        self.service.call(Request::new(message, self.connection.clone())).await
    }

    async fn close(&mut self, reason: CloseReason) {
        self.cell.close(reason).await;
    }
}
