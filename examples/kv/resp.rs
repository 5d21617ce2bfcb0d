//! The protocol of Redis, second version: arrays of bulk strings, or a line of words, in; values out.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use switchboard::framing::FrameError;
use switchboard::prelude::{Bytes, BytesMut};
use switchboard::tokio_util::codec::{Decoder, Encoder};

use crate::command::{Command, Words};

/// How many words a command may have.
const WORDS: usize = 4096;
/// How long a command in the form of a line may be.
const LINE: usize = 64 * 1024;
/// Memory for so many words stays for the next command.
const WORDS_KEPT: usize = 64;

/// The codec of one connection. It remembers how far it has understood: a command that comes in many pieces is read once.
pub(crate) struct Resp {
    /// The largest command in bytes.
    limit: usize,
    /// So many bytes of the buffer are understood (an array), or hold no line end (a line).
    at: usize,
    /// Where the words are that have come.
    words: Vec<Range<usize>>,
    /// How many words of the array are still to come.
    missing: usize,
}

impl Resp {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, at: 0, words: Vec::new(), missing: 0 }
    }

    /// `*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n`: whether it is there as a whole.
    fn array(&mut self, buffer: &[u8]) -> Result<bool, FrameError> {
        if self.at == 0 {
            let Some((count, after)) = header(buffer, 0, b'*')? else { return Ok(false) };
            if count > WORDS {
                return Err(FrameError::Malformed("too many arguments"));
            }
            (self.missing, self.at) = (count, after);
        }
        while self.missing > 0 {
            let Some((length, start)) = header(buffer, self.at, b'$')? else { return Ok(false) };
            let end = start + length;
            // What is announced counts before it has come; and memory is only taken for what has.
            if end + 2 > self.limit {
                return Err(FrameError::TooLarge { limit: self.limit });
            }
            match buffer.get(end..end + 2) {
                None => return Ok(false),
                Some(b"\r\n") => self.words.push(start..end),
                Some(_) => return Err(FrameError::Malformed("a string is longer than it says")),
            }
            self.at = end + 2;
            self.missing -= 1;
        }
        Ok(true)
    }

    /// `GET key\r\n`, as people write it: whether it is there as a whole.
    fn line(&mut self, buffer: &[u8]) -> Result<bool, FrameError> {
        let limit = self.limit.min(LINE);
        let end = buffer[self.at..].iter().position(|byte| *byte == b'\n').map(|found| self.at + found);
        if end.unwrap_or(buffer.len()) > limit {
            return Err(FrameError::TooLarge { limit });
        }
        self.at = end.map_or(buffer.len(), |end| end + 1);
        let Some(end) = end else { return Ok(false) };
        let mut start = 0;
        for word in buffer[..end].split(u8::is_ascii_whitespace) {
            if !word.is_empty() {
                self.words.push(start..start + word.len());
            }
            start += word.len() + 1;
        }
        if self.words.len() > WORDS {
            return Err(FrameError::Malformed("too many arguments"));
        }
        Ok(true)
    }
}

/// A mark, a number, a line end: the number, and where it is over.
fn header(buffer: &[u8], at: usize, mark: u8) -> Result<Option<(usize, usize)>, FrameError> {
    match buffer.get(at) {
        None => return Ok(None),
        Some(first) if *first == mark => {}
        Some(_) => return Err(FrameError::Malformed("neither an array of strings nor a line")),
    }
    let mut number = 0;
    for (index, byte) in buffer[at + 1..].iter().enumerate() {
        match byte {
            // Nine digits are more than any limit here, and no number that could overflow.
            b'0'..=b'9' if index < 9 => number = number * 10 + usize::from(byte - b'0'),
            b'\r' if index > 0 => {
                let end = at + 1 + index + 1;
                return match buffer.get(end) {
                    None => Ok(None),
                    Some(b'\n') => Ok(Some((number, end + 1))),
                    Some(_) => Err(FrameError::Malformed("a line end is cut in half")),
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
            let whole = match buffer.first() {
                None => false,
                Some(b'*') => self.array(buffer)?,
                Some(_) => self.line(buffer)?,
            };
            if !whole {
                return Ok(None);
            }
            let bytes = buffer.split_to(std::mem::take(&mut self.at)).freeze();
            if self.words.is_empty() {
                continue; // an empty line or array asks for nothing
            }
            let command = Command::of(&Words { bytes: &bytes, at: &self.words });
            self.words.clear();
            self.words.shrink_to(WORDS_KEPT);
            return Ok(Some(command));
        }
    }
}

/// What is answered.
pub(crate) enum Value {
    Simple(&'static str),
    Error(Cow<'static, str>),
    Integer(i64),
    /// Nothing under that key.
    Nil,
    Bulk(Bytes),
    /// A value that the store has too: whoever answers with it holds it, and copies it only to where it is written.
    Stored(Arc<[u8]>),
    /// So many values follow, each a frame of its own.
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

fn line(buffer: &mut BytesMut, mark: u8, text: &[u8]) {
    buffer.reserve(text.len() + 3);
    buffer.extend_from_slice(&[mark]);
    buffer.extend_from_slice(text);
    buffer.extend_from_slice(b"\r\n");
}

fn bulk(buffer: &mut BytesMut, bytes: &[u8]) {
    buffer.reserve(bytes.len() + 25);
    line(buffer, b'$', decimal(bytes.len() as i64, &mut [0; 20]));
    buffer.extend_from_slice(bytes);
    buffer.extend_from_slice(b"\r\n");
}

/// A number in digits, without an allocation.
pub(crate) fn decimal(number: i64, room: &mut [u8; 20]) -> &[u8] {
    let mut rest = number.unsigned_abs();
    let mut start = room.len();
    loop {
        start -= 1;
        room[start] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        start -= 1;
        room[start] = b'-';
    }
    &room[start..]
}
