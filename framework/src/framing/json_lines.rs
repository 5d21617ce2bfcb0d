//! Lines with one JSON value each.

use bytes::{Bytes, BytesMut};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio_util::codec::{Decoder, Encoder};

use crate::framing::definition::{FrameError, built_in};
use crate::framing::lines::{Lines, LinesCodec};
use crate::settings::Size;

/// A message is a line with one JSON value. Any other line, also an empty one, closes the connection with reason
/// `bad_frame`. So does a number that ends at the end of input, because its last digits may be missing.
///
/// The handler gets the bytes of the line, which are valid JSON. A reply must be one JSON value without a line break,
/// or the connection closes with reason `handler_error`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JsonLines {
    /// The longest line, without its end; replaces `limits.frame`.
    max: Option<Size>,
}

built_in! {
    "json-lines", "one JSON value per line; anything else, also an empty line, is rejected", JsonLines => JsonLinesCodec,
    |self, limit| JsonLinesCodec { lines: Lines::default().codec(limit) };
    /// Sets the longest line in bytes, without its end; replaces `limits.frame`.
}

/// The codec of [`JsonLines`].
#[derive(Debug, Clone)]
pub struct JsonLinesCodec {
    lines: LinesCodec,
}

/// JSON is UTF-8 (RFC 8259); `IgnoredAny` alone would accept other bytes inside a string.
fn is_json(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

fn checked(line: Option<Bytes>) -> Result<Option<Bytes>, FrameError> {
    match line {
        Some(line) if !is_json(&line) => Err(FrameError::Malformed("a line is not one JSON value")),
        line => Ok(line),
    }
}

impl Decoder for JsonLinesCodec {
    type Item = Bytes;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        self.lines.decode(buffer).and_then(checked)
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let whole = buffer.contains(&b'\n');
        let line = self.lines.decode_eof(buffer).and_then(checked)?;
        match &line {
            Some(number) if !whole && number.last().is_some_and(u8::is_ascii_digit) => {
                Err(FrameError::Malformed("a number was cut off by the end of input"))
            }
            _ => Ok(line),
        }
    }
}

impl Encoder<Bytes> for JsonLinesCodec {
    type Error = FrameError;

    fn encode(&mut self, frame: Bytes, buffer: &mut BytesMut) -> Result<(), FrameError> {
        if frame.contains(&b'\n') || !is_json(&frame) {
            return Err(FrameError::Unfit("it is not one JSON value on one line"));
        }
        self.lines.encode(frame, buffer)
    }
}
