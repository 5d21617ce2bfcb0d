//! Lingering close, so that the last reply reaches the peer.
//!
//! Closing a socket with unread input resets the connection, and the reset can discard data that the peer has not read
//! yet (RFC 1122, section 4.2.2.13). The driver therefore shuts down its output first, then reads and drops input.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::close_reason::CloseReason;
use crate::connection::Connection;
use crate::deadline_timer;
use crate::driver::stream::buffer::{self, BufferSize};
use crate::transport::BoxIo;

/// Maximum time a closed connection lingers, and the maximum age of a write that makes it linger.
const LINGER_TIMEOUT: Duration = Duration::from_secs(1);
/// Maximum time a connection lingers that a drain closes.
const DRAIN_LINGER_TIMEOUT: Duration = Duration::from_millis(100);
/// Maximum time an aborted connection lingers that was sent a last message.
pub(crate) const ABORT_LINGER_TIMEOUT: Duration = Duration::from_millis(100);
/// Maximum bytes read and dropped while a connection lingers.
const MAX_LINGER_BYTES: usize = 1024 * 1024;

/// Whether a close for this reason writes the queued output and lingers.
pub(crate) fn is_graceful(reason: CloseReason) -> bool {
    use CloseReason::{Banned, DrainDeadline, IoError, Killed, OutboxFull, WriteStalled};
    !matches!(reason, Banned | IoError | Killed | DrainDeadline | OutboxFull | WriteStalled)
}

/// Whether the handler may send a last message when a connection closes for this reason.
pub(crate) fn takes_last_message(reason: CloseReason) -> bool {
    use CloseReason as R;
    !matches!(
        reason,
        R::Banned
            | R::Denied
            | R::HandlerClosed
            | R::Handshake
            | R::IoError
            | R::Limit
            | R::OutboxFull
            | R::PeerClosed
            | R::WriteStalled
    )
}

/// Shuts down the output, and lets the peer read what was written last. `last_write` is `None` if the peer has ended
/// its output. A signal to close immediately ends the wait.
pub(crate) async fn lingering_close(
    io: &mut BoxIo,
    connection: &Connection,
    reason: CloseReason,
    last_write: Option<Instant>,
) {
    if !is_graceful(reason) {
        return;
    }
    let timeout = match reason {
        _ if last_write.is_none_or(|last| last.elapsed() >= LINGER_TIMEOUT) => Duration::ZERO,
        CloseReason::PeerClosed => Duration::ZERO,
        CloseReason::Drain => DRAIN_LINGER_TIMEOUT,
        _ => LINGER_TIMEOUT,
    };
    let aborted = poll_fn(|cx| match connection.poll_signal(cx.waker()).is_abort() {
        true => Poll::Ready(()),
        false => Poll::Pending,
    });
    futures_util::future::select(pin!(linger(io, timeout)), pin!(aborted)).await;
}

pub(crate) async fn linger(io: &mut BoxIo, timeout: Duration) {
    let _ = deadline_timer::timeout(LINGER_TIMEOUT, io.shutdown()).await;
    if timeout.is_zero() {
        return;
    }
    let mut buffer = buffer::take(BufferSize::Large);
    let discard_input = async {
        let mut remaining = MAX_LINGER_BYTES;
        while remaining > 0 {
            buffer.clear();
            match io.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(bytes) => remaining = remaining.saturating_sub(bytes),
            }
        }
    };
    let _ = deadline_timer::timeout(timeout, discard_input).await;
    buffer::give(buffer, BufferSize::Large);
}
