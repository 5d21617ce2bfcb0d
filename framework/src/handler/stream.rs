//! The byte stream of a `StreamHandler`: counts bytes and records the time of the last one.

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

/// The byte stream of one connection, as `AsyncRead + AsyncWrite`.
///
/// Bytes that are read or written are counted and reset the idle timeout.
pub struct ByteStream {
    /// Present until the stream is dropped.
    io: Option<BoxIo>,
    connection: Connection,
    activity: Arc<Activity>,
}

/// What the driver reads about a stream while the handler owns it.
#[derive(Default)]
pub(crate) struct Activity {
    /// Milliseconds from the opening of the connection to the last byte.
    last: AtomicU64,
    input_ended: AtomicBool,
    /// Set when the handler drops its stream, so that the driver can close it properly.
    returned: Mutex<Option<BoxIo>>,
}

impl Activity {
    /// The time of the last byte.
    pub(crate) fn last(&self, connection: &Connection) -> Instant {
        connection.opened() + std::time::Duration::from_millis(self.last.load(Relaxed))
    }

    /// Whether the peer has closed its sending side.
    pub(crate) fn input_ended(&self) -> bool {
        self.input_ended.load(Relaxed)
    }

    /// The I/O object, after the handler has dropped its stream.
    pub(crate) fn take_io(&self) -> Option<BoxIo> {
        self.returned.lock().take()
    }
}

impl ByteStream {
    pub(crate) fn new(io: BoxIo, connection: Connection) -> (Self, Arc<Activity>) {
        let activity = Arc::<Activity>::default();
        (Self { io: Some(io), connection, activity: activity.clone() }, activity)
    }

    fn io(&mut self) -> Pin<&mut BoxIo> {
        Pin::new(self.io.as_mut().expect("a stream has its I/O object until it is dropped"))
    }

    fn record_activity(&self) {
        let since = u64::try_from(self.connection.opened().elapsed().as_millis()).unwrap_or(u64::MAX);
        self.activity.last.store(since, Relaxed);
    }

    fn count_written(&self, result: &io::Result<usize>) {
        if let Ok(bytes) = result {
            self.connection.counters().bytes_out.add(*bytes);
            self.record_activity();
        }
    }
}

impl AsyncRead for ByteStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let room = buf.remaining();
        ready!(self.io().poll_read(cx, buf))?;
        let bytes = room - buf.remaining();
        if bytes > 0 {
            self.connection.counters().bytes_in.add(bytes);
            self.record_activity();
        } else if room > 0 {
            self.activity.input_ended.store(true, Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ByteStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = ready!(self.io().poll_write(cx, bytes));
        self.count_written(&result);
        Poll::Ready(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(self.io().poll_write_vectored(cx, slices));
        self.count_written(&result);
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
        *self.activity.returned.lock() = self.io.take();
    }
}

impl fmt::Debug for ByteStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ByteStream").field(&self.connection).finish()
    }
}
