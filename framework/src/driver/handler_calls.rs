//! How a driver calls the handler of a connection: directly, or through the message layers of the developer.

use std::any::TypeId;
use std::future::poll_fn;
use std::mem::take;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use tower::Layer;

use crate::close_reason::CloseReason;
use crate::connection::Connection;
use crate::error::Result;
use crate::handler::{Context, Handler, HandlerCell, HandlerLayer, HandlerService, MessageService, Reply, Request};
use crate::layer::{CallLayer, CallOutput, MessageStack};

/// Calls the handler of one connection, one call at a time.
pub(crate) trait HandlerCalls<In, Out>: Send + 'static {
    fn open(&mut self) -> impl Future<Output = Result<Reply<Out>>> + Send;

    /// A call for a message, and the layers for it.
    fn message(&mut self, message: In) -> (impl Future<Output = Result<Reply<Out>>> + Send, CallLayers<'_>);

    fn secured(&mut self) -> impl Future<Output = Result<Reply<Out>>> + Send;

    fn gap(&mut self, room: &str, missed: u64) -> impl Future<Output = Result<Reply<Out>>> + Send;

    fn closing(&mut self, reason: CloseReason) -> Option<Out>;

    fn close(&mut self, reason: CloseReason) -> impl Future<Output = ()> + Send;

    /// The default layers, with the limits of the listener.
    fn stack(&self) -> &MessageStack;
}

/// The default layers of one call. A call that is ready at its first poll mostly needs none of them, see
/// [`are_idle`](Self::are_idle).
pub(crate) struct CallLayers<'a>(Option<(&'a MessageStack, &'a Connection)>);

impl CallLayers<'_> {
    /// Whether the layers do nothing for a call that is ready at its first poll. Its panic must be caught all the same.
    #[inline]
    pub(crate) fn are_idle(&self) -> bool {
        self.0.is_none_or(|(stack, _)| stack.is_idle())
    }

    /// Puts the layers around a call. `is_polled`: it was polled and is pending.
    ///
    /// Not an `async fn`: its future would store the arguments twice.
    pub(crate) fn wrap<T: CallOutput>(
        self,
        mut call: Pin<&mut impl Future<Output = Result<T>>>,
        mut is_polled: bool,
    ) -> impl Future<Output = Result<T>> {
        let mut layers = self.0.map(|(stack, connection)| stack.begin(connection));
        poll_fn(move |cx| {
            let call = poll_fn(|cx| if take(&mut is_polled) { Poll::Pending } else { call.as_mut().poll(cx) });
            match &mut layers {
                Some(layers) => layers.poll(pin!(call), cx),
                None => pin!(call).poll(cx),
            }
        })
    }
}

/// Calls the handler for a message. The caller catches panics, also one before the future of the handler exists.
pub(crate) async fn call<In, Out: Send + 'static>(
    calls: &mut impl HandlerCalls<In, Out>,
    message: In,
) -> Result<Reply<Out>> {
    let (call, layers) = calls.message(message);
    let mut call = pin!(call);
    let is_idle = layers.are_idle();
    if is_idle && let Poll::Ready(result) = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await {
        return result;
    }
    layers.wrap(call, is_idle).await
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

    fn message(&mut self, message: In) -> (impl Future<Output = Result<Reply<Out>>> + Send, CallLayers<'_>) {
        let Self { handler, context, stack, connection } = self;
        (handler.message(context, message), CallLayers(Some((stack, connection))))
    }

    async fn secured(&mut self) -> Result<Reply<Out>> {
        self.stack.timeout().wrap(&self.connection, self.handler.secured(&mut self.context)).await
    }

    async fn gap(&mut self, room: &str, missed: u64) -> Result<Reply<Out>> {
        self.stack.timeout().wrap(&self.connection, self.handler.gap(&mut self.context, room, missed)).await
    }

    fn closing(&mut self, reason: CloseReason) -> Option<Out> {
        self.handler.closing(&mut self.context, reason)
    }

    async fn close(&mut self, reason: CloseReason) {
        self.handler.close(&mut self.context, reason).await;
    }

    fn stack(&self) -> &MessageStack {
        &self.stack
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

    /// The layers are a part of the service.
    fn message(&mut self, message: In) -> (impl Future<Output = Result<Reply<Out>>> + Send, CallLayers<'_>) {
        let Self { service, connection, .. } = self;
        let request = Request::new(message, connection.clone());
        let call = async move {
            poll_fn(|cx| service.poll_ready(cx)).await?;
            service.call(request).await
        };
        (call, CallLayers(None))
    }

    async fn secured(&mut self) -> Result<Reply<Out>> {
        self.stack.timeout().wrap(&self.connection, self.cell.secured()).await
    }

    async fn gap(&mut self, room: &str, missed: u64) -> Result<Reply<Out>> {
        self.stack.timeout().wrap(&self.connection, self.cell.gap(room, missed)).await
    }

    fn closing(&mut self, reason: CloseReason) -> Option<Out> {
        self.cell.closing(reason)
    }

    async fn close(&mut self, reason: CloseReason) {
        self.cell.close(reason).await;
    }

    fn stack(&self) -> &MessageStack {
        &self.stack
    }
}
