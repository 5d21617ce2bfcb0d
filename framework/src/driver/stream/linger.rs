//! Lingering close, so that the last reply reaches the peer.
//!
//! Closing a socket with unread input resets the connection, and the reset can discard data that the peer has not read
//! yet (RFC 1122, section 4.2.2.13). The driver therefore shuts down its output first, then reads and drops input.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::Instant;
use tokio_util::io::poll_read_buf;

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
    let mut remaining = MAX_LINGER_BYTES;
    let discard_input = poll_fn(|cx| poll_discard(io, &mut remaining, cx));
    let _ = deadline_timer::timeout(timeout, discard_input).await;
}

/// Reads and drops input until the peer ends its output, an error occurs, or nothing remains of `remaining`. Holds no
/// buffer while it waits.
fn poll_discard(io: &mut BoxIo, remaining: &mut usize, cx: &mut Context<'_>) -> Poll<()> {
    let mut buffer = buffer::take(BufferSize::Large);
    let result = loop {
        buffer.clear();
        match poll_read_buf(Pin::new(&mut *io), cx, &mut buffer) {
            Poll::Ready(Ok(bytes)) if (1..*remaining).contains(&bytes) => *remaining -= bytes,
            Poll::Ready(_) => break Poll::Ready(()),
            Poll::Pending => break Poll::Pending,
        }
    };
    buffer::give(buffer, BufferSize::Large);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_hold_no_buffer_while_they_linger() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (mut clients, mut servers): (Vec<_>, Vec<_>) =
                (0..20).map(|_| tokio::io::duplex(64)).map(|(client, server)| (client, BoxIo::new(server))).unzip();
            let lingering = servers.iter_mut().map(|io| linger(io, LINGER_TIMEOUT));
            let mut lingering = std::pin::pin!(futures_util::future::join_all(lingering));
            for client in &mut clients {
                client.write_all(b"input").await.unwrap();
                assert!(futures_util::poll!(&mut lingering).is_pending());
            }
            assert_eq!(BufferSize::Large.free_list().with_borrow(Vec::len), 1, "buffers in use at the same time");
            drop(clients);
            lingering.await;
        });
    }
}
