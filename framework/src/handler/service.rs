//! A handler as the `tower::Service` that message layers wrap.
//!
//! A tower service returns a future that owns its data and has a named type. A handler borrows its context, and its
//! future has no name. So each connection keeps its [`CallState`] in a [`HandlerCell`]. A call takes the state, and
//! returns it when its future ends or is dropped. The next call reuses the allocation of the future: a message needs no
//! allocation and no lock.
//!
//! Without message layers, the driver calls the handler directly and needs none of this.

use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use bytes::Bytes;
use crossbeam_utils::atomic::AtomicCell;
use tokio_util::sync::ReusableBoxFuture;
use tower::{Layer, Service};

use crate::close_reason::CloseReason;
use crate::connection::Connection;
use crate::error::{BoxError, Result, debug_as_name};
use crate::handler::{Context, Handler, Reply};

/// One message and its connection: what a message layer sees.
#[derive(Debug)]
pub struct Request<In = Bytes> {
    /// The message.
    pub message: In,
    connection: Connection,
}

impl<In> Request<In> {
    /// A message of a connection.
    pub fn new(message: In, connection: Connection) -> Self {
        Self { message, connection }
    }

    /// The connection that the message arrived on.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// A service that answers messages. Implemented for every service with matching types; never implement it yourself.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a service for messages of type `{In}`",
    label = "implement `tower::Service<Request<{In}>>` with Response = Reply<{Out}> and Error = BoxError for it",
    note = "its `Future` must be `Send`, and the service itself `Send + 'static`"
)]
pub trait MessageService<In, Out>:
    Service<Request<In>, Response = Reply<Out>, Error = BoxError, Future: Send> + Send + 'static
{
}

#[diagnostic::do_not_recommend]
impl<S, In, Out> MessageService<In, Out> for S where
    S: Service<Request<In>, Response = Reply<Out>, Error = BoxError, Future: Send> + Send + 'static
{
}

/// What every layer must be: `Clone + Send + Sync + 'static`. Implemented for every such type.
#[diagnostic::on_unimplemented(
    message = "the layer `{Self}` must implement `Clone`, and be `Send + Sync + 'static`",
    label = "add `#[derive(Clone)]` to the layer",
    note = "each connection gets its own service from a clone of the layer"
)]
pub trait LayerBounds: Clone + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<L: Clone + Send + Sync + 'static> LayerBounds for L {}

/// A layer that can wrap the handler `H`. Implemented for every layer with matching types; never implement it yourself.
pub trait HandlerLayer<H: Handler<In, Out>, In: Send + 'static, Out: Send + 'static>:
    Layer<HandlerService<H, In, Out>, Service: MessageService<In, Out>> + LayerBounds
{
}

impl<L, H: Handler<In, Out>, In: Send + 'static, Out: Send + 'static> HandlerLayer<H, In, Out> for L where
    L: Layer<HandlerService<H, In, Out>, Service: MessageService<In, Out>> + LayerBounds
{
}

/// A [`Handler`] of one connection as a `tower::Service`.
pub struct HandlerService<H: Handler<In, Out>, In: Send + 'static, Out: Send + 'static> {
    cell: Arc<HandlerCell<H, H::State, Out>>,
    message: PhantomData<fn(In)>,
}

/// Keeps the call state of one connection between calls.
pub(crate) struct HandlerCell<H, S, Out>(AtomicCell<Option<Box<CallState<H, S, Out>>>>);

/// What a call needs besides its message.
struct CallState<H, S, Out> {
    handler: Arc<H>,
    context: Context<S, Out>,
    /// The allocation of the previous call's future.
    spare: Option<CallFuture<H, S, Out>>,
}

type CallFuture<H, S, Out> = ReusableBoxFuture<'static, (Result<Reply<Out>>, CallGuard<H, S, Out>)>;

/// Holds the call state during one call; puts it back into the cell when dropped.
struct CallGuard<H, S, Out> {
    state: Option<Box<CallState<H, S, Out>>>,
    cell: Arc<HandlerCell<H, S, Out>>,
}

/// A layer called the handler again before the previous call ended.
#[derive(Debug, thiserror::Error)]
#[error("the handler was called before its previous call had ended")]
struct CallInProgress;

impl<H, S, Out> HandlerCell<H, S, Out> {
    pub(crate) fn new(handler: Arc<H>, context: Context<S, Out>) -> Arc<Self> {
        Arc::new(Self(AtomicCell::new(Some(Box::new(CallState { handler, context, spare: None })))))
    }

