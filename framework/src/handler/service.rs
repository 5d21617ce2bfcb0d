//! A handler as a `tower::Service`: the innermost of the message seam.
//!
//! tower wants a future that owns everything and whose type has a name; a handler borrows its context and its future has
//! none. So each connection has a [`Seat`]: a call takes the context out of it and puts it back when its future ends or is
//! dropped. The future's allocation waits in the seat for the next call: a message costs none.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll, ready};

use bytes::Bytes;
use tokio_util::sync::ReusableBoxFuture;
use tower::{Layer, Service};

use crate::error::{BoxError, Result};
use crate::handler::{Context, Handler, Reply};
use crate::lock::lock;
use crate::reason::CloseReason;
use crate::roster::Connection;

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
    handler: Arc<H>,
    seat: Arc<Seat<H::State, Out>>,
    _in: std::marker::PhantomData<fn(In)>,
}

/// Where the context of one connection sits between calls.
pub(crate) struct Seat<S, Out>(Mutex<Slot<S, Out>>);

struct Slot<S, Out> {
    context: Option<Box<Context<S, Out>>>,
    spare: Option<Work<Out>>,
}

type Work<Out> = ReusableBoxFuture<'static, Result<Reply<Out>>>;

/// A context on loan; goes back to its seat when dropped.
struct Loan<S, Out> {
    context: Option<Box<Context<S, Out>>>,
    seat: Arc<Seat<S, Out>>,
}

/// The context is still with a call that has not ended.
#[derive(Debug, thiserror::Error)]
#[error("a message came while the one before it was still being handled")]
struct StillBusy;

impl<S, Out> Seat<S, Out> {
    pub(crate) fn new(context: Context<S, Out>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Slot { context: Some(Box::new(context)), spare: None })))
    }
}

impl<S, Out> Seat<S, Out> {
    fn take(self: &Arc<Self>) -> Result<Loan<S, Out>, StillBusy> {
        let context = lock(&self.0).context.take().ok_or(StillBusy)?;
        Ok(Loan { context: Some(context), seat: self.clone() })
    }

    pub(crate) async fn open<H, In>(self: &Arc<Self>, handler: &H) -> Result<Reply<Out>>
    where
        H: Handler<In, Out, State = S>,
        In: Send + 'static,
        Out: Send + 'static,
    {
        let mut context = self.take()?;
        handler.open(&mut context).await
    }

    pub(crate) async fn close<H, In>(self: &Arc<Self>, handler: &H, reason: CloseReason)
    where
        H: Handler<In, Out, State = S>,
        In: Send + 'static,
        Out: Send + 'static,
    {
        // A call whose future was leaked by a layer still has it; then there is nothing to close with.
        if let Ok(mut context) = self.take() {
            handler.close(&mut context, reason).await;
        }
    }
}

impl<S, Out> Deref for Loan<S, Out> {
    type Target = Context<S, Out>;

    fn deref(&self) -> &Context<S, Out> {
        self.context.as_ref().expect("a loan has its context until it is dropped")
    }
}

impl<S, Out> DerefMut for Loan<S, Out> {
    fn deref_mut(&mut self) -> &mut Context<S, Out> {
        self.context.as_mut().expect("a loan has its context until it is dropped")
    }
}

impl<S, Out> Drop for Loan<S, Out> {
    fn drop(&mut self) {
        lock(&self.seat.0).context = self.context.take();
    }
}

impl<H, In, Out> HandlerService<H, In, Out>
where
    H: Handler<In, Out>,
    In: Send + 'static,
    Out: Send + 'static,
{
    pub(crate) fn new(handler: Arc<H>, seat: Arc<Seat<H::State, Out>>) -> Self {
        Self { handler, seat, _in: std::marker::PhantomData }
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
    type Future = HandlerFuture<H::State, Out>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<In>) -> Self::Future {
        let handler = self.handler.clone();
        let (context, spare) = {
            let mut slot = lock(&self.seat.0);
            (slot.context.take(), slot.spare.take())
        };
        let loan = context.map(|context| Loan { context: Some(context), seat: self.seat.clone() });
        let work = async move {
            let mut context = loan.ok_or(StillBusy)?;
            handler.message(&mut context, request.message).await
        };
        let work = match spare {
            Some(mut spare) => {
                spare.set(work);
                spare
            }
            None => ReusableBoxFuture::new(work),
        };
        HandlerFuture { work: Some(work), seat: self.seat.clone() }
    }
}

/// One call of a handler. Dropped early, it stops the handler where it waits; the context is back in its seat.
pub struct HandlerFuture<S, Out> {
    work: Option<Work<Out>>,
    seat: Arc<Seat<S, Out>>,
}

impl<S, Out> Future for HandlerFuture<S, Out> {
    type Output = Result<Reply<Out>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let work = self.work.as_mut().expect("polled after it had ended");
        let reply = ready!(work.poll(cx));
        // Ended: it holds nothing of the seat any more, so the seat may hold it.
        let work = self.work.take();
        lock(&self.seat.0).spare = work;
        Poll::Ready(reply)
    }
}

impl<S, Out> fmt::Debug for HandlerFuture<S, Out> {
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
