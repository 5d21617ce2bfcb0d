//! Lines that are JSON.

use bytes::{Bytes, BytesMut};
use serde::de::IgnoredAny;
use tokio_util::codec::{Decoder, Encoder};

use crate::framing::{FrameError, Framing, Lines, LinesCodec};

/// A message is a line that holds one JSON value; any other line, an empty one too, is refused with reason `bad_frame`. So is
/// a number that the end of input ends: it may have been longer.
///
/// The handler gets the bytes of the line, known to be JSON. What it sends must be one JSON value without a line break, else
/// the connection closes with reason `handler_error`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JsonLines {
    lines: Lines,
}

impl JsonLines {
    /// The longest line in bytes, without its end, instead of `limits.frame`.
    #[must_use]
    pub fn max(self, bytes: usize) -> Self {
        Self { lines: self.lines.max(bytes) }
    }
}

impl Framing for JsonLines {
    type In = Bytes;
    type Out = Bytes;
    type Codec = JsonLinesCodec;

    fn codec(&self, limit: usize) -> JsonLinesCodec {
        JsonLinesCodec { lines: self.lines.codec(limit) }
    }

    fn limit(&self, limit: usize) -> usize {
        self.lines.limit(limit)
    }

    datagrams_as_they_are!();
}

/// The codec of [`JsonLines`].
#[derive(Debug, Clone)]
pub struct JsonLinesCodec {
    lines: LinesCodec,
}

/// JSON is text: what is ignored inside a string is still held to be UTF-8.
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
        // Every other value says itself where it ends.
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
