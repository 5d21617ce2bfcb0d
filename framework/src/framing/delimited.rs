//! Messages ended by a delimiter of one's own.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use memchr::memmem;
use tokio_util::codec::{Decoder, Encoder};

use crate::framing::{FrameError, Framing};

/// A message is what stands before the next delimiter. An outgoing frame gets the delimiter too.
///
/// Bytes after the last delimiter, at end of input, are a frame that was cut off: reason `bad_frame`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delimited {
    delimiter: Arc<[u8]>,
    max: Option<usize>,
}

impl Delimited {
    /// Messages ended by `delimiter`; `None` if it is empty or longer than 255 bytes.
    pub fn new(delimiter: impl AsRef<[u8]>) -> Option<Self> {
        match delimiter.as_ref() {
            [] => None,
            delimiter if delimiter.len() > 255 => None,
            delimiter => Some(Self { delimiter: delimiter.into(), max: None }),
        }
    }

    /// The largest message in bytes, without the delimiter, instead of `limits.frame`.
    #[must_use]
    pub fn max(self, bytes: usize) -> Self {
        Self { max: Some(bytes), ..self }
    }
}

impl Framing for Delimited {
    type In = Bytes;
    type Out = Bytes;
    type Codec = DelimitedCodec;

    fn codec(&self, limit: usize) -> DelimitedCodec {
        DelimitedCodec { delimiter: self.delimiter.clone(), limit: self.limit(limit), searched: 0 }
    }

    fn limit(&self, limit: usize) -> usize {
        self.max.unwrap_or(limit)
    }

    datagrams_as_they_are!();
}

/// The codec of [`Delimited`].
#[derive(Debug, Clone)]
pub struct DelimitedCodec {
    delimiter: Arc<[u8]>,
    limit: usize,
    /// No delimiter begins in so many bytes of the buffer.
    searched: usize,
}

impl Decoder for DelimitedCodec {
    type Item = Bytes;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let width = self.delimiter.len();
        let rest = &buffer[self.searched..];
        let found = match *self.delimiter {
            [byte] => memchr::memchr(byte, rest),
            _ => memmem::find(rest, &self.delimiter),
        };
        let Some(found) = found else {
            self.searched = (buffer.len() + 1).saturating_sub(width).max(self.searched);
            // The last bytes may be the beginning of the delimiter.
            if buffer.len() > self.limit.saturating_add(width - 1) {
                return Err(FrameError::TooLarge { limit: self.limit });
            }
            return Ok(None);
        };
        let mut message = buffer.split_to(self.searched + found + width);
        self.searched = 0;
        message.truncate(message.len() - width);
        if message.len() > self.limit {
            return Err(FrameError::TooLarge { limit: self.limit });
        }
        Ok(Some(message.freeze()))
    }
}

impl Encoder<Bytes> for DelimitedCodec {
    type Error = FrameError;

    fn encode(&mut self, frame: Bytes, buffer: &mut BytesMut) -> Result<(), FrameError> {
        buffer.reserve(frame.len() + self.delimiter.len());
        buffer.extend_from_slice(&frame);
        buffer.extend_from_slice(&self.delimiter);
        Ok(())
    }
}
