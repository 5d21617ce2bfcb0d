//! Lines of bytes that end in LF or CRLF.

use bytes::{Bytes, BytesMut};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio_util::codec::{Decoder, Encoder};

use crate::framing::definition::{FrameError, built_in};
use crate::settings::Size;

/// A message is a line that ends in LF or CRLF. At end of input, an unterminated last line is a message too.
///
/// Lines are bytes, with no text encoding. An outgoing message gets an LF; the peer reads one that contains LF as
/// several.
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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Lines {
    /// The longest line, without its end; replaces `limits.frame`.
    max: Option<Size>,
}

built_in! {
    "lines", "lines ending in LF or CRLF; replies end in LF", Lines => LinesCodec,
    |self, limit| LinesCodec { limit, searched: 0 };
    /// Sets the longest line in bytes, without its end; replaces `limits.frame`.
}

/// The codec of [`Lines`].
#[derive(Debug, Clone)]
pub struct LinesCodec {
    limit: usize,
    /// The first bytes of the buffer that contain no LF. They are not searched again.
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

    #[inline(always)] // the result is a message, which each function that returns it copies
    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let Some(found) = memchr::memchr(b'\n', &buffer[self.searched..]) else {
            self.searched = buffer.len();
            // A last CR can be the first half of CRLF, which the limit does not count.
            let longest = self.limit.saturating_add(usize::from(buffer.last() == Some(&b'\r')));
            if buffer.len() > longest {
                return Err(FrameError::TooLarge { limit: self.limit });
            }
            return Ok(None);
        };
        let end = self.searched + found;
        let has_cr = end > 0 && buffer[end - 1] == b'\r';
        let mut line = buffer.split_to(end + 1);
        line.truncate(end - usize::from(has_cr));
        self.searched = 0;
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
