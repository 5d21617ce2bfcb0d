//! No framing: a message is the result of one read.

use bytes::{Bytes, BytesMut};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio_util::codec::{Decoder, Encoder};

use crate::framing::definition::{BuiltInFraming, Framing, unchanged_datagrams};
use crate::framing::error::FrameError;
use crate::settings::Size;

/// A message is the result of one read, at most `limits.frame` bytes; nothing is added to a reply.
///
/// TCP keeps no message boundaries: two quick sends can arrive as one message, and one send as two. Use `Raw` for
/// people at a terminal and for protocols that need no boundaries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Raw {
    /// The largest message; replaces `limits.frame`.
    max: Option<Size>,
}

impl Raw {
    /// Sets the largest message in bytes; replaces `limits.frame`.
    #[must_use]
    pub fn max(self, bytes: usize) -> Self {
        Self { max: Some(bytes.into()) }
    }
}

impl BuiltInFraming for Raw {
    const NAME: &str = "raw";
    const SUMMARY: &str = "no framing: each read from the socket is one message";
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
        self.max.map_or(limit, |max| *max).max(1)
    }

    unchanged_datagrams!();
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
