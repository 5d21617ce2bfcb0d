//! A framing of one's own: netstrings, `5:hello,`. Try it: `printf '5:hello,' | nc -N 127.0.0.1 9999`.

use std::fmt::Write;

use switchboard::bytes::Buf;
use switchboard::framing::FrameError;
use switchboard::prelude::*;
use switchboard::tokio_util::codec::{Decoder, Encoder};

/// The codec of one connection. A framing is any pair of tokio-util's `Decoder` and `Encoder`.
struct Netstrings {
    /// The largest payload.
    limit: usize,
}

impl Decoder for Netstrings {
    type Item = Bytes;
    type Error = FrameError;

    /// Asked again whenever more bytes came. `Ok(None)`: no whole message yet, and the bytes stay where they are.
    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        // The length is held against the limit digit by digit, so an endless one is refused at its first digit too many,
        // and a large one before anything is kept for it.
        let mut length = 0;
        let mut digits = 0;
        while let Some(digit) = buffer.get(digits).filter(|byte| byte.is_ascii_digit()) {
            if digits > 0 && length == 0 {
                return Err(FrameError::Malformed("a length begins with zero"));
            }
            length = length * 10 + usize::from(digit - b'0');
            digits += 1;
            if length > self.limit || digits > 9 {
                return Err(FrameError::TooLarge { limit: self.limit });
            }
        }
        match buffer.get(digits) {
            None => return Ok(None),
            Some(b':') if digits > 0 => {}
            Some(_) => return Err(FrameError::Malformed("a netstring begins with its length and a colon")),
        }
        let start = digits + 1;
        match buffer.get(start + length) {
            // Nothing is reserved for what was only announced: the buffer grows with the bytes that come.
            None => Ok(None),
            Some(b',') => {
                buffer.advance(start);
                let payload = buffer.split_to(length).freeze(); // a part of the buffer, not a copy
                buffer.advance(1);
                Ok(Some(payload))
            }
            Some(_) => Err(FrameError::Malformed("a netstring ends with a comma")),
        }
    }

    // decode_eof as tokio-util makes it: bytes that are left over at the end of input are an error.
}

impl Encoder<Bytes> for Netstrings {
    type Error = FrameError;

    fn encode(&mut self, payload: Bytes, buffer: &mut BytesMut) -> Result<(), FrameError> {
        buffer.reserve(payload.len() + 22); // twenty digits, a colon and a comma
        write!(buffer, "{}:", payload.len()).map_err(|_| FrameError::Unfit("a length"))?;
        buffer.extend_from_slice(&payload);
        buffer.extend_from_slice(b",");
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let address = std::env::args().nth(1).unwrap_or("tcp://127.0.0.1:9999".into());
    let shout = handler_fn(|_: Context, text: Bytes| async move { Ok(Reply::send(text.to_ascii_uppercase())) });
    // Called once a connection, with limits.frame: a decoder may remember where it is.
    Server::bind(address).framing(framing::custom(|limit| Netstrings { limit })).serve(shout).await
}
