//! A handler as a `tower::Service`: the innermost of the message seam.
//!
//! tower wants a future that owns everything and whose type has a name; a handler borrows its context and its future has
//! none. So each connection has a [`HandlerCell`] with a [`CallState`]: a call takes the kit, and puts it back when its future ends or is
//! dropped. The future's allocation waits in the kit for the next call: a message costs none, and no lock.
//!
//! Around a handler without layers of its developer nothing of this is needed: its driver calls it straight.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, ready};

use bytes::Bytes;
use crossbeam_utils::atomic::AtomicCell;
use tokio_util::sync::ReusableBoxFuture;
use tower::{Layer, Service};

use crate::connection::Connection;
use crate::error::{BoxError, Result};
use crate::handler::{Context, Handler, Reply};
use crate::reason::CloseReason;

/// One message on its way to the handler: the request of the message seam.
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

    /// Who sent it.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// Any service of the message seam. Implemented for all that fit; there is nothing to implement.
pub trait MessageService<In, Out>:
    Service<Request<In>, Response = Reply<Out>, Error = BoxError, Future: Send> + Send + 'static
{
}

impl<S, In, Out> MessageService<In, Out> for S where
    S: Service<Request<In>, Response = Reply<Out>, Error = BoxError, Future: Send> + Send + 'static
{
}

/// Any layer that can stand around the handler `H`. Implemented for all that fit; there is nothing to implement.
pub trait HandlerLayer<H, In, Out>:
    Layer<HandlerService<H, In, Out>, Service: MessageService<In, Out>> + Clone + Send + Sync + 'static
where
    H: Handler<In, Out>,
    In: Send + 'static,
    Out: Send + 'static,
{
}

impl<L, H, In, Out> HandlerLayer<H, In, Out> for L
where
    L: Layer<HandlerService<H, In, Out>, Service: MessageService<In, Out>> + Clone + Send + Sync + 'static,
    H: Handler<In, Out>,
    In: Send + 'static,
    Out: Send + 'static,
{
}

/// A [`Handler`] at work for one connection, as a `tower::Service`.
pub struct HandlerService<H, In, Out>
where
    H: Handler<In, Out>,
    In: Send + 'static,
    Out: Send + 'static,
{
    seat: Arc<HandlerCell<H, H::State, Out>>,
    _in: std::marker::PhantomData<fn(In)>,
}

/// Where the kit of one connection lies between calls.
pub(crate) struct HandlerCell<H, S, Out>(AtomicCell<Option<Box<CallState<H, S, Out>>>>);

/// What a call needs besides its message.
struct CallState<H, S, Out> {
    handler: Arc<H>,
    context: Context<S, Out>,
    /// The allocation of the last call's future.
    spare: Option<Work<H, S, Out>>,
}

type Work<H, S, Out> = ReusableBoxFuture<'static, (Result<Reply<Out>>, CallGuard<H, S, Out>)>;

/// A kit on loan; goes back to its seat when dropped.
struct CallGuard<H, S, Out> {
    kit: Option<Box<CallState<H, S, Out>>>,
    seat: Arc<HandlerCell<H, S, Out>>,
}

/// The kit is still with a call that has not ended.
#[derive(Debug, thiserror::Error)]
#[error("a message came while the one before it was still being handled")]
struct StillBusy;

impl<H, S, Out> HandlerCell<H, S, Out> {
    pub(crate) fn new(handler: Arc<H>, context: Context<S, Out>) -> Arc<Self> {
        Arc::new(Self(AtomicCell::new(Some(Box::new(CallState { handler, context, spare: None })))))
    }

    fn take(self: &Arc<Self>) -> Option<CallGuard<H, S, Out>> {
        let kit = self.0.take()?;
        Some(CallGuard { kit: Some(kit), seat: self.clone() })
    }

    pub(crate) async fn open<In>(self: &Arc<Self>) -> Result<Reply<Out>>
    where
        H: Handler<In, Out, State = S>,
        In: Send + 'static,
        Out: Send + 'static,
    {
        let mut loan = self.take().ok_or(StillBusy)?;
        let CallState { handler, context, .. } = loan.kit();
        handler.open(context).await
    }

    pub(crate) async fn close<In>(self: &Arc<Self>, reason: CloseReason)
    where
        H: Handler<In, Out, State = S>,
        In: Send + 'static,
        Out: Send + 'static,
    {
        // A call whose future was leaked by a layer still has it; then there is nothing to close with.
        if let Some(mut loan) = self.take() {
            let CallState { handler, context, .. } = loan.kit();
            handler.close(context, reason).await;
        }
    }
}

impl<H, S, Out> CallGuard<H, S, Out> {
    fn kit(&mut self) -> &mut CallState<H, S, Out> {
        self.kit.as_mut().expect("a loan has its kit until it is dropped")
    }
}

impl<H, S, Out> Drop for CallGuard<H, S, Out> {
    fn drop(&mut self) {
        self.seat.0.store(self.kit.take());
    }
}

impl<H, In, Out> HandlerService<H, In, Out>
where
    H: Handler<In, Out>,
    In: Send + 'static,
    Out: Send + 'static,
{
    pub(crate) fn new(seat: Arc<HandlerCell<H, H::State, Out>>) -> Self {
        Self { seat, _in: std::marker::PhantomData }
    }
}

impl<H, In, Out> Service<Request<In>> for HandlerService<H, In, Out>
where
    H: Handler<In, Out>,
    In: Send + 'static,
    Out: Send + 'static,
{
    type Response = Reply<Out>;
    type Error = BoxError;
    type Future = HandlerFuture<H, H::State, Out>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<In>) -> Self::Future {
        let Some(mut loan) = self.seat.take() else { return HandlerFuture(Call::Refused) };
        let spare = loan.kit().spare.take();
        let work = async move {
            let CallState { handler, context, .. } = loan.kit();
            let reply = handler.message(context, request.message).await;
            (reply, loan)
        };
        HandlerFuture(Call::UnderWay(match spare {
            Some(mut spare) => {
                spare.set(work);
                spare
            }
            None => ReusableBoxFuture::new(work),
        }))
    }
}

/// One call of a handler. Dropped early, it stops the handler where it waits; the context is back in its seat. Polled again
/// after its end, it panics.
pub struct HandlerFuture<H, S, Out>(Call<H, S, Out>);

enum Call<H, S, Out> {
    /// The call before it has not ended.
    Refused,
    UnderWay(Work<H, S, Out>),
    Ended,
}

impl<H, S, Out> Future for HandlerFuture<H, S, Out> {
    type Output = Result<Reply<Out>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let (reply, mut loan) = match &mut self.0 {
            Call::UnderWay(work) => ready!(work.poll(cx)),
            Call::Refused => return Poll::Ready(Err(StillBusy.into())),
            Call::Ended => panic!("a call was polled after it had ended"),
        };
        if let Call::UnderWay(work) = std::mem::replace(&mut self.0, Call::Ended) {
            loan.kit().spare = Some(work);
        }
        Poll::Ready(reply)
    }
}

impl<H, S, Out> fmt::Debug for HandlerFuture<H, S, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandlerFuture")
    }
}

impl<H, In, Out> fmt::Debug for HandlerService<H, In, Out>
where
    H: Handler<In, Out>,
    In: Send + 'static,
    Out: Send + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandlerService")
    }
}
