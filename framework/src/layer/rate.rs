//! A rate for each source.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower::{Layer, Service};

use crate::address::Source;
use crate::connection::{Connection, Kind};
use crate::error::BoxError;
use crate::layer::Connected;
use crate::limiter::Limiter;
use crate::settings::Rate;

/// So many calls a second from one [`Source`]: a message on a stream waits until its turn has come, and reading from that
/// connection with it; a datagram, or a connection at its start, is refused with the error [`OverRate`].
///
/// Peers without a network address (Unix sockets, memory) are not limited. All services of one layer, and of its clones,
/// count together. The table of sources is bounded at 65,536; when as many are active at once, further ones share 4,096
/// counts between them.
#[derive(Debug, Clone)]
pub struct RatePerSource {
    limiter: Option<Arc<Limiter>>,
}

impl RatePerSource {
    /// At most `rate`, of which `burst` may come at once (0: one second's worth, at least one). A rate of zero limits
    /// nothing.
    pub fn new(rate: Rate, burst: u32) -> Self {
        Self { limiter: Limiter::new(rate, burst).map(Arc::new) }
    }

    /// At most `count` a second, and as many at once; 0 for no limit.
    pub fn per_second(count: u32) -> Self {
        Self::new(Rate::per_second(count), 0)
    }

    /// Whose turn it is.
    #[inline]
    fn turn(&self, connection: &Connection, may_wait: bool) -> Turn {
        let Some(limiter) = &self.limiter else { return Turn::Come };
        let Some(source) = connection.source() else { return Turn::Come };
        match limiter.check(source) {
            Ok(()) => Turn::Come,
            Err(_) if !may_wait => Turn::Never,
            Err(wait) => {
                let sleep = Box::pin(tokio::time::sleep(wait));
                Turn::Later(Box::new(Later { limiter: limiter.clone(), source, sleep }))
            }
        }
    }

    /// Puts it around one call for a message.
    #[inline]
    pub(crate) fn around<F>(&self, connection: &Connection, call: F) -> RateFuture<F> {
        RateFuture { turn: self.turn(connection, connection.kind() == Kind::Stream), inner: call }
    }
}

/// A source went over its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the source is over its rate")]
pub struct OverRate;

impl<S> Layer<S> for RatePerSource {
    type Service = RateService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RateService { inner, layer: self.clone() }
    }
}

/// The service of [`RatePerSource`].
#[derive(Debug, Clone)]
pub struct RateService<S> {
    inner: S,
    layer: RatePerSource,
}

impl<S, R> Service<R> for RateService<S>
where
    S: Service<R, Error = BoxError>,
    R: Connected,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = RateFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        // What is inside is not polled before its turn has come: a future does nothing until then.
        let turn = self.layer.turn(request.connection(), request.may_wait());
        RateFuture { inner: self.inner.call(request), turn }
    }
}

enum Turn {
    Come,
    Never,
    /// Boxed: most calls need not wait, and are moved about.
    Later(Box<Later>),
}

struct Later {
    limiter: Arc<Limiter>,
    source: Source,
    sleep: Pin<Box<Sleep>>,
}

pin_project! {
    /// One call under [`RatePerSource`].
    pub struct RateFuture<F> {
        #[pin]
        inner: F,
        turn: Turn,
    }
}

impl<F, T> Future for RateFuture<F>
where
    F: Future<Output = Result<T, BoxError>>,
{
    type Output = Result<T, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        loop {
            match this.turn {
                Turn::Come => return this.inner.poll(cx),
                Turn::Never => return Poll::Ready(Err(OverRate.into())),
                Turn::Later(later) => {
                    ready!(later.sleep.as_mut().poll(cx));
                    match later.limiter.check(later.source) {
                        Ok(()) => *this.turn = Turn::Come,
                        Err(wait) => later.sleep.set(tokio::time::sleep(wait)),
                    }
                }
            }
        }
    }
}

impl<F> fmt::Debug for RateFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RateFuture")
    }
}
