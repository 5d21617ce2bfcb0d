//! A tower layer written from nothing: so many calls a second for each source, of messages and of connections alike.
//!
//! Switchboard has this built in ([`RatePerSource`](switchboard::layer::RatePerSource)); here is how such a layer is made.
//! Try it: `yes | head -n 30 | nc -N 127.0.0.1 9999` prints ten lines at once and the others at ten a second; of eight
//! clients that come at the same time, five are let in.

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

/// How many counts a limit keeps: its memory is fixed from the start, however many sources come. Two sources that fall on
/// the same slot share its rate; the hash has a secret, so that nobody can choose whom to share with.
const SLOTS: usize = 16 * 1024;

// ---- The layer: what the developer holds. A recipe that makes one service for each thing that it is put around. ----

/// At most so many calls a second for each source, and as many at once.
///
/// Every service that comes from one layer, or from its clones, counts in the same place: the state is behind one [`Arc`].
/// State inside the service would be a count for each connection, and many connections would be the way around it.
#[derive(Clone)]
struct PerSource(Arc<Counts>);

impl PerSource {
    fn per_second(count: u32) -> Self {
        let each = Duration::from_secs(1).as_nanos() as u64 / u64::from(count.max(1));
        let slots = std::iter::repeat_with(AtomicU64::default).take(SLOTS).collect();
        let burst = each * u64::from(count.max(1));
        Self(Arc::new(Counts { slots, each, burst, start: Instant::now(), hasher: RandomState::new() }))
    }
}

impl<S> Layer<S> for PerSource {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Limited { inner, counts: self.0.clone() }
    }
}

// ---- The service: what stands in the way of each call. ----

/// The service of [`PerSource`]. Cloning it is cheap, and a clone counts in the same place.
#[derive(Clone)]
struct Limited<S> {
    inner: S,
    counts: Arc<Counts>,
}

/// It asks its request for a capability, [`Connected`], and not for a type: a message has it and a starting connection has
/// it, so this one service fits both seams. It answers with whatever the inner service answers.
impl<S, R> Service<R> for Limited<S>
where
    S: Service<R, Error = BoxError>,
    R: Connected,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Turn<S::Future>;

    /// Only passes on what the inner service says. Nothing is taken here: whoever asks whether a service is ready need not
    /// call it, and does not say yet for whom. What is reserved here by one who then does not come is lost to the others.
    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        // A Unix socket has no network address to count by.
        let turn = request.connection().source().map_or(Some(Duration::ZERO), |source| {
            // Where waiting helps, the call waits; a starting connection, or a datagram, is refused instead.
            self.counts.take(source, request.may_wait())
        });
        let Some(wait) = turn else { return Turn { inner: None, wait: None } };
        let wait = (!wait.is_zero()).then(|| Box::pin(tokio::time::sleep(wait)));
        // The inner call is made now and begins when it is first polled: futures do nothing by themselves.
        Turn { inner: Some(self.inner.call(request)), wait }
    }
}

// ---- The future: one call on its way. ----

pin_project! {
    /// It has a name, and so it costs no allocation where nobody waits. `Pin<Box<dyn Future>>` around an async block is
    /// shorter, and one allocation a message.
    struct Turn<F> {
        // None: refused.
        #[pin]
        inner: Option<F>,
        // Boxed, so that the many calls that need not wait do not carry a timer.
        wait: Option<Pin<Box<Sleep>>>,
    }
}

impl<F, T> Future for Turn<F>
where
    F: Future<Output = Result<T, BoxError>>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // The built-in error, so that the log says reason = "rate". Any other error would do.
        let Some(inner) = this.inner.as_pin_mut() else { return Poll::Ready(Err(OverRate.into())) };
        if let Some(wait) = this.wait {
            ready!(wait.as_mut().poll(cx));
            *this.wait = None;
        }
        inner.poll(cx)
    }
}

// ---- The state that all of them share. ----

/// For each slot the moment (in nanoseconds from the start) up to which its turns are taken. A number, a compare and an
/// add are a whole limiter: the idea is called GCRA, or a leaky bucket as a meter.
struct Counts {
    slots: Box<[AtomicU64]>,
    /// From one turn to the next.
    each: u64,
    /// How far ahead of the clock turns may be taken at once.
    burst: u64,
    start: Instant,
    hasher: RandomState,
}

impl Counts {
    /// Takes the next turn of a source and says how long it is until then; `None` if it would have to wait and may not.
    fn take(&self, source: Source, may_wait: bool) -> Option<Duration> {
        let slot = &self.slots[self.hasher.hash_one(source) as usize % SLOTS];
        let now = self.start.elapsed().as_nanos() as u64;
        let taken = |before: u64| before.max(now) + self.each;
        let wait = |before: u64| taken(before).saturating_sub(now + self.burst);
        slot.fetch_update(Relaxed, Relaxed, |before| (may_wait || wait(before) == 0).then(|| taken(before)))
            .ok()
            .map(|before| Duration::from_nanos(wait(before)))
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or("tcp://127.0.0.1:9999".into());
    Server::bind(address)
        .framing(Lines::default())
        .connection_layer(PerSource::per_second(5)) // around each connection
        .layer(PerSource::per_second(10)) // around each message
        .serve(handler_fn(|_: Context, line: Bytes| async move { Ok(Reply::send(line)) }))
        .await
}
