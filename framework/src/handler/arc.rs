//! An `Arc` of a handler is a handler.

use std::sync::Arc;

use bytes::BytesMut;

use crate::close_reason::CloseReason;
use crate::connection::Connection;
use crate::direction::Direction;
use crate::error::Result;
use crate::handler::{ByteStream, Context, Handler, Needs, Reply, StartContext, StreamHandler};

impl<H: Handler<In, Out>, In: Send + 'static, Out: Send + 'static> Handler<In, Out> for Arc<H> {
    const NEEDS: Needs = H::NEEDS;
    type State = H::State;

    fn open(&self, cx: &mut Context<H::State, Out>) -> impl Future<Output = Result<Reply<Out>>> + Send {
        H::open(self, cx)
    }

    fn message(&self, cx: &mut Context<H::State, Out>, message: In) -> impl Future<Output = Result<Reply<Out>>> + Send {
        H::message(self, cx, message)
    }

    fn secured(&self, cx: &mut Context<H::State, Out>) -> impl Future<Output = Result<Reply<Out>>> + Send {
        H::secured(self, cx)
    }

    fn gap(
        &self,
        cx: &mut Context<H::State, Out>,
        room: &str,
        missed: u64,
    ) -> impl Future<Output = Result<Reply<Out>>> + Send {
        H::gap(self, cx, room, missed)
    }

    fn closing(&self, cx: &mut Context<H::State, Out>, reason: CloseReason) -> Option<Out> {
        H::closing(self, cx, reason)
    }

    fn close(&self, cx: &mut Context<H::State, Out>, reason: CloseReason) -> impl Future<Output = ()> + Send {
        H::close(self, cx, reason)
    }

    fn redact(&self, direction: Direction, message: &mut BytesMut) {
        H::redact(self, direction, message);
    }

    fn normalise(&self, reply: &mut BytesMut) {
        H::normalise(self, reply);
    }

    fn start(&self, cx: &StartContext) -> impl Future<Output = Result<()>> + Send {
        H::start(self, cx)
    }

    fn stop(&self) -> impl Future<Output = Result<()>> + Send {
        H::stop(self)
    }
}

impl<H: StreamHandler> StreamHandler for Arc<H> {
    fn serve(&self, connection: Connection, stream: ByteStream) -> impl Future<Output = Result<()>> + Send {
        H::serve(self, connection, stream)
    }

    fn start(&self, cx: &StartContext) -> impl Future<Output = Result<()>> + Send {
        H::start(self, cx)
    }

    fn stop(&self) -> impl Future<Output = Result<()>> + Send {
        H::stop(self)
    }
}
