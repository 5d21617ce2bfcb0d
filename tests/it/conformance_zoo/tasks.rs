//! Broken handlers with tasks and pushed frames.

use std::time::Duration;

use switchboard::prelude::*;
use switchboard::testing::Law;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::{breaks, lines};

struct TaskPerConnection;

impl Handler for TaskPerConnection {
    type State = ();

    /// Starts a task that never ends, instead of one of the connection (`cx.spawn`).
    async fn open(&self, _: &mut Context) -> Result<Reply> {
        tokio::spawn(async {
            loop {
                sleep(Duration::from_secs(3600)).await;
            }
        });
        Ok(Reply::none())
    }

    async fn message(&self, _: &mut Context, message: Bytes) -> Result<Reply> {
        Ok(Reply::send(message))
    }
}

#[test]
fn a_task_that_outlives_its_connection() {
    breaks(Law::Cleanup, &lines(|| TaskPerConnection).run());
}

struct TaskPerReset;

impl Handler for TaskPerReset {
    type State = ();

    async fn message(&self, _: &mut Context, message: Bytes) -> Result<Reply> {
        Ok(Reply::send(message))
    }

    /// Waits for an acknowledgement that a lost client never sends.
    async fn close(&self, _: &mut Context, reason: CloseReason) {
        if reason == CloseReason::IoError {
            tokio::spawn(std::future::pending::<()>());
        }
    }
}

#[test]
fn a_task_that_waits_for_a_lost_client() {
    breaks(Law::Reset, &lines(|| TaskPerReset).run());
}

struct BackgroundReply;
handler!(
    /// Replies from a background task, which ends with the input.
    BackgroundReply: Option<mpsc::Sender<Bytes>>, |_this, cx, message| {
        let (pusher, connection) = (cx.pusher(), cx.connection().clone());
        let queue = cx.state.get_or_insert_with(|| {
            let (queue, mut messages) = mpsc::channel(16);
            let _ = connection.spawn(async move {
                while let Some(message) = messages.recv().await {
                    yield_now().await;
                    let _ = pusher.push(Bytes::clone(&message)).await;
                }
            });
            queue
        });
        queue.send(message).await?;
        Ok(Reply::none())
    }
);

#[test]
fn a_reply_from_a_background_task() {
    breaks(Law::HalfClose, &lines(|| BackgroundReply).run());
}

struct TryPush;
handler!(
    /// Pushes many frames, and ignores that the outbox is full.
    TryPush: (), |_this, cx, message| {
        let pusher = cx.pusher();
        sleep(Duration::from_millis(5)).await;
        for _ in 0..250 {
            let _ = pusher.try_push([&*message, &[b'.'; 300]].concat());
        }
        Ok(Reply::none())
    }
);

#[test]
fn frames_that_a_full_outbox_loses() {
    let report = lines(|| TryPush).messages(["one", "two", "three"]).cases(8);
    breaks(Law::SlowReader, &report.waive(Law::NoReader, "broken for the same reason").run());
}

struct UnboundedQueue;
handler!(
    /// Puts replies into a queue without a bound, from which a task pushes them.
    UnboundedQueue: Option<mpsc::UnboundedSender<Bytes>>, |_this, cx, message| {
        let pusher = cx.pusher();
        let connection = cx.connection().clone();
        let queue = cx.state.get_or_insert_with(|| {
            #[expect(clippy::disallowed_methods, reason = "this is the fault")]
            let (queue, mut replies) = mpsc::unbounded_channel();
            let _ = connection.spawn(async move {
                while let Some(reply) = replies.recv().await {
                    let _ = pusher.push(Bytes::clone(&reply)).await;
                }
            });
            queue
        });
        queue.send([&*message, &[b'.'; 500]].concat().into())?;
        Ok(Reply::none())
    }
);

#[test]
fn a_queue_without_a_bound() {
    let report = lines(|| UnboundedQueue).cases(8).waive(Law::HalfClose, "replies come from a background task").run();
    breaks(Law::NoReader, &report);
}
