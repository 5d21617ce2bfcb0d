//! Broken handlers.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use switchboard::prelude::*;
use switchboard::testing::{Conformance, Law, conformance};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::breaks;

fn lines<M>(handler: M) -> Conformance<M, Lines> {
    conformance(handler).framing(Lines::default()).messages(["one", "", "three", "four"]).cases(40)
}

/// Defines a handler of bytes with one method.
macro_rules! handler {
    ($(#[$doc:meta])* $name:ident: $state:ty, |$this:ident, $cx:ident, $message:ident| $body:expr) => {
        $(#[$doc])*
        impl Handler for $name {
            type State = $state;

            async fn message(&self, $cx: &mut Context<$state>, $message: Bytes) -> Result<Reply> {
                let $this = self;
                $body
            }
        }
    };
}

struct StaticCount;
static COUNT: AtomicU64 = AtomicU64::new(0);
handler!(
    /// Counts the messages of its connection in a static.
    StaticCount: (), |_this, _cx, _message| Ok(Reply::send(COUNT.fetch_add(1, Relaxed).to_string()))
);

#[test]
fn a_static_instead_of_state() {
    breaks(Law::Repeat, &lines(|| StaticCount).run());
}

#[derive(Default)]
struct FieldCount(AtomicU64);
handler!(
    /// Counts the messages of its connection in a field that all connections share.
    FieldCount: (), |this, _cx, _message| Ok(Reply::send(this.0.fetch_add(1, Relaxed).to_string()))
);

#[test]
fn a_field_instead_of_state() {
    breaks(Law::TwoAtOnce, &lines(FieldCount::default).run());
}

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

struct OneReadPerMessage;
handler!(
    /// Takes each read for one whole message.
    OneReadPerMessage: (), |_this, _cx, message| Ok(Reply::send([b"got ", &*message, b"\n"].concat()))
);

#[test]
fn a_buffer_that_assumes_one_read_per_message() {
    let raw = conformance(|| OneReadPerMessage).messages(["one\n", "two\n"]).cases(40);
    breaks(Law::Cuts, &raw.waive(Law::Pipelining, "broken for the same reason").run());
}

struct LastOnly;
handler!(
    /// Forgets a command if the next one comes before the work for it has begun.
    LastOnly: Option<Arc<Mutex<Bytes>>>, |_this, cx, message| {
        let pending = cx.state.get_or_insert_default().clone();
        *pending.lock().unwrap() = message;
        Ok(Reply::later(async move {
            yield_now().await;
            Ok(Reply::send(pending.lock().unwrap().clone()))
        }))
    }
);

#[test]
fn one_place_for_the_current_request() {
    breaks(Law::Pipelining, &lines(|| LastOnly).run());
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

/// Has so many places.
struct Places(AtomicU64);

impl Handler for Places {
    type State = bool;

    async fn message(&self, cx: &mut Context<bool>, message: Bytes) -> Result<Reply> {
        if !cx.state && self.0.fetch_update(Relaxed, Relaxed, |places| places.checked_sub(1)).is_err() {
            return Ok(Reply::send("no place is left").then_finish());
        }
        cx.state = true;
        Ok(Reply::send(message))
    }

    /// Returns the place only if the client said goodbye.
    async fn close(&self, cx: &mut Context<bool>, reason: CloseReason) {
        if cx.state && matches!(reason, CloseReason::PeerClosed | CloseReason::Killed) {
            self.0.fetch_add(1, Relaxed);
        }
    }
}

#[test]
fn a_place_that_a_lost_client_keeps() {
    breaks(Law::Reset, &lines(|| Places(AtomicU64::new(8))).run());
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

struct RefusesWhileDraining;
handler!(
    /// Refuses a message that arrives during a drain.
    RefusesWhileDraining: (), |_this, cx, message| {
        if cx.drain().is_draining() {
            return Ok(Reply::close());
        }
        yield_now().await;
        Ok(Reply::send(message))
    }
);

#[test]
fn a_message_that_a_drain_loses() {
    breaks(Law::Drain, &lines(|| RefusesWhileDraining).run());
}

struct Permits(Semaphore);
handler!(
    /// Returns a permit by hand: not if its future is dropped.
    Permits: (), |this, _cx, message| {
        this.0.acquire().await?.forget();
        sleep(Duration::from_millis(5)).await;
        this.0.add_permits(1);
        Ok(Reply::send(message))
    }
);

#[test]
fn a_permit_that_a_dropped_call_keeps() {
    breaks(Law::Cancel, &lines(|| Permits(Semaphore::new(8))).run());
}

struct TakenOut(Mutex<Option<&'static str>>, Notify);
handler!(
    /// Takes the shared state out of its place across an await.
    TakenOut: (), |this, _cx, _message| {
        let value = loop {
            let taken = this.0.lock().unwrap().take();
            match taken {
                Some(value) => break value,
                None => this.1.notified().await,
            }
        };
        yield_now().await;
        *this.0.lock().unwrap() = Some(value);
        this.1.notify_one();
        Ok(Reply::send(value))
    }
);

#[test]
fn shared_state_that_a_dropped_call_has_taken_out() {
    breaks(Law::Cancel, &lines(|| TakenOut(Mutex::new(Some("shared")), Notify::new())).run());
}

struct Utf8;
handler!(
    /// Believes that a message is text.
    Utf8: (), |_this, _cx, message| Ok(Reply::send(std::str::from_utf8(&message).unwrap().to_uppercase()))
);

#[test]
fn text_that_is_not_text() {
    breaks(Law::Noise, &lines(|| Utf8).run());
}

struct OwnTimeout;
handler!(
    /// Measures the silence of the client with the time of its last message.
    OwnTimeout: Option<Instant>, |_this, cx, message| {
        let silent = cx.state.replace(Instant::now()).map(|last| last.elapsed());
        if silent.is_some_and(|silent| silent > Duration::from_secs(60)) {
            return Ok(Reply::close());
        }
        Ok(Reply::send(message))
    }
);

#[test]
fn a_timeout_that_counts_the_time_of_a_stopped_process() {
    breaks(Law::Clock, &lines(|| OwnTimeout).run());
}

struct FirstReady;
handler!(
    /// Sends a reply before the one to the previous message, in a protocol without request ids.
    FirstReady: (), |_this, _cx, message| Ok(Reply::unordered(async move { Ok(Reply::send(message)) }))
);

#[test]
fn a_reply_before_the_previous_one() {
    breaks(Law::ReplyOrder, &lines(|| FirstReady).run());
}

#[derive(Default)]
struct Turn(Arc<tokio::sync::Mutex<()>>);
handler!(
    /// Holds a lock from the message until its later reply.
    Turn: (), |this, _cx, message| {
        let turn = this.0.clone().lock_owned().await;
        Ok(Reply::later(async move {
            drop(turn);
            Ok(Reply::send(message))
        }))
    }
);

#[test]
fn a_later_reply_that_holds_up_the_next_message() {
    breaks(Law::Concurrency, &lines(Turn::default).run());
}

fn datagrams<M>(handler: M) -> Conformance<M, Raw> {
    conformance(handler).framing(Raw::default()).datagrams().messages(["\x00\x01one", "\x00\x02two", "\x00\x03"]).cases(40)
}

struct Header;
handler!(
    /// Believes that a datagram has a header.
    Header: (), |_this, _cx, datagram| Ok(Reply::send(datagram.slice(2..)))
);

#[test]
fn a_datagram_that_is_shorter_than_its_header() {
    breaks(Law::Truncation, &datagrams(|| Header).waive(Law::Noise, "broken for the same reason").run());
}

struct InSequence;
handler!(
    /// Replies only to the next datagram of a sequence.
    InSequence: u8, |_this, cx, datagram| {
        let number = datagram.get(1).copied().unwrap_or_default();
        if number < cx.state {
            return Ok(Reply::none());
        }
        cx.state = number;
        Ok(Reply::send(datagram))
    }
);

#[test]
fn a_datagram_that_is_late() {
    breaks(Law::Reordering, &datagrams(|| InSequence).run());
}

struct Once;
handler!(
    /// Does not reply to a request that is repeated because its reply was lost.
    Once: HashSet<Bytes>, |_this, cx, datagram| {
        Ok(if cx.state.insert(datagram.clone()) { Reply::send(datagram) } else { Reply::none() })
    }
);

#[test]
fn a_request_that_is_repeated() {
    breaks(Law::Duplication, &datagrams(|| Once).run());
}

struct WaitsForFirst;
handler!(
    /// Replies only after the first datagram of a transfer, which can be lost.
    WaitsForFirst: bool, |_this, cx, datagram| {
        cx.state |= datagram.get(1) == Some(&1) || datagram.len() < 3;
        Ok(if cx.state { Reply::send(datagram) } else { Reply::none() })
    }
);

#[test]
fn a_first_datagram_that_is_lost() {
    let report = datagrams(|| WaitsForFirst).waive(Law::Reordering, "broken for the same reason");
    breaks(Law::Loss, &report.waive(Law::Truncation, "broken for the same reason").run());
}
