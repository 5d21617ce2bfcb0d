//! Closing so that the last reply arrives.
//!
//! A system that closes a socket with unread input resets the connection, and the reset may overtake and destroy what was
//! written last. So our side ends first, and what still comes is read and dropped for a moment, bounded in time and bytes.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::connection::Connection;
use crate::driver::stream::buffer_pool::{self, CHUNK};
use crate::reason::CloseReason;
use crate::transport::BoxIo;

/// What was written longer ago has been read, or never will be; and nobody is waited for longer than that.
pub(crate) const LINGER: Duration = Duration::from_secs(1);
/// The same on a drain, where nobody should wait long for a peer that does not close.
const LINGER_DRAIN: Duration = Duration::from_millis(100);
/// How much is still read.
const LINGER_BYTES: usize = 1024 * 1024;

/// Whether a connection that ends so still gets what was queued for it.
pub(crate) fn is_polite(reason: CloseReason) -> bool {
    use CloseReason::{DrainDeadline, IoError, Killed, OutboxFull, WriteStalled};
    !matches!(reason, IoError | Killed | DrainDeadline | OutboxFull | WriteStalled)
}

/// Says that this side has ended, and gives the peer a moment to read what was written within [`LINGER`] (`wrote`), unless
/// it has ended its own side before (`ended`). An order to close at once ends it.
pub(crate) async fn lingering_close(
    io: &mut BoxIo,
    connection: &Connection,
    reason: CloseReason,
    wrote: bool,
    ended: bool,
) {
    if !is_polite(reason) {
        return;
    }
    let moment = match reason {
        _ if !wrote || ended => Duration::ZERO,
        CloseReason::PeerClosed => Duration::ZERO,
        CloseReason::Drain => LINGER_DRAIN,
        _ => LINGER,
    };
    let cut = poll_fn(|cx| match connection.order(cx.waker()).immediate_close_reason() {
        Some(_) => Poll::Ready(()),
        None => Poll::Pending,
    });
    futures_util::future::select(pin!(linger(io, moment)), pin!(cut)).await;
}

async fn linger(io: &mut BoxIo, moment: Duration) {
    let _ = tokio::time::timeout(LINGER, io.shutdown()).await;
    if moment.is_zero() {
        return;
    }
    let mut scratch = buffer_pool::take(CHUNK);
    let rest = async {
        let mut left = LINGER_BYTES;
        while left > 0 {
            scratch.clear();
            match io.read_buf(&mut scratch).await {
                Ok(0) | Err(_) => break,
                Ok(bytes) => left = left.saturating_sub(bytes),
            }
        }
    };
    let _ = tokio::time::timeout(moment, rest).await;
    buffer_pool::give(scratch, CHUNK);
}
