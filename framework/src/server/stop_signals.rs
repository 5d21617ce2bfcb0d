//! Serves until a signal or another event requests a shutdown.

use std::pin::pin;

use futures_util::{Stream, StreamExt};

use crate::server::running::{Drained, Running};

impl Running {
    /// Serves until `stops` yields an item, then [drains](Self::drain). A second item aborts the remaining connections.
    /// The end of the stream is ignored. Also returns when the server has [ended by itself](Self::ended).
    ///
    /// ```
    /// use futures_util::stream;
    /// use switchboard::prelude::*;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<()> {
    /// let echo = handler_fn(|_: Context, message: Bytes| async move { Ok(Reply::send(message)) });
    /// let running = Server::bind("tcp://127.0.0.1:0").start(echo).await?;
    /// let drained = running.serve_until(stream::iter([()])).await; // stops immediately
    /// assert_eq!((drained.open, drained.cut), (0, 0));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn serve_until(&self, stops: impl Stream<Item = ()>) -> Drained {
        let mut stops = pin!(stops.fuse());
        let has_ended = tokio::select! {
            () = self.ended() => true,
            Some(()) = stops.next() => false,
        };
        let abort_handle = self.abort_handle();
        let mut drain = pin!(async { if has_ended { self.finish().await } else { self.drain().await } });
        loop {
            tokio::select! {
                drained = &mut drain => return drained,
                Some(()) = stops.next() => abort_handle.abort(),
            }
        }
    }
}
