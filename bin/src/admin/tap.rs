//! `GET /connections/ID/tap`: the messages of a connection as server-sent events. `POST /connections/ID/record`: what
//! the recorder has of it, as a file.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::Deserialize;
use serde_json::json;
use switchboard::script::Action;
use switchboard::server::{Tap, TapError, TapMessage};
use switchboard::settings::Interval;
use switchboard::settings::text::escape_unsafe;
use tokio::time::{Instant, sleep};

use crate::admin::parameters::{Accepted, Parameters};
use crate::admin::state::SharedState;
use crate::admin::timeouts::HEARTBEAT;

/// Time between two looks at the memory of the recorder.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How long a tap lasts, unless the request asks for another time.
const DEFAULT_DURATION: Duration = Duration::from_secs(60);
/// The longest tap.
const MAX_DURATION: Duration = Duration::from_secs(3600);
/// Maximum messages per second of a tap. Further ones are counted.
const MAX_RATE: u32 = 500;
/// Maximum taps at the same time.
const MAX_TAPS: usize = 16;
/// The tracing target of the events of taps.
const TARGET: &str = "switchboard::tap";

static TAPS: AtomicUsize = AtomicUsize::new(0);

/// The parameters of `GET /connections/ID/tap`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TapQuery {
    duration: Option<Interval>,
}

impl Accepted for TapQuery {
    const ACCEPTED: &str = "duration (1s to 1h)";
}

pub(super) async fn tap(
    State(state): SharedState,
    Path(id): Path<String>,
    Parameters(query): Parameters<TapQuery>,
) -> Response {
    let duration = query.duration.map_or(DEFAULT_DURATION, |duration| *duration);
    if duration < Duration::from_secs(1) || duration > MAX_DURATION {
        return (StatusCode::UNPROCESSABLE_ENTITY, "duration is out of range; 1s to 1h are possible\n").into_response();
    }
    let tap = match id.parse().map_or(Err(TapError::NotFound), |id| state.running.tap(id)) {
        Ok(tap) => tap,
        Err(error) => return refused(&id, error),
    };
    let Some(guard) = Guard::new(&tap) else {
        let error = format!("{MAX_TAPS} taps are in progress; end one of them first\n");
        return (StatusCode::TOO_MANY_REQUESTS, error).into_response();
    };
    let body = Body::from_stream(stream::unfold(Events::new(tap, duration, guard), next));
    ([(CONTENT_TYPE, "text/event-stream")], body).into_response()
}

fn refused(id: &str, error: TapError) -> Response {
    let id = escape_unsafe(id, |_| false);
    let (status, text) = match error {
        TapError::NotRecorded => (
            StatusCode::CONFLICT,
            format!("connection {id} is not recorded; add a section [recorder], and reload: new connections use it\n"),
        ),
        _ => (StatusCode::NOT_FOUND, format!("connection {id} not found\n")),
    };
    (status, text).into_response()
}

/// Writes a file with what is stored of a connection.
pub(super) async fn record(State(state): SharedState, Path(id): Path<String>) -> Response {
    let Ok(number) = id.parse::<u64>() else { return refused(&id, TapError::NotFound) };
    let running = state.running.clone();
    let writing = tokio::task::spawn_blocking(move || match running.write_record(number) {
        Some(written) => Ok(written),
        None if running.connection(number).is_some() => Err(TapError::NotRecorded),
        None => Err(TapError::NotFound),
    });
    match writing.await {
        Ok(Ok(Ok(file))) => {
            let file = file.display().to_string();
            Json(json!({ "file": file })).into_response()
        }
        Ok(Ok(Err(error))) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
        Ok(Err(error)) => refused(&id, error),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Counts a tap, and logs its begin and its end.
struct Guard {
    connection: u64,
    listener: String,
    peer: String,
    messages: u64,
}

impl Guard {
    /// `None` if there are too many taps.
    fn new(tap: &Tap) -> Option<Self> {
        TAPS.fetch_update(Relaxed, Relaxed, |taps| (taps < MAX_TAPS).then_some(taps + 1)).ok()?;
        let connection = tap.connection();
        let (id, listener, peer) = (connection.id(), connection.listener(), connection.peer().to_string());
        tracing::info!(target: TARGET, listener, connection = id, peer, "tap started");
        Some(Self { connection: id, listener: listener.to_owned(), peer, messages: 0 })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        TAPS.fetch_sub(1, Relaxed);
        let Self { connection, listener, peer, messages } = self;
        tracing::info!(target: TARGET, listener, connection, peer, messages, "tap ended");
    }
}

/// The events of a tap.
struct Events {
    tap: Tap,
    guard: Guard,
    queue: VecDeque<String>,
    until: Instant,
    last: Instant,
    /// Messages that may be sent now.
    budget: u32,
    refilled: Instant,
    has_ended: bool,
}

impl Events {
    fn new(tap: Tap, duration: Duration, guard: Guard) -> Self {
        let connection = tap.connection();
        let start = json!({
            "connection": connection.id(),
            "listener": connection.listener(),
            "peer": connection.peer().to_string(),
            "script": tap.head().to_string(),
        });
        let now = Instant::now();
        let queue = VecDeque::from([event("start", &start)]);
        Self { tap, guard, queue, until: now + duration, last: now, budget: MAX_RATE, refilled: now, has_ended: false }
    }

    /// Reads the messages that have arrived. The oldest ones above the rate are only counted.
    fn read(&mut self) {
        if self.refilled.elapsed() >= Duration::from_secs(1) {
            (self.budget, self.refilled) = (MAX_RATE, Instant::now());
        }
        let closed = self.tap.connection().close_reason(); // before the messages are read: none follows
        let (messages, mut missed) = self.tap.read();
        let skipped = messages.len().saturating_sub(self.budget as usize);
        missed += skipped as u64;
        if missed > 0 {
            self.queue.push_back(event("missed", &json!({ "messages": missed })));
        }
        for message in &messages[skipped..] {
            self.queue.push_back(event("message", &shown(message)));
        }
        let sent = messages.len() - skipped;
        self.budget -= sent as u32;
        self.guard.messages += sent as u64;
        let why = match closed {
            Some(reason) => json!({ "why": "closed", "reason": reason.as_str() }),
            None if Instant::now() >= self.until => json!({ "why": "duration" }),
            None => return,
        };
        self.queue.push_back(event("end", &why));
        self.has_ended = true;
    }
}

fn shown(TapMessage { number, time, action, is_bytes, .. }: &TapMessage) -> serde_json::Value {
    let direction = if matches!(action, Action::Expect(_)) { "sent" } else { "received" };
    let length = match action {
        Action::Send(data) | Action::Expect(data) => Some(data.len()),
        _ => None,
    };
    json!({
        "number": number, "seconds": time.as_secs_f64(), "direction": direction, "length": length, "bytes": is_bytes,
        "step": action.to_string(),
    })
}

fn event(name: &str, data: &serde_json::Value) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}

async fn next(mut events: Events) -> Option<(Result<Bytes, Infallible>, Events)> {
    loop {
        if !events.queue.is_empty() {
            let text: String = events.queue.drain(..).collect();
            events.last = Instant::now();
            return Some((Ok(text.into()), events));
        }
        if events.has_ended {
            return None;
        }
        events.read();
        if events.queue.is_empty() {
            if events.last.elapsed() >= HEARTBEAT {
                events.queue.push_back(":\n\n".to_owned());
                continue;
            }
            sleep(POLL_INTERVAL).await;
        }
    }
}
