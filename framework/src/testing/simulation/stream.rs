//! The byte stream of a simulated connection.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::testing::simulation::link::{LinkEnd, Progress};

/// A connection of a [`SimulatedNetwork`](crate::testing::SimulatedNetwork). Dropping it closes the connection, and
/// resets it if there is unread input, as with a socket.
pub struct SimulatedStream {
    end: LinkEnd,
    /// For the next time at which a read or a write is possible. Most connections only read.
    read_timer: Option<Pin<Box<Sleep>>>,
    write_timer: Option<Pin<Box<Sleep>>>,
}

impl SimulatedStream {
    pub(super) fn new(end: LinkEnd) -> Self {
        Self { end, read_timer: None, write_timer: None }
    }

    /// The address of the client.
    pub fn client(&self) -> SocketAddr {
        self.end.client()
    }

    /// Whether the client or the network has reset the connection so far, or the network has delayed it by an outage or
    /// a partition.
    pub fn is_faulted(&self) -> bool {
        self.end.is_faulted()
    }

    /// Resets the connection.
    pub fn reset(self) {
        self.end.reset();
    }
}

/// Repeats `attempt` when its time has come.
fn poll<T>(
    timer: &mut Option<Pin<Box<Sleep>>>,
    cx: &mut Context<'_>,
    mut attempt: impl FnMut(&Context<'_>) -> Progress<T>,
) -> Poll<io::Result<T>> {
    loop {
        match attempt(cx) {
            Progress::Done(result) => {
                *timer = None;
                return Poll::Ready(result);
            }
            Progress::Wait(None) => return Poll::Pending,
            Progress::Wait(Some(at)) => {
                let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
                if timer.deadline() != at || timer.is_elapsed() {
                    timer.as_mut().reset(at);
                }
                ready!(timer.as_mut().poll(cx));
                debug_assert!(Instant::now() >= at, "the attempt succeeds now");
            }
        }
    }
}

impl AsyncRead for SimulatedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { end, read_timer, .. } = self.get_mut();
        poll(read_timer, cx, |cx| end.read(cx, buf))
    }
}

impl AsyncWrite for SimulatedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { end, write_timer, .. } = self.get_mut();
        poll(write_timer, cx, |cx| end.write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.end.end();
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for SimulatedStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimulatedStream").field(&self.client()).finish()
    }
}
