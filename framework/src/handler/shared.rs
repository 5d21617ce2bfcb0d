//! An `Arc` of a handler is a handler: keep a clone to share the handler with other code.

use std::sync::Arc;

use crate::connection::Connection;
use crate::error::Result;
use crate::handler::{ByteStream, Context, Handler, Needs, Reply, StreamHandler};
use crate::reason::CloseReason;

impl<H, In, Out> Handler<In, Out> for Arc<H>
where
    H: Handler<In, Out>,
    In: Send + 'static,
    Out: Send + 'static,
{
    const NEEDS: Needs = H::NEEDS;
    type State = H::State;

    fn open(&self, cx: &mut Context<H::State, Out>) -> impl Future<Output = Result<Reply<Out>>> + Send {
        H::open(self, cx)
    }

    fn message(&self, cx: &mut Context<H::State, Out>, message: In) -> impl Future<Output = Result<Reply<Out>>> + Send {
        H::message(self, cx, message)
    }

    fn close(&self, cx: &mut Context<H::State, Out>, reason: CloseReason) -> impl Future<Output = ()> + Send {
        H::close(self, cx, reason)
    }
}

impl<H: StreamHandler> StreamHandler for Arc<H> {
    fn serve(&self, connection: Connection, stream: ByteStream) -> impl Future<Output = Result<()>> + Send {
        H::serve(self, connection, stream)
    }
}