    fn take(self: &Arc<Self>) -> Option<CallGuard<H, S, Out>> {
        let state = self.0.take()?;
        Some(CallGuard { state: Some(state), cell: self.clone() })
    }
}

impl<H, S, Out: Send + 'static> HandlerCell<H, S, Out> {
    pub(crate) async fn open<In: Send + 'static>(self: &Arc<Self>) -> Result<Reply<Out>>
    where
        H: Handler<In, Out, State = S>,
    {
        let mut guard = self.take().ok_or(CallInProgress)?;
        let CallState { handler, context, .. } = guard.state();
        handler.open(context).await
    }

    pub(crate) async fn secured<In: Send + 'static>(self: &Arc<Self>) -> Result<Reply<Out>>
    where
        H: Handler<In, Out, State = S>,
    {
        let mut guard = self.take().ok_or(CallInProgress)?;
        let CallState { handler, context, .. } = guard.state();
        handler.secured(context).await
    }

    pub(crate) async fn gap<In: Send + 'static>(self: &Arc<Self>, room: &str, missed: u64) -> Result<Reply<Out>>
    where
        H: Handler<In, Out, State = S>,
    {
        let mut guard = self.take().ok_or(CallInProgress)?;
        let CallState { handler, context, .. } = guard.state();
        handler.gap(context, room, missed).await
    }

    pub(crate) fn closing<In: Send + 'static>(self: &Arc<Self>, reason: CloseReason) -> Option<Out>
    where
        H: Handler<In, Out, State = S>,
    {
        let mut guard = self.take()?;
        let CallState { handler, context, .. } = guard.state();
        handler.closing(context, reason)
    }

    pub(crate) async fn close<In: Send + 'static>(self: &Arc<Self>, reason: CloseReason)
    where
        H: Handler<In, Out, State = S>,
    {
        // The state is missing if a layer leaked the future of a call.
        if let Some(mut guard) = self.take() {
            let CallState { handler, context, .. } = guard.state();
            handler.close(context, reason).await;
        }
    }
}

impl<H, S, Out> CallGuard<H, S, Out> {
    fn state(&mut self) -> &mut CallState<H, S, Out> {
        self.state.as_mut().expect("a guard has its state until it is dropped")
    }
}

impl<H, S, Out> Drop for CallGuard<H, S, Out> {
    fn drop(&mut self) {
        self.cell.0.store(self.state.take());
    }
}

impl<H: Handler<In, Out>, In: Send + 'static, Out: Send + 'static> HandlerService<H, In, Out> {
    pub(crate) fn new(cell: Arc<HandlerCell<H, H::State, Out>>) -> Self {
        Self { cell, message: PhantomData }
    }
}

impl<H: Handler<In, Out>, In: Send + 'static, Out: Send + 'static> Service<Request<In>> for HandlerService<H, In, Out> {
    type Response = Reply<Out>;
    type Error = BoxError;
    type Future = HandlerFuture<H, H::State, Out>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<In>) -> Self::Future {
        let Some(mut guard) = self.cell.take() else { return HandlerFuture(Some(Err(CallInProgress))) };
        let spare = guard.state().spare.take();
        let call = async move {
            let CallState { handler, context, .. } = guard.state();
            let reply = handler.message(context, request.message).await;
            (reply, guard)
        };
        HandlerFuture(Some(Ok(match spare {
            Some(mut spare) => {
                spare.set(call);
                spare
            }
            None => ReusableBoxFuture::new(call),
        })))
    }
}

/// One call of a handler. Dropping it early stops the handler at its current `.await`; the context is kept.
/// Panics if it is polled after completion.
pub struct HandlerFuture<H, S, Out>(Option<Result<CallFuture<H, S, Out>, CallInProgress>>);

impl<H, S, Out> Future for HandlerFuture<H, S, Out> {
    type Output = Result<Reply<Out>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let running = self.0.as_mut().expect("a handler call is not polled after completion");
        let (reply, mut guard) = match running {
            Ok(call) => ready!(call.poll(cx)),
            Err(CallInProgress) => return Poll::Ready(Err(CallInProgress.into())),
        };
        guard.state().spare = self.0.take().and_then(Result::ok);
        Poll::Ready(reply)
    }
}

debug_as_name!(HandlerFuture<H, S, Out>);
debug_as_name!(HandlerService<H, In, Out> where H: Handler<In, Out>, In: Send + 'static, Out: Send + 'static);
