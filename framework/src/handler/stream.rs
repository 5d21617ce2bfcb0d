//! The byte stream of a `StreamHandler`: counts what passes and remembers when.

use parking_lot::Mutex;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::connection::Connection;
use crate::transport::BoxIo;

/// The bytes of one connection: any code that reads and writes asynchronously can use it.
///
/// What passes through it is counted and keeps the idle deadline away.
pub struct ByteStream {
    /// Here until it is dropped.
    io: Option<BoxIo>,
    connection: Connection,
    activity: Arc<Activity>,
    home: Arc<Home>,
}

/// Where the bytes go back to when their handler drops them, so that the connection can be closed in good order.
#[derive(Default)]
pub(crate) struct Home(Mutex<Option<BoxIo>>);

impl Home {
    pub(crate) fn take(&self) -> Option<BoxIo> {
        self.0.lock().take()
    }
}

/// What the driver wants to know of a stream that it has given away.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Milliseconds from the connection's opening to the last byte.
    last: AtomicU64,
    ended: AtomicBool,
}

impl Activity {
    /// When the last byte passed.
    pub(crate) fn last(&self, connection: &Connection) -> Instant {
        connection.opened() + std::time::Duration::from_millis(self.last.load(Relaxed))
    }

    /// Whether the peer has ended its input.
    pub(crate) fn ended(&self) -> bool {
        self.ended.load(Relaxed)
    }
}

impl ByteStream {
    pub(crate) fn new(io: BoxIo, connection: Connection) -> (Self, Arc<Activity>, Arc<Home>) {
        let (activity, home) = (Arc::<Activity>::default(), Arc::<Home>::default());
        let stream = Self { io: Some(io), connection, activity: activity.clone(), home: home.clone() };
        (stream, activity, home)
    }

    fn io(&mut self) -> Pin<&mut BoxIo> {
        Pin::new(self.io.as_mut().expect("it is here until the stream is dropped"))
    }

    fn touch(&self) {
        let since = u64::try_from(self.connection.opened().elapsed().as_millis()).unwrap_or(u64::MAX);
        self.activity.last.store(since, Relaxed);
    }

    fn wrote(&self, result: &io::Result<usize>) {
        if let Ok(bytes) = result {
            self.connection.counters().add_bytes_out(*bytes);
            self.touch();
        }
    }
}

impl AsyncRead for ByteStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let room = buf.remaining();
        ready!(self.io().poll_read(cx, buf))?;
        let bytes = buf.filled().len() - before;
        if bytes > 0 {
            self.connection.counters().add_bytes_in(bytes);
            self.touch();
        } else if room > 0 {
            self.activity.ended.store(true, Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ByteStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = ready!(self.io().poll_write(cx, bytes));
        self.wrote(&result);
        Poll::Ready(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(self.io().poll_write_vectored(cx, slices));
        self.wrote(&result);
        Poll::Ready(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(|io| io.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_shutdown(cx)
    }
}

impl Drop for ByteStream {
    fn drop(&mut self) {
        *self.home.0.lock() = self.io.take();
    }
}

impl fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ByteStream").field(&self.connection).finish()
    }
}
