//! The handler under test, inside one that records its calls and disturbs them.

use std::any::Any;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::sleep;

use crate::close_reason::CloseReason;
use crate::connection::Connection;
use crate::error::Result;
use crate::handler::{Context, Frames, Handler, Needs, Reply, ReplyOrder, StartContext};
use crate::testing::conformance::record::Record;

/// The handler under test and its record.
pub struct Probe<H> {
    handler: H,
    record: Record,
}

impl<H> Probe<H> {
    pub(super) fn new(handler: H, record: Record) -> Self {
        Self { handler, record }
    }
}

crate::error::debug_as_name!(Probe<H>);

/// Runs a future of the handler. When its polls are over, the connection is aborted, which drops the future.
async fn watch<T>(record: &Record, connection: Connection, future: impl Future<Output = T>) -> T {
    let (id, mut future) = (connection.id(), pin!(future));
    let number = record.add_future(id);
    poll_fn(move |cx| {
        if record.poll(id, number) {
            connection.kill();
            return Poll::Pending;
        }
        future.as_mut().poll(cx)
    })
    .await
}

/// The same reply, whose later parts are recorded.
fn watched<Out: Send + 'static>(record: &Record, connection: &Connection, mut reply: Reply<Out>) -> Reply<Out> {
    reply.frames = watched_frames(record, connection, reply.frames);
    reply
}

fn watched_frames<Out: Send + 'static>(record: &Record, connection: &Connection, frames: Frames<Out>) -> Frames<Out> {
    let running = |is_message| record.run(connection.id(), is_message);
    match frames {
        Frames::Later(order, future) => {
            let delay = record.add_later(connection.id(), order == ReplyOrder::Ready);
            let (running, record, connection) = (running(false), record.clone(), connection.clone());
            Frames::Later(
                order,
                Box::pin(async move {
                    let _running = running;
                    if !delay.is_zero() {
                        sleep(delay).await;
                    }
                    let reply = watch(&record, connection.clone(), future).await?;
                    Ok(watched(&record, &connection, reply))
                }),
            )
        }
        Frames::Stream(frames) => {
            let running = running(false);
            Frames::Stream(Box::pin(frames.inspect(move |_| {
                let _ = &running;
            })))
        }
        Frames::Switch(mut switch) => {
            switch.frames = watched_frames(record, connection, switch.frames);
            Frames::Switch(switch)
        }
        frames => frames,
    }
}

impl<H: Handler<In, Out>, In: Send + 'static, Out: Send + 'static> Handler<In, Out> for Probe<H> {
    const NEEDS: Needs = H::NEEDS;
    type State = H::State;

    async fn start(&self, cx: &StartContext) -> Result<()> {
        self.handler.start(cx).await
    }

    async fn open(&self, cx: &mut Context<H::State, Out>) -> Result<Reply<Out>> {
        let connection = cx.connection().clone();
        let _running = self.record.run(connection.id(), false);
        Ok(watched(&self.record, &connection, self.handler.open(cx).await?))
    }

    async fn message(&self, cx: &mut Context<H::State, Out>, message: In) -> Result<Reply<Out>> {
        let connection = cx.connection().clone();
        let _running = self.record.run(connection.id(), true);
        if let Some(bytes) = (&message as &dyn Any).downcast_ref::<Bytes>() {
            self.record.message(bytes.len());
        }
        let call = self.handler.message(cx, message);
        Ok(watched(&self.record, &connection, watch(&self.record, connection.clone(), call).await?))
    }

    async fn secured(&self, cx: &mut Context<H::State, Out>) -> Result<Reply<Out>> {
        let connection = cx.connection().clone();
        let _running = self.record.run(connection.id(), false);
        Ok(watched(&self.record, &connection, self.handler.secured(cx).await?))
    }

    async fn gap(&self, cx: &mut Context<H::State, Out>, room: &str, missed: u64) -> Result<Reply<Out>> {
        let connection = cx.connection().clone();
        let _running = self.record.run(connection.id(), false);
        Ok(watched(&self.record, &connection, self.handler.gap(cx, room, missed).await?))
    }

    fn closing(&self, cx: &mut Context<H::State, Out>, reason: CloseReason) -> Option<Out> {
        let message = self.handler.closing(cx, reason)?;
        self.record.last_message(cx.id());
        Some(message)
    }

    async fn close(&self, cx: &mut Context<H::State, Out>, reason: CloseReason) {
        self.record.close(cx.id(), reason);
        self.handler.close(cx, reason).await;
    }

    async fn stop(&self) -> Result<()> {
        self.handler.stop().await
    }
}
