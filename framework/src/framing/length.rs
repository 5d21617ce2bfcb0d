//! A length, then so many bytes.

use bytes::{Buf, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::framing::{FrameError, Framing};

/// A message is an unsigned length and then so many bytes.
///
/// The announced length is held against the limit before anything else happens, and costs no memory: the buffer grows with
/// the bytes that come.
///
/// ```
/// use switchboard::framing::{ByteOrder, Framing, Length};
/// use tokio_util::codec::{Decoder, Encoder};
///
/// let mut codec = Length::new(2, ByteOrder::Big, 0)?.codec(1024);
/// let mut bytes = bytes::BytesMut::from(&b"\x00\x02hi"[..]);
/// assert_eq!(codec.decode(&mut bytes).unwrap().unwrap(), "hi");
/// # Ok::<(), switchboard::framing::LengthError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    width: usize,
    order: ByteOrder,
    offset: usize,
    max: Option<usize>,
}

/// Which byte of a number comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ByteOrder {
    /// The highest: network order.
    #[default]
    Big,
    /// The lowest.
    Little,
}

/// A length field that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LengthError {
    /// Its width is none of 1, 2, 3, 4, 8.
    #[error("a length of {0} bytes is not possible; 1, 2, 3, 4 or 8 are")]
    Width(usize),
    /// It stands too far inside.
    #[error("{0} bytes before the length are too many; 0 to 255 are possible")]
    Offset(usize),
}

impl Length {
    /// A length field of `width` bytes (1, 2, 3, 4 or 8) that comes after `offset` (0 to 255) bytes of the message.
    ///
    /// Those first bytes belong to the message and are not counted by its length: with an offset of 1, `T 0 0 0 2 h i` is
    /// the message `Thi`.
    pub fn new(width: usize, order: ByteOrder, offset: usize) -> Result<Self, LengthError> {
        match (width, offset) {
            (1 | 2 | 3 | 4 | 8, 0..=255) => Ok(Self { width, order, offset, max: None }),
            (1 | 2 | 3 | 4 | 8, _) => Err(LengthError::Offset(offset)),
            _ => Err(LengthError::Width(width)),
        }
    }

    /// The largest payload in bytes, instead of `limits.frame`.
    #[must_use]
    pub fn max(self, bytes: usize) -> Self {
        Self { max: Some(bytes), ..self }
    }
}

impl Default for Length {
    /// Four bytes, highest first, nothing before them.
    fn default() -> Self {
        Self { width: 4, order: ByteOrder::Big, offset: 0, max: None }
    }
}

impl Framing for Length {
    type In = Bytes;
    type Out = Bytes;
    type Codec = LengthCodec;

    fn codec(&self, limit: usize) -> LengthCodec {
        LengthCodec { field: *self, limit: self.limit(limit) }
    }

    fn limit(&self, limit: usize) -> usize {
        self.max.unwrap_or(limit)
    }

    datagrams_as_they_are!();
}

/// The codec of [`Length`].
#[derive(Debug, Clone)]
pub struct LengthCodec {
    field: Length,
    limit: usize,
}

impl Decoder for LengthCodec {
    type Item = Bytes;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let Length { width, order, offset, .. } = self.field;
        let Some(mut field) = buffer.get(offset..offset + width) else { return Ok(None) };
        let announced = match order {
            ByteOrder::Big => field.get_uint(width),
            ByteOrder::Little => field.get_uint_le(width),
        };
        let Some(length) = usize::try_from(announced).ok().filter(|length| *length <= self.limit) else {
            return Err(FrameError::TooLarge { limit: self.limit });
        };
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
}

impl Encoder<Bytes> for LengthCodec {
    type Error = FrameError;

    #[inline]
    fn encode(&mut self, frame: Bytes, buffer: &mut BytesMut) -> Result<(), FrameError> {
        let Length { width, order, offset, .. } = self.field;
        let Some((before, payload)) = frame.split_at_checked(offset) else {
            return Err(FrameError::Unfit("it is shorter than the bytes before the length"));
        };
        let length = payload.len() as u64;
        if width < 8 && length >> (8 * width) != 0 {
            return Err(FrameError::Unfit("its length does not fit the length field"));
        }
        buffer.reserve(frame.len() + width);
        buffer.extend_from_slice(before);
        match order {
            ByteOrder::Big => buffer.extend_from_slice(&length.to_be_bytes()[8 - width..]),
            ByteOrder::Little => buffer.extend_from_slice(&length.to_le_bytes()[..width]),
        }
        buffer.extend_from_slice(payload);
        Ok(())
    }
}
