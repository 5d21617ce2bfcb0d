//! A custom framing: netstrings such as `5:hello,`. Try it: `printf '5:hello,' | nc -N 127.0.0.1 9999`.

use std::fmt::Write;

use switchboard::bytes::Buf;
use switchboard::framing::FrameError;
use switchboard::prelude::*;
use switchboard::tokio_util::codec::{Decoder, Encoder};

/// The codec of one connection: tokio-util's `Decoder` and `Encoder`.
struct Netstrings {
    /// Largest payload in bytes.
    limit: usize,
}

impl Decoder for Netstrings {
    type Item = Bytes;
    type Error = FrameError;

    /// Called each time bytes arrive. `Ok(None)` means that the message is incomplete and its bytes stay in the buffer.
    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        // The limit is checked after each digit. A length that is too large is rejected before its payload is buffered.
        let mut length = 0;
        let mut digits = 0;
        while let Some(digit) = buffer.get(digits).filter(|byte| byte.is_ascii_digit()) {
            if digits > 0 && length == 0 {
                return Err(FrameError::Malformed("the length has a leading zero"));
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
            Some(_) => return Err(FrameError::Malformed("a netstring must start with its length and a colon")),
        }
        let start = digits + 1;
        match buffer.get(start + length) {
            // Memory is not reserved for the announced length: the buffer grows as bytes arrive.
            None => Ok(None),
            Some(b',') => {
                buffer.advance(start);
                let payload = buffer.split_to(length).freeze(); // Shares the buffer, without a copy.
                buffer.advance(1);
                Ok(Some(payload))
            }
            Some(_) => Err(FrameError::Malformed("a netstring must end with a comma")),
        }
    }

    // The default decode_eof is right: an incomplete netstring at the end of input is an error.
}

impl Encoder<Bytes> for Netstrings {
    type Error = FrameError;

    fn encode(&mut self, payload: Bytes, buffer: &mut BytesMut) -> Result<(), FrameError> {
        buffer.reserve(payload.len() + 22); // 20 digits, a colon and a comma.
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
    // The closure is called once per connection with `limits.frame`, so a codec can have state.
    Server::bind(address).framing(framing::custom(|limit| Netstrings { limit })).serve(shout).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard::testing::conformance;

    #[test]
    fn netstrings_keep_the_laws() {
        let shout = || handler_fn(|_: Context, text: Bytes| async move { Ok(Reply::send(text.to_ascii_uppercase())) });
        let netstrings = framing::custom(|limit| Netstrings { limit });
        conformance(shout).framing(netstrings).messages(["hello", "", "twelve bytes"]).check();
    }
}
