//! Broken handlers: their state, their calls and their replies.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use switchboard::prelude::*;
use switchboard::testing::{Law, conformance};
use tokio::sync::{Notify, Semaphore};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::{breaks, lines};

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
