//! A length prefix, then the payload.

use bytes::{Buf, Bytes, BytesMut};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use tokio_util::codec::{Decoder, Encoder};

use crate::error::debug_as_display;
use crate::framing::definition::{FrameError, built_in, last};
use crate::settings::Size;

/// A message is an unsigned length, then as many bytes.
///
/// The codec compares the announced length with the limit first. It allocates no memory for it: the buffer grows with
/// the received bytes.
///
/// ```
/// use switchboard::framing::{ByteOrder, Framing, Length};
/// use tokio_util::codec::{Decoder, Encoder};
///
/// let mut codec = Length::new(2, ByteOrder::Big, 0)?.codec(1024);
/// let mut bytes = bytes::BytesMut::from(&b"\x00\x02hi"[..]);
/// assert_eq!(codec.decode(&mut bytes).unwrap().unwrap(), "hi");
/// # Ok::<(), switchboard::framing::InvalidLength>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Length {
    /// Bytes of the length: 1, 2, 3, 4 or 8.
    #[schemars(schema_with = "width_schema")]
    width: Width,
    /// Byte order of the length.
    order: ByteOrder,
    /// Bytes before the length, 0 to 255. They are the first bytes of the message, and the length does not count them.
    offset: u8,
    /// The largest payload; replaces `limits.frame`.
    max: Option<Size>,
}

/// The byte order of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ByteOrder {
    /// Most significant byte first: network byte order.
    #[default]
    Big,
    /// Least significant byte first.
    Little,
}

/// An invalid length field.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLength {
    /// The width is not 1, 2, 3, 4 or 8.
    #[error("a length of {0} bytes is not possible; 1, 2, 3, 4 or 8 are")]
    Width(u64),
    /// The offset is larger than 255.
    #[error("an offset of {0} bytes is not possible; 0 to 255 are")]
    Offset(usize),
}

debug_as_display!(InvalidLength);

/// The width of a length field in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "u64")]
struct Width(u8);

impl Default for Width {
    fn default() -> Self {
        Self(4)
    }
}

impl TryFrom<u64> for Width {
    type Error = InvalidLength;

    fn try_from(width: u64) -> Result<Self, InvalidLength> {
        match width {
            1..=4 | 8 => Ok(Self(width as u8)),
            _ => Err(InvalidLength::Width(width)),
        }
    }
}

fn width_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "enum": [1, 2, 3, 4, 8] })
}

impl Length {
    /// A length field of `width` bytes (1, 2, 3, 4 or 8) after the first `offset` (0 to 255) bytes of the message.
    ///
    /// The first bytes belong to the message, and the length does not count them: with an offset of 1, `T 0 0 0 2 h i`
    /// is the message `Thi`.
    pub fn new(width: usize, order: ByteOrder, offset: usize) -> Result<Self, InvalidLength> {
        let width = Width::try_from(width as u64)?;
        let offset = u8::try_from(offset).map_err(|_| InvalidLength::Offset(offset))?;
        Ok(Self { width, order, offset, max: None })
    }
}

built_in! {
    "length", "a length prefix, then the payload", Length => LengthCodec,
    |self, limit| LengthCodec { width: self.width.0, order: self.order, offset: self.offset, limit };
    /// Sets the largest payload in bytes; replaces `limits.frame`.
}

/// The codec of [`Length`].
#[derive(Debug, Clone)]
pub struct LengthCodec {
    width: u8,
    order: ByteOrder,
    offset: u8,
    limit: usize,
}

impl LengthCodec {
    /// Whether the length has four bytes, big endian, at the start: the default, which needs no general code.
    #[inline]
    fn is_default(&self) -> bool {
        matches!(self, Self { width: 4, order: ByteOrder::Big, offset: 0, .. })
    }

    fn too_large(&self) -> FrameError {
        FrameError::TooLarge { limit: self.limit }
    }

    fn decode_any(&self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let (width, offset) = (usize::from(self.width), usize::from(self.offset));
        let Some(mut field) = buffer.get(offset..offset + width) else { return Ok(None) };
        let announced = match self.order {
            ByteOrder::Big => field.get_uint(width),
            ByteOrder::Little => field.get_uint_le(width),
        };
        let length = usize::try_from(announced).ok().filter(|length| *length <= self.limit);
        let length = length.ok_or_else(|| self.too_large())?;
        if buffer.len() - offset - width < length {
            return Ok(None);
        }
        if offset == 0 {
            buffer.advance(width);
            return Ok(Some(buffer.split_to(length).freeze()));
        }
        let mut message = BytesMut::with_capacity(offset + length);
        message.extend_from_slice(&buffer[..offset]);
        buffer.advance(offset + width);
        message.extend_from_slice(&buffer.split_to(length));
        Ok(Some(message.freeze()))
    }

    fn encode_any(&self, frame: &[u8], buffer: &mut BytesMut) -> Result<(), FrameError> {
        let width = usize::from(self.width);
        let Some((before, payload)) = frame.split_at_checked(self.offset.into()) else {
            return Err(FrameError::Unfit("it is shorter than the bytes before the length"));
        };
        let length = payload.len() as u64;
        if width < 8 && length >> (8 * width) != 0 {
            return Err(FrameError::Unfit("its length does not fit the length field"));
        }
        buffer.reserve(frame.len() + width);
        buffer.extend_from_slice(before);
        match self.order {
            ByteOrder::Big => buffer.extend_from_slice(&length.to_be_bytes()[8 - width..]),
            ByteOrder::Little => buffer.extend_from_slice(&length.to_le_bytes()[..width]),
        }
        buffer.extend_from_slice(payload);
        Ok(())
    }
}

impl Decoder for LengthCodec {
    type Item = Bytes;
    type Error = FrameError;

    #[inline(always)] // the result is a message, which each function that returns it copies
    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        if !self.is_default() {
            return self.decode_any(buffer);
        }
        let Some(field) = buffer.first_chunk() else { return Ok(None) };
        let length = u32::from_be_bytes(*field) as usize;
        if length > self.limit {
            return Err(self.too_large());
        }
        if buffer.len() - size_of::<u32>() < length {
            return Ok(None);
        }
        buffer.advance(size_of::<u32>());
        Ok(Some(buffer.split_to(length).freeze()))
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        last(self.decode(buffer)?, buffer)
    }
}

impl Encoder<Bytes> for LengthCodec {
    type Error = FrameError;

    #[inline]
    fn encode(&mut self, frame: Bytes, buffer: &mut BytesMut) -> Result<(), FrameError> {
        match u32::try_from(frame.len()) {
            Ok(length) if self.is_default() => {
                buffer.reserve(frame.len() + size_of::<u32>());
                buffer.extend_from_slice(&length.to_be_bytes());
                buffer.extend_from_slice(&frame);
                Ok(())
            }
            _ => self.encode_any(&frame, buffer),
        }
    }
}
