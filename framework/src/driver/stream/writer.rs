//! The write half of a framed connection: encodes replies and pushed frames, and writes them to the transport.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::AsyncWrite;
use tokio_util::codec::Encoder;

use crate::close_reason::CloseReason;
use crate::connection::ConnectionCounters;
use crate::driver::close_outcome::CloseOutcome;
use crate::driver::stream::buffer::{self, BufferSize, LARGE_BUFFER};
use crate::driver::stream::deadlines::Deadlines;
use crate::error::BoxError;
use crate::outbox::Outbox;
use crate::transport::BoxIo;

/// Maximum unwritten output that is copied out of its large buffer while the peer does not read.
const SMALL_OUTPUT: usize = LARGE_BUFFER / 4;

pub(crate) struct FramedWriter<Out> {
    pub(crate) outbox: Arc<Outbox<Out>>,
    /// Encoded output. Unallocated while it is empty.
    buffer: BytesMut,
}

impl<Out> FramedWriter<Out> {
    pub(crate) fn new(outbox: Arc<Outbox<Out>>) -> Self {
        Self { outbox, buffer: BytesMut::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Whether more frames may be encoded before the output is written.
    #[inline]
    pub(crate) fn has_capacity(&self) -> bool {
        self.buffer.len() < LARGE_BUFFER
    }

    pub(crate) fn discard(&mut self) {
        self.release_buffer();
        self.discard_pushed();
    }

    #[inline]
    fn release_buffer(&mut self) {
        if self.buffer.capacity() > 0 {
            buffer::give(std::mem::take(&mut self.buffer), BufferSize::Large);
        }
    }

    pub(crate) fn discard_pushed(&mut self) {
        while self.outbox.pop().is_some() {}
    }

    #[inline]
    pub(crate) fn encode<C>(&mut self, codec: &mut C, frame: Out) -> Result<(), CloseOutcome>
    where
        C: Encoder<Out>,
        C::Error: Into<BoxError>,
    {
        if self.buffer.capacity() == 0 {
            self.buffer = buffer::take(BufferSize::Large);
        }
        codec
            .encode(frame, &mut self.buffer)
            .map_err(|error| CloseOutcome::new(CloseReason::HandlerError, Some(error.into())))
    }

    /// Encodes the oldest pushed frame. False if there is none.
    pub(crate) fn encode_pushed<C>(&mut self, codec: &mut C) -> Result<bool, CloseOutcome>
    where
        C: Encoder<Out>,
        C::Error: Into<BoxError>,
    {
        match self.outbox.pop() {
            Some(frame) => self.encode(codec, frame).map(|()| true),
            None => Ok(false),
        }
    }

    pub(crate) fn poll_write(
        &mut self,
        io: &mut BoxIo,
        cx: &mut Context<'_>,
        deadlines: &mut Deadlines,
        counters: &ConnectionCounters,
    ) -> Result<(), CloseOutcome> {
        // An empty buffer is blocked while the transport still has output.
        let mut is_unflushed = self.buffer.is_empty() && deadlines.write_blocked.is_some();
        while !self.buffer.is_empty() {
            match Pin::new(&mut *io).poll_write(cx, &self.buffer) {
                Poll::Ready(Ok(0)) => return Err(CloseOutcome::from_io(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(bytes)) => {
                    if bytes == self.buffer.len() {
                        self.buffer.clear();
                    } else {
                        self.buffer.advance(bytes);
                    }
                    counters.bytes_out.add(bytes);
                    is_unflushed = true;
                    deadlines.bytes_written();
                }
                Poll::Ready(Err(error)) => return Err(CloseOutcome::from_io(error)),
                Poll::Pending => {
                    deadlines.write_blocked();
                    if self.buffer.len() < SMALL_OUTPUT && self.buffer.capacity() >= LARGE_BUFFER / 2 {
                        let rest = BytesMut::from(&self.buffer[..]);
                        buffer::give(std::mem::replace(&mut self.buffer, rest), BufferSize::Large);
                    }
                    return Ok(());
                }
            }
        }
        self.release_buffer();
        if is_unflushed {
            match Pin::new(io).poll_flush(cx) {
                Poll::Ready(result) => {
                    result.map_err(CloseOutcome::from_io)?;
                    deadlines.write_blocked = None;
                }
                Poll::Pending => deadlines.write_blocked(),
            }
        }
        Ok(())
    }
}

/// Also if the task of the connection is dropped: its memberships end, and pushers keep no frames alive.
impl<Out> Drop for FramedWriter<Out> {
    fn drop(&mut self) {
        self.outbox.close();
        self.outbox.drop_frames();
    }
}
