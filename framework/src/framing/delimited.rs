//! Messages that end with a configurable delimiter.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use memchr::memmem;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use tokio_util::codec::{Decoder, Encoder};

use crate::error::debug_as_display;
use crate::framing::definition::{FrameError, built_in, last};
use crate::settings::Size;

/// A message is the bytes before the next delimiter. An outgoing message gets the delimiter too.
///
/// Bytes after the last delimiter at end of input are an incomplete message: reason `bad_frame`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Delimited {
    /// The text that ends a message, 1 to 255 bytes.
    #[schemars(schema_with = "delimiter_schema")]
    delimiter: Delimiter,
    /// The largest message, without the delimiter; replaces `limits.frame`.
    max: Option<Size>,
}

/// A delimiter that is empty or too long.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDelimiter {
    /// The delimiter is empty.
    #[error("a delimiter cannot be empty; write it like \"|\"")]
    Empty,
    /// The delimiter has more than 255 bytes.
    #[error("a delimiter of {0} bytes is too long; 1 to 255 bytes are possible")]
    TooLong(usize),
}

debug_as_display!(InvalidDelimiter);

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct Delimiter(Arc<[u8]>);

impl Delimiter {
    fn new(delimiter: &[u8]) -> Result<Self, InvalidDelimiter> {
        match delimiter.len() {
            0 => Err(InvalidDelimiter::Empty),
            1..=255 => Ok(Self(delimiter.into())),
            length => Err(InvalidDelimiter::TooLong(length)),
        }
    }
}

impl TryFrom<String> for Delimiter {
    type Error = InvalidDelimiter;

    fn try_from(text: String) -> Result<Self, InvalidDelimiter> {
        Self::new(text.as_bytes())
    }
}

fn delimiter_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": 255, "examples": ["|"] })
}

impl Delimited {
    /// Messages that end with `delimiter`, 1 to 255 bytes.
    pub fn new(delimiter: impl AsRef<[u8]>) -> Result<Self, InvalidDelimiter> {
        Ok(Self { delimiter: Delimiter::new(delimiter.as_ref())?, max: None })
    }
}

built_in! {
    "delimited", "messages end with a delimiter that you choose; it is appended to replies", Delimited => DelimitedCodec,
    |self, limit| DelimitedCodec { messages: Arc::new(Messages { delimiter: self.delimiter.clone(), limit }), searched: 0 };
    /// Sets the largest message in bytes, without the delimiter; replaces `limits.frame`.
}

/// The codec of [`Delimited`].
#[derive(Debug, Clone)]
pub struct DelimitedCodec {
    /// Boxed: an idle connection reserves memory for the codec of any framing.
    messages: Arc<Messages>,
    /// The first bytes of the buffer, in which no delimiter begins. They are not searched again.
    searched: usize,
}

#[derive(Debug)]
struct Messages {
    delimiter: Delimiter,
    limit: usize,
}

impl Decoder for DelimitedCodec {
    type Item = Bytes;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let Messages { delimiter: Delimiter(delimiter), limit } = &*self.messages;
        let (width, limit) = (delimiter.len(), *limit);
        let rest = &buffer[self.searched..];
        let found = match **delimiter {
            [byte] => memchr::memchr(byte, rest),
            _ => memmem::find(rest, delimiter),
        };
        let Some(found) = found else {
            self.searched = (buffer.len() + 1).saturating_sub(width).max(self.searched);
            // The last bytes can be the beginning of the delimiter, which the limit does not count.
            if buffer.len() > limit.saturating_add(width - 1) {
                return Err(FrameError::TooLarge { limit });
            }
            return Ok(None);
        };
        let mut message = buffer.split_to(self.searched + found + width);
        self.searched = 0;
        message.truncate(message.len() - width);
        if message.len() > limit {
            return Err(FrameError::TooLarge { limit });
        }
        Ok(Some(message.freeze()))
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        last(self.decode(buffer)?, buffer)
    }
}

impl Encoder<Bytes> for DelimitedCodec {
    type Error = FrameError;

    fn encode(&mut self, frame: Bytes, buffer: &mut BytesMut) -> Result<(), FrameError> {
        let Delimiter(delimiter) = &self.messages.delimiter;
        buffer.reserve(frame.len() + delimiter.len());
        buffer.extend_from_slice(&frame);
        buffer.extend_from_slice(delimiter);
        Ok(())
    }
}
