//! A connection in memory that behaves like a TCP connection: half-close, reset, and full windows.

use std::io;
use std::mem::take;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::testing::transcript::{Side, Transcript};

/// Bytes that the peer has read and the test has not taken yet. Above that, the peer stops reading.
const MAX_UNREAD: usize = 16 * 1024 * 1024;

/// The connection. Both ends refer to it.
pub(super) struct Pipe(Mutex<State>);

struct State {
    transcript: Transcript,
    /// Maximum bytes that the server has not read, and that one write of the server transfers.
    window: usize,
    to_server: Direction,
    to_peer: Direction,
    /// Bytes that the peer still reads before the window to it is closed. `None`: it reads all the time.
    credit: Option<usize>,
}

#[derive(Default)]
struct Direction {
    unread: BytesMut,
    /// The sender has ended its output.
    is_ended: bool,
    /// The receiver has closed the connection: it reads no more.
    is_abandoned: bool,
    is_reset: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// What the peer receives next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    Bytes,
    /// The server has ended its output.
    Ended,
    /// The connection was reset, by the server or by the peer.
    Reset,
}

impl Direction {
    /// Wakes both tasks, after the connection has changed.
    fn wake(&mut self) {
        [self.reader.take(), self.writer.take()].into_iter().flatten().for_each(Waker::wake);
    }

