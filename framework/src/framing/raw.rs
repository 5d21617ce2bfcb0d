//! No framing: a message is what one read brings.

use bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::framing::{FrameError, Framing};

/// A message is what one read brings, at most `limits.frame` bytes of it; nothing is added.
///
/// TCP keeps no boundaries: two quick sends may arrive as one message, and one send as two. Fit for people at a terminal
/// and for protocols that do not care where a message ends; anything else wants a framing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Raw {
    max: Option<usize>,
}

impl Raw {
    /// The largest message in bytes, instead of `limits.frame`.
    #[must_use]
    pub fn max(self, bytes: usize) -> Self {
        Self { max: Some(bytes) }
    }
}

/// The codec of [`Raw`].
#[derive(Debug, Clone)]
pub struct RawCodec {
    limit: usize,
}

impl Framing for Raw {
    type In = Bytes;
    type Out = Bytes;
    type Codec = RawCodec;

    fn codec(&self, limit: usize) -> RawCodec {
        RawCodec { limit: self.limit(limit) }
    }

    fn limit(&self, limit: usize) -> usize {
        self.max.unwrap_or(limit).max(1)
    }

    datagrams_as_they_are!();
}

impl Decoder for RawCodec {
    type Item = Bytes;
    type Error = FrameError;

    #[inline]
    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        match buffer.len() {
            0 => Ok(None),
            length => Ok(Some(buffer.split_to(length.min(self.limit)).freeze())),
        }
    }
}

impl Encoder<Bytes> for RawCodec {
    type Error = FrameError;

    #[inline]
    fn encode(&mut self, frame: Bytes, buffer: &mut BytesMut) -> Result<(), FrameError> {
        buffer.extend_from_slice(&frame);
        Ok(())
    }
}
