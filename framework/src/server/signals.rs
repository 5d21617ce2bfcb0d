//! A running server until it is told to stop: by whomever, or by the usual signals.

use std::pin::pin;
use std::task::Poll;

use futures_util::{Stream, StreamExt, stream};
use tokio::signal::unix::{SignalKind, signal};

use crate::error::Result;
use crate::server::{Drained, Running};

impl Running {
    /// Serves until `stops` brings something, then [drains](Self::drain); a second item cuts what is left. It ends too when the
    /// server has [ended by itself](Self::ended), with nothing open and nothing cut. A stream that ends asks for nothing any more.
    ///
    /// ```
    /// use futures_util::stream;
    /// use switchboard::prelude::*;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// let echo = handler_fn(|_: Context, message: Bytes| async move { Ok(Reply::send(message)) });
    /// let running = Server::bind("tcp://127.0.0.1:0").start(echo).await?;
    /// let drained = running.serve_until(stream::iter([()])).await; // told to stop at once
    /// assert_eq!((drained.open, drained.cut), (0, 0));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn serve_until(&self, stops: impl Stream<Item = ()>) -> Drained {
        let mut stops = pin!(stops.fuse());
        tokio::select! {
            () = self.ended() => return Drained::default(),
            Some(()) = stops.next() => {}
        }
        let abort_handle = self.abort_handle();
        let mut drain = pin!(self.drain());
        loop {
            tokio::select! {
                drained = &mut drain => return drained,
                Some(()) = stops.next() => abort_handle.cut(),
            }
        }
    }
}

/// Serves until SIGTERM or SIGINT, then drains; a second one cuts.
pub(super) async fn run(running: Running) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Both are asked, so that either wakes us.
    let stops = stream::poll_fn(|cx| match terminate.poll_recv(cx) {
        Poll::Pending => interrupt.poll_recv(cx),
        stop => stop,
    });
    match running.serve_until(stops).await.cut {
        0 => Ok(()),
        cut => Err(format!("{cut} connections had not finished and were cut").into()),
    }
}