    fn bytes_taken(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl Pipe {
    /// A new connection, and its end for the server.
    pub(super) fn open(window: usize) -> (Arc<Self>, ServerEnd) {
        let state = State {
            transcript: Transcript::new(),
            window: window.max(1),
            to_server: Direction::default(),
            to_peer: Direction::default(),
            credit: None,
        };
        let pipe = Arc::new(Self(Mutex::new(state)));
        (pipe.clone(), ServerEnd(pipe))
    }

    /// The text of the transcript.
    pub(super) fn transcript(&self) -> String {
        self.0.lock().transcript.to_string()
    }

    /// Sends as many bytes as the window has room for. The bytes after the server has closed the connection are lost,
    /// as with TCP.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<usize> {
        let State { transcript, to_server, window, .. } = &mut *self.0.lock();
        let lost = match to_server {
            Direction { is_reset: true, .. } => Some("the connection is reset"),
            Direction { is_ended: true, .. } => Some("the peer has ended its output"),
            Direction { is_abandoned: true, .. } => Some("the server has closed the connection"),
            _ => None,
        };
        if let Some(lost) = lost {
            transcript.event(Side::Peer, format!("{} bytes are not sent: {lost}", bytes.len()));
            return Poll::Ready(bytes.len());
        }
        let room = window.saturating_sub(to_server.unread.len()).min(bytes.len());
        if room == 0 && !bytes.is_empty() {
            to_server.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        transcript.bytes(Side::Peer, &bytes[..room]);
        to_server.append(&bytes[..room]);
        Poll::Ready(room)
    }

    /// Sends bytes as to a process that is stopped: they are there when the server reads for another reason.
    pub(super) fn send_unnoticed(&self, bytes: &[u8]) {
        let State { transcript, to_server, .. } = &mut *self.0.lock();
        transcript.bytes(Side::Peer, bytes);
        to_server.unread.extend_from_slice(bytes);
    }

    /// Wakes the server after [`send_unnoticed`](Self::send_unnoticed).
    pub(super) fn notice(&self) {
        self.0.lock().to_server.wake();
    }

    /// Appends everything that has arrived to `received`.
    pub(super) fn poll_receive(&self, cx: &mut Context<'_>, received: &mut BytesMut) -> Poll<Received> {
        let to_peer = &mut self.0.lock().to_peer;
        if !to_peer.unread.is_empty() {
            received.extend_from_slice(&take(&mut to_peer.unread));
            to_peer.bytes_taken();
            return Poll::Ready(Received::Bytes);
        }
        match to_peer {
            Direction { is_reset: true, .. } => Poll::Ready(Received::Reset),
            Direction { is_ended: true, .. } => Poll::Ready(Received::Ended),
            _ => {
                to_peer.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(super) fn half_close(&self) {
        let State { transcript, to_server, .. } = &mut *self.0.lock();
        if !to_server.is_ended && !to_server.is_reset {
            to_server.is_ended = true;
            transcript.event(Side::Peer, "ends its output");
            to_server.wake();
        }
    }

    /// The peer resets the connection. The server still reads what it has received, as with TCP on Linux.
    pub(super) fn reset(&self) {
        let State { transcript, to_server, to_peer, .. } = &mut *self.0.lock();
        transcript.event(Side::Peer, "resets the connection");
        to_peer.unread.clear();
        for direction in [to_server, to_peer] {
            direction.is_reset = true;
            direction.wake();
        }
    }

    /// Closes or opens the window to the peer.
    pub(super) fn set_reading(&self, is_reading: bool) {
        let State { transcript, to_peer, credit, .. } = &mut *self.0.lock();
        *credit = if is_reading { None } else { Some(0) };
        transcript.event(Side::Peer, if is_reading { "resumes reading" } else { "stops reading" });
        to_peer.wake();
    }

    /// The peer reads so many more bytes, and then stops reading.
    pub(super) fn set_credit(&self, bytes: usize) {
        let State { to_peer, credit, .. } = &mut *self.0.lock();
        *credit = Some(bytes);
        to_peer.wake();
    }

    /// The peer is gone. The server reads the end of its output, and can write nothing more.
    pub(super) fn close(&self) {
        self.half_close();
        let to_peer = &mut self.0.lock().to_peer;
        to_peer.is_abandoned = true;
        to_peer.wake();
    }
}

/// The end of the server. Dropping it closes the connection.
pub(super) struct ServerEnd(Arc<Pipe>);

impl AsyncRead for ServerEnd {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let to_server = &mut self.0.0.lock().to_server;
        if !to_server.unread.is_empty() {
            let bytes = buf.remaining().min(to_server.unread.len());
            buf.put_slice(&to_server.unread[..bytes]);
            to_server.unread.advance(bytes);
            to_server.bytes_taken();
            return Poll::Ready(Ok(()));
        }
        match to_server {
            Direction { is_reset: true, .. } => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Direction { is_ended: true, .. } => Poll::Ready(Ok(())),
            _ => {
                to_server.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for ServerEnd {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let State { transcript, to_peer, window, credit, .. } = &mut *self.0.0.lock();
        match to_peer {
            Direction { is_reset: true, .. } => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Direction { is_ended: true, .. } | Direction { is_abandoned: true, .. } => {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            _ => {}
        }
        // The peer reads all the time, as a client with a task for it, not only while the test expects something.
        let room = credit.unwrap_or(usize::MAX).min(MAX_UNREAD - to_peer.unread.len()).min(*window).min(bytes.len());
        if room == 0 && !bytes.is_empty() {
            to_peer.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if let Some(credit) = credit {
            *credit -= room;
        }
        transcript.bytes(Side::Server, &bytes[..room]);
        to_peer.append(&bytes[..room]);
        Poll::Ready(Ok(room))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let State { transcript, to_peer, .. } = &mut *self.0.0.lock();
        if !to_peer.is_ended && !to_peer.is_reset {
            to_peer.is_ended = true;
            transcript.event(Side::Server, "ends its output");
            to_peer.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for ServerEnd {
    fn drop(&mut self) {
        let State { transcript, to_server, to_peer, .. } = &mut *self.0.0.lock();
        if to_server.is_reset {
            return;
        }
        // Closing a socket with unread input resets the connection (RFC 1122, section 4.2.2.13).
        to_peer.is_reset = !to_server.unread.is_empty();
        transcript
            .event(Side::Server, if to_peer.is_reset { "resets the connection" } else { "closes the connection" });
        to_peer.is_ended = true;
        to_server.is_abandoned = true;
        to_server.unread = BytesMut::new();
        to_server.wake();
        to_peer.wake();
    }
}
