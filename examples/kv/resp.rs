//! RESP2, the Redis protocol: requests are arrays of bulk strings or inline commands; replies are values.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use switchboard::framing::FrameError;
use switchboard::prelude::{Bytes, BytesMut};
use switchboard::tokio_util::codec::{Decoder, Encoder};

use crate::command::{Command, Words};

/// Maximum number of words in a command.
const MAX_WORDS: usize = 4096;
/// Maximum length of an inline command.
const MAX_INLINE: usize = 64 * 1024;
/// A larger list of words is freed after its command.
const WORDS_KEPT: usize = 64;

/// The codec of one connection. It keeps its position, so that a command that arrives in pieces is parsed only once.
pub(crate) struct Resp {
    /// Maximum length of a command in bytes.
    limit: usize,
    /// Number of bytes of the buffer that are parsed (array) or contain no line end (inline command).
    position: usize,
    /// Positions of the words received so far.
    words: Vec<Range<usize>>,
    /// Number of words of the array that are not received yet.
    missing: usize,
}

impl Resp {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, position: 0, words: Vec::new(), missing: 0 }
    }

    /// Parses an array such as `*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n`. Returns whether it is complete.
    fn parse_array(&mut self, buffer: &[u8]) -> Result<bool, FrameError> {
        if self.position == 0 {
            let Some((count, after)) = header(buffer, 0, b'*')? else { return Ok(false) };
            if count > MAX_WORDS {
                return Err(FrameError::Malformed("too many arguments"));
            }
            (self.missing, self.position) = (count, after);
        }
        while self.missing > 0 {
            let Some((length, start)) = header(buffer, self.position, b'$')? else { return Ok(false) };
            let end = start + length;
            // The announced length is checked against the limit before the string is buffered.
            if end + 2 > self.limit {
                return Err(FrameError::TooLarge { limit: self.limit });
            }
            match buffer.get(end..end + 2) {
                None => return Ok(false),
                Some(b"\r\n") => self.words.push(start..end),
                Some(_) => return Err(FrameError::Malformed("a string is longer than its announced length")),
            }
            self.position = end + 2;
            self.missing -= 1;
        }
        Ok(true)
    }

    /// Parses an inline command such as `GET key\r\n`. Returns whether it is complete.
    fn parse_inline(&mut self, buffer: &[u8]) -> Result<bool, FrameError> {
        let limit = self.limit.min(MAX_INLINE);
        let end = buffer[self.position..].iter().position(|byte| *byte == b'\n').map(|found| self.position + found);
        if end.unwrap_or(buffer.len()) > limit {
            return Err(FrameError::TooLarge { limit });
        }
        self.position = end.map_or(buffer.len(), |end| end + 1);
        let Some(end) = end else { return Ok(false) };
        let mut start = 0;
        for word in buffer[..end].split(u8::is_ascii_whitespace) {
            if !word.is_empty() {
                self.words.push(start..start + word.len());
            }
            start += word.len() + 1;
        }
        if self.words.len() > MAX_WORDS {
            return Err(FrameError::Malformed("too many arguments"));
        }
        Ok(true)
    }
}

/// Parses a type byte, a number and CR LF. Returns the number and the position after it, or `None` if it is incomplete.
fn header(buffer: &[u8], at: usize, kind: u8) -> Result<Option<(usize, usize)>, FrameError> {
    match buffer.get(at) {
        None => return Ok(None),
        Some(first) if *first == kind => {}
        Some(_) => return Err(FrameError::Malformed("expected a bulk string")),
    }
    let mut number = 0;
    for (index, byte) in buffer[at + 1..].iter().enumerate() {
        match byte {
            // Nine digits exceed every limit here and cannot overflow.
            b'0'..=b'9' if index < 9 => number = number * 10 + usize::from(byte - b'0'),
            b'\r' if index > 0 => {
                let end = at + 1 + index + 1;
                return match buffer.get(end) {
                    None => Ok(None),
                    Some(b'\n') => Ok(Some((number, end + 1))),
                    Some(_) => Err(FrameError::Malformed("CR without LF")),
                };
            }
            _ => return Err(FrameError::Malformed("a length is not a number")),
        }
    }
    Ok(None)
}

impl Decoder for Resp {
    type Item = Command;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Command>, FrameError> {
        loop {
            let is_complete = match buffer.first() {
                None => false,
                Some(b'*') => self.parse_array(buffer)?,
                Some(_) => self.parse_inline(buffer)?,
            };
            if !is_complete {
                return Ok(None);
            }
            let bytes = buffer.split_to(std::mem::take(&mut self.position)).freeze();
            if self.words.is_empty() {
                continue; // An empty line or array is ignored.
            }
            let command = Command::parse(&Words { bytes: &bytes, at: &self.words });
            self.words.clear();
            self.words.shrink_to(WORDS_KEPT);
            return Ok(Some(command));
        }
    }
}

/// A reply.
pub(crate) enum Value {
    Simple(&'static str),
    Error(Cow<'static, str>),
    Integer(i64),
    /// The key does not exist.
    Nil,
    Bulk(Bytes),
    /// A value shared with the store, without a copy.
    Stored(Arc<[u8]>),
    /// The header of an array with this number of values. Each value follows as a separate frame.
    Array(usize),
}

impl Value {
    pub(crate) const OK: Self = Self::Simple("OK");
}

impl Encoder<Value> for Resp {
    type Error = FrameError;

    fn encode(&mut self, value: Value, buffer: &mut BytesMut) -> Result<(), FrameError> {
        match value {
            Value::Simple(text) => line(buffer, b'+', text.as_bytes()),
            Value::Error(text) => line(buffer, b'-', text.as_bytes()),
            Value::Integer(number) => line(buffer, b':', decimal(number, &mut [0; 20])),
            Value::Nil => buffer.extend_from_slice(b"$-1\r\n"),
            Value::Bulk(bytes) => bulk(buffer, &bytes),
            Value::Stored(bytes) => bulk(buffer, &bytes),
            Value::Array(count) => line(buffer, b'*', decimal(count as i64, &mut [0; 20])),
        }
        Ok(())
    }
}

fn line(buffer: &mut BytesMut, kind: u8, text: &[u8]) {
    buffer.reserve(text.len() + 3);
    buffer.extend_from_slice(&[kind]);
    buffer.extend_from_slice(text);
    buffer.extend_from_slice(b"\r\n");
}

fn bulk(buffer: &mut BytesMut, bytes: &[u8]) {
    buffer.reserve(bytes.len() + 25);
    line(buffer, b'$', decimal(bytes.len() as i64, &mut [0; 20]));
    buffer.extend_from_slice(bytes);
    buffer.extend_from_slice(b"\r\n");
}

/// Formats a number without an allocation.
pub(crate) fn decimal(number: i64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut rest = number.unsigned_abs();
    let mut start = buffer.len();
    loop {
        start -= 1;
        buffer[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        start -= 1;
        buffer[start] = b'-';
    }
    &buffer[start..]
}
