//! No framing: a message is the result of one read.

use bytes::{Bytes, BytesMut};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio_util::codec::{Decoder, Encoder};

use crate::framing::definition::{FrameError, built_in};
use crate::settings::Size;

/// A message is the result of one read, at most `limits.frame` bytes; nothing is added to a reply.
///
/// TCP does not preserve message boundaries: two quick sends can arrive as one message, and one send as two. Use `Raw`
/// for people at a terminal and for protocols that need no boundaries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Raw {
    /// The largest message; replaces `limits.frame`.
    max: Option<Size>,
}

/// The codec of [`Raw`].
#[derive(Debug, Clone)]
pub struct RawCodec {
    limit: usize,
}

built_in! {
    "raw", "no framing: each read from the socket is one message", Raw => RawCodec,
    |self, limit| RawCodec { limit: limit.max(1) };
    /// Sets the largest message in bytes; replaces `limits.frame`.
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
