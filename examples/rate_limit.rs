//! A custom tower layer: a rate limit per source, for messages and for connections.
//!
//! Switchboard has this layer built in ([`RatePerSource`](switchboard::layer::RatePerSource)). This file shows how to
//! write one. Try it: `yes | head -n 30 | nc -N 127.0.0.1 9999` prints ten lines immediately and the others at ten per
//! second. Of eight clients that connect at the same time, five are accepted.

use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use switchboard::Source;
use switchboard::layer::OverRate;
use switchboard::prelude::*;
use switchboard::tower::{Layer, Service};
use tokio::time::{Instant, Sleep};

/// Number of counters. It is fixed, so memory does not grow with the number of sources. Sources with the same slot
/// share a rate. The hash has a random key, so an attacker cannot choose a source that shares a slot with a victim.
const SLOTS: usize = 16 * 1024;

// ---- The layer: wraps each service that it is added to. ----

/// Limits the calls per second of each source. The burst equals the calls of one second.
///
/// All services of a layer and its clones share the counters in one [`Arc`]. Counters inside a service would be per
/// connection, and a client could bypass the limit with many connections.
#[derive(Clone)]
struct PerSource(Arc<Counters>);

impl PerSource {
    fn per_second(count: u32) -> Self {
        let interval = Duration::from_secs(1).as_nanos() as u64 / u64::from(count.max(1));
        let slots = std::iter::repeat_with(AtomicU64::default).take(SLOTS).collect();
        let burst = interval * u64::from(count.max(1));
        Self(Arc::new(Counters { slots, interval, burst, start: Instant::now(), hasher: RandomState::new() }))
    }
}

impl<S> Layer<S> for PerSource {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Limited { inner, counters: self.0.clone() }
    }
}

// ---- The service: checks each call. ----

/// The service of [`PerSource`]. Clones are cheap and share the counters.
#[derive(Clone)]
struct Limited<S> {
    inner: S,
    counters: Arc<Counters>,
}

/// The bound on the request is the trait [`Connected`]. Messages and new connections both implement it, so the same
/// service works per message and per connection.
impl<S, R> Service<R> for Limited<S>
where
    S: Service<R, Error = BoxError>,
    R: Connected,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = LimitedCall<S::Future>;

    /// Does not count the call: its source is not known yet, and `poll_ready` does not oblige the caller to call.
    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        // A Unix socket has no source address, so it is not limited.
        let wait = request.connection().source().map_or(Some(Duration::ZERO), |source| {
            // A message on a stream waits. A new connection or a datagram is rejected instead.
            self.counters.take(source, request.may_wait())
        });
        let Some(wait) = wait else { return LimitedCall { inner: None, wait: None } };
        let wait = (!wait.is_zero()).then(|| Box::pin(tokio::time::sleep(wait)));
        // The inner future does nothing until it is polled.
        LimitedCall { inner: Some(self.inner.call(request)), wait }
    }
}

// ---- The future: one call, after its wait. ----

pin_project! {
    /// A named future needs no allocation for a call that does not wait. `Pin<Box<dyn Future>>` around an async block
    /// is shorter, but allocates for every message.
    struct LimitedCall<F> {
        // `None`: rejected.
        #[pin]
        inner: Option<F>,
        // Boxed, because most calls need no timer.
        wait: Option<Pin<Box<Sleep>>>,
    }
}

impl<F, T> Future for LimitedCall<F>
where
    F: Future<Output = Result<T, BoxError>>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // This built-in error sets reason = "rate" in the log. Any other error works too.
        let Some(inner) = this.inner.as_pin_mut() else { return Poll::Ready(Err(OverRate.into())) };
        if let Some(wait) = this.wait {
            ready!(wait.as_mut().poll(cx));
            *this.wait = None;
        }
        inner.poll(cx)
    }
}

// ---- The shared state. ----

/// Each slot holds its theoretical arrival time in nanoseconds since `start`. The algorithm is GCRA (generic cell rate
/// algorithm), also known as the leaky bucket as a meter.
struct Counters {
    slots: Box<[AtomicU64]>,
    /// Interval between two calls, in nanoseconds.
    interval: u64,
    /// How far the arrival time may be ahead of the clock, in nanoseconds.
    burst: u64,
    start: Instant,
    hasher: RandomState,
}

impl Counters {
    /// Counts a call and returns how long it must wait. `None`: the call must wait, but `may_wait` is false.
    fn take(&self, source: Source, may_wait: bool) -> Option<Duration> {
        let slot = &self.slots[self.hasher.hash_one(source) as usize % SLOTS];
        let now = self.start.elapsed().as_nanos() as u64;
        let next = |before: u64| before.max(now) + self.interval;
        let wait = |before: u64| next(before).saturating_sub(now + self.burst);
        slot.fetch_update(Relaxed, Relaxed, |before| (may_wait || wait(before) == 0).then(|| next(before)))
            .ok()
            .map(|before| Duration::from_nanos(wait(before)))
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or("tcp://127.0.0.1:9999".into());
    Server::bind(address)
        .framing(Lines::default())
        .connection_layer(PerSource::per_second(5)) // Per connection.
        .layer(PerSource::per_second(10)) // Per message.
        .serve(handler_fn(|_: Context, line: Bytes| async move { Ok(Reply::send(line)) }))
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard::testing::conformance;

    #[test]
    fn the_layer_keeps_the_laws() {
        let echo = || handler_fn(|_: Context, line: Bytes| async move { Ok(Reply::send(line)) });
        let limited = conformance(echo).framing(Lines::default()).messages(["hello", "", "x"]).cases(40);
        limited.set(|server| server.layer(PerSource::per_second(10))).check();
    }
}
