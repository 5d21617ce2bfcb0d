//! The read half of a framed connection: reads from the transport and decodes messages.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio_util::codec::Decoder;
use tokio_util::io::poll_read_buf;

use crate::close_reason::CloseReason;
use crate::driver::close_outcome::CloseOutcome;
use crate::driver::stream::buffer::{self, FRAME_OVERHEAD, ReadBuffer};
use crate::error::BoxError;
use crate::transport::BoxIo;

pub(crate) struct FramedReader {
    pub(crate) buffer: ReadBuffer,
    limit: usize,
    /// Bytes read since the end of the last message, even if the codec has taken them out of the buffer.
    pub(crate) undecoded: usize,
    /// During a drain: undecoded bytes that were received before the drain began.
    draining_bytes: usize,
    /// The size of the last message.
    pub(crate) last_message: usize,
    /// Messages decoded since the counter of the connection was updated.
    pub(crate) uncounted: u32,
    /// The number of decoded messages, modulo 256. Reads do not reset it: a burst can consist of many reads.
    pub(crate) decoded: u8,
    pub(crate) ended: bool,
    pub(crate) is_draining: bool,
}

impl FramedReader {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            buffer: ReadBuffer::default(),
            limit,
            undecoded: 0,
            draining_bytes: 0,
            last_message: 0,
            uncounted: 0,
            decoded: 0,
            ended: false,
            is_draining: false,
        }
    }

    /// Sets the limit of another codec, which decodes the rest of the input.
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.undecoded = self.buffer.bytes.len();
    }

    /// Decodes the next message. `None`: more input is needed, or the drain is complete.
    #[inline(always)] // the result is a message, which each function that returns it copies
    pub(crate) fn decode<C>(&mut self, codec: &mut C) -> Result<Option<C::Item>, CloseOutcome>
    where
        C: Decoder,
        C::Error: Into<BoxError>,
    {
        if self.ended || self.is_draining {
            return self.decode_last(codec);
        }
        match codec.decode(&mut self.buffer.bytes) {
            Ok(Some(message)) => {
                self.message_decoded();
                Ok(Some(message))
            }
            Ok(None) => self.message_incomplete().map(|()| None),
            Err(error) => Err(CloseOutcome::from_decoder(error.into())),
        }
    }

    /// Like [`decode`](Self::decode), after the end of input and during a drain.
    #[cold]
    fn decode_last<C>(&mut self, codec: &mut C) -> Result<Option<C::Item>, CloseOutcome>
    where
        C: Decoder,
        C::Error: Into<BoxError>,
    {
        if self.is_drained() {
            return Ok(None);
        }
        let input = &mut self.buffer.bytes;
        let decoded = if self.ended { codec.decode_eof(input) } else { codec.decode(input) };
        match decoded.map_err(|error| CloseOutcome::from_decoder(error.into()))? {
            Some(message) => {
                self.message_decoded();
                self.draining_bytes = self.draining_bytes.saturating_sub(self.last_message);
                Ok(Some(message))
            }
            None if self.ended && self.undecoded > 0 => Err(CloseOutcome::plain(CloseReason::BadFrame)),
            None if self.ended => Err(CloseOutcome::plain(CloseReason::PeerClosed)),
            None => self.message_incomplete().map(|()| None),
        }
    }

    fn message_incomplete(&mut self) -> Result<(), CloseOutcome> {
        if self.undecoded > self.limit.saturating_add(FRAME_OVERHEAD) {
            return Err(CloseOutcome::plain(CloseReason::FrameTooLarge));
        }
        self.buffer.compact();
        Ok(())
    }

    #[inline]
    fn message_decoded(&mut self) {
        let rest = self.buffer.bytes.len();
        (self.last_message, self.undecoded) = (self.undecoded.saturating_sub(rest), rest);
        self.uncounted += 1;
        self.decoded = self.decoded.wrapping_add(1);
    }

    /// Reads once. Returns the number of bytes; 0 if the peer has ended its output.
    pub(crate) fn poll_read(&mut self, io: &mut BoxIo, cx: &mut Context<'_>) -> Poll<Result<usize, CloseOutcome>> {
        let size = self.buffer.next_size();
        let mut buffer = self.buffer.take(size);
        let Poll::Ready(read) = poll_read_buf(Pin::new(io), cx, &mut buffer) else {
            buffer::give_unused(buffer, size);
            return Poll::Pending;
        };
        let bytes = match read {
            // TLS reports a close without close_notify. Between messages no data is lost.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && self.undecoded == 0 => 0,
            read => read.map_err(CloseOutcome::from_io)?,
        };
        self.ended |= bytes == 0;
        self.undecoded += bytes;
        self.buffer.append(buffer, size, self.limit);
        Poll::Ready(Ok(bytes))
    }

    /// Whether the peer may send more, and less than `max` bytes are buffered.
    pub(crate) fn wants_input(&self, max: usize) -> bool {
        !self.ended && self.buffer.bytes.len() < max
    }

    /// From now on, only the messages in the bytes received so far are decoded.
    pub(crate) fn begin_drain(&mut self) {
        (self.draining_bytes, self.is_draining) = (self.undecoded, true);
    }

    /// Whether every message received before the drain is decoded.
    pub(crate) fn is_drained(&self) -> bool {
        self.is_draining && self.draining_bytes == 0
    }
}
