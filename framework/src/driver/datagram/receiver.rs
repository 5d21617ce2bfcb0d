//! Receives datagrams from a socket, and pauses after repeated errors.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Sleep;

use crate::driver::datagram::drop_reason::{DropReason, reject_source};
use crate::driver::datagram::own_sockets::OwnSocket;
use crate::transport::{Datagram, DatagramSocket, Route};

/// Minimum size of the receive buffer: more than the largest UDP datagram.
const MIN_BUFFER: usize = 64 * 1024;
/// Maximum size of a datagram, whatever `limits.frame` is.
pub(crate) const MAX_DATAGRAM: usize = 1024 * 1024;
/// Receive errors in a row before receiving pauses.
const ERRORS_BEFORE_PAUSE: usize = 64;
/// Pause after that many receive errors in a row.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct DatagramReceiver {
    socket: Arc<dyn DatagramSocket>,
    buffer: BytesMut,
    limit: usize,
    errors_in_a_row: usize,
    pause: Option<Pin<Box<Sleep>>>,
    _own_sockets: Vec<OwnSocket>,
}

impl DatagramReceiver {
    pub(crate) fn new(socket: Arc<dyn DatagramSocket>, limit: usize) -> Self {
        let limit = limit.min(MAX_DATAGRAM);
        let own_sockets = socket.locals().into_iter().map(OwnSocket::register).collect();
        Self { socket, buffer: BytesMut::new(), limit, errors_in_a_row: 0, pause: None, _own_sockets: own_sockets }
    }

    pub(crate) fn check(&self, route: &Route, datagram: &Bytes) -> Result<(), DropReason> {
        if datagram.len() > self.limit {
            return Err(DropReason::FrameTooLarge); // and possibly truncated
        }
        reject_source(&route.peer).map_or(Ok(()), Err)
    }

    /// Receives up to `max` datagrams and appends them to `datagrams`.
    #[inline]
    pub(crate) fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
        datagrams: &mut Vec<Datagram>,
    ) -> Poll<io::Result<()>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        // One byte more than the limit, so that a truncated datagram is recognized as too large.
        self.buffer.clear();
        self.buffer.reserve((self.limit + 1).max(MIN_BUFFER));
        let received = ready!(self.socket.poll_receive_batch(cx, &mut self.buffer, max, datagrams));
        if received.is_ok() {
            self.errors_in_a_row = 0;
        } else {
            self.errors_in_a_row += 1;
            if self.errors_in_a_row.is_multiple_of(ERRORS_BEFORE_PAUSE) {
                self.pause = Some(Box::pin(tokio::time::sleep(ERROR_PAUSE)));
            }
        }
        Poll::Ready(received)
    }
}
