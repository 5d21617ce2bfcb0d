//! Lines of bytes, ended by LF.

use bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::framing::{FrameError, Framing};

/// A message is a line: ended by LF, one CR before it is cut. At end of input an unended last line is a message too.
///
/// Lines are bytes: nothing is decoded. An outgoing frame gets an LF; one that holds an LF is several lines to the peer.
///
/// ```
/// use switchboard::framing::{Framing, Lines};
/// use tokio_util::codec::{Decoder, Encoder};
///
/// let mut codec = Lines::default().codec(1024);
/// let mut bytes = bytes::BytesMut::from("one\r\ntw");
/// assert_eq!(codec.decode(&mut bytes)?.unwrap(), "one");
/// assert_eq!(codec.decode(&mut bytes)?, None);
/// bytes.extend_from_slice(b"o\n");
/// assert_eq!(codec.decode(&mut bytes)?.unwrap(), "two");
/// # Ok::<(), switchboard::framing::FrameError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lines {
    max: Option<usize>,
}

impl Lines {
    /// The longest line in bytes, without its end, instead of `limits.frame`.
    #[must_use]
    pub fn max(self, bytes: usize) -> Self {
        Self { max: Some(bytes) }
    }
}

impl Framing for Lines {
    type In = Bytes;
    type Out = Bytes;
    type Codec = LinesCodec;

    fn codec(&self, limit: usize) -> LinesCodec {
        LinesCodec { limit: self.limit(limit), searched: 0 }
    }

    fn limit(&self, limit: usize) -> usize {
        self.max.unwrap_or(limit)
    }

    datagrams_as_they_are!();
}

/// The codec of [`Lines`].
#[derive(Debug, Clone)]
pub struct LinesCodec {
    limit: usize,
    /// So many bytes of the buffer hold no LF: a line that comes in pieces is searched once.
    searched: usize,
}

impl LinesCodec {
    #[inline]
    fn check(&self, line: Bytes) -> Result<Option<Bytes>, FrameError> {
        if line.len() > self.limit {
            return Err(FrameError::TooLarge { limit: self.limit });
        }
        Ok(Some(line))
    }
}

impl Decoder for LinesCodec {
    type Item = Bytes;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let Some(found) = memchr::memchr(b'\n', &buffer[self.searched..]) else {
            self.searched = buffer.len();
            // One byte more may yet turn out to be the CR of the line's end.
            let longest = self.limit.saturating_add(usize::from(buffer.last() == Some(&b'\r')));
            if buffer.len() > longest {
                return Err(FrameError::TooLarge { limit: self.limit });
            }
            return Ok(None);
        };
        let mut line = buffer.split_to(self.searched + found + 1);
        self.searched = 0;
        line.truncate(line.len() - 1);
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        self.check(line.freeze())
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        if let Some(line) = self.decode(buffer)? {
            return Ok(Some(line));
        }
        self.searched = 0;
        if buffer.is_empty() { Ok(None) } else { self.check(buffer.split().freeze()) }
    }
}

impl Encoder<Bytes> for LinesCodec {
    type Error = FrameError;

    #[inline]
    fn encode(&mut self, frame: Bytes, buffer: &mut BytesMut) -> Result<(), FrameError> {
        buffer.reserve(frame.len() + 1);
        buffer.extend_from_slice(&frame);
        buffer.extend_from_slice(b"\n");
        Ok(())
    }
}
