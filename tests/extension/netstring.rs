//! The netstring framing: `5:hello,`.

use bytes::{Buf, BytesMut};
use serde::Deserialize;
use switchboard::bytes::Bytes;
use switchboard::framing::{FrameError, Framing};
use switchboard::{Result, schemars};
use tokio_util::codec::{Decoder, Encoder};

pub(crate) const SUMMARY: &str = "netstrings: the length in digits, a colon, the message, a comma";

/// Options of the framing.
#[derive(Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Options {
    /// Maximum digits of the length.
    #[schemars(range(min = 1, max = 9))]
    digits: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { digits: 6 }
    }
}

/// Makes the framing from its options.
pub(crate) fn build(Options { digits }: Options) -> Result<Netstring> {
    Ok(Netstring { digits })
}

/// The framing.
pub(crate) struct Netstring {
    digits: usize,
}

impl Framing for Netstring {
    type In = Bytes;
    type Out = Bytes;
    type Codec = Codec;

    fn codec(&self, limit: usize) -> Codec {
        Codec { digits: self.digits, limit }
    }
}

/// The codec of one connection.
pub(crate) struct Codec {
    digits: usize,
    limit: usize,
}

impl Decoder for Codec {
    type Item = Bytes;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let digits = buffer.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let length = match buffer.get(digits) {
            _ if digits > self.digits => return Err(FrameError::Malformed("the length has too many digits")),
            None => return Ok(None),
            Some(b':') if digits > 0 => std::str::from_utf8(&buffer[..digits]).ok().and_then(|text| text.parse().ok()),
            Some(_) => return Err(FrameError::Malformed("a netstring begins with its length and a colon")),
        };
        let length: usize = length.ok_or(FrameError::Malformed("the length is not a number"))?;
        if length > self.limit {
            return Err(FrameError::TooLarge { limit: self.limit });
        }
        match buffer.get(digits + 1 + length) {
            None => Ok(None),
            Some(b',') => {
                buffer.advance(digits + 1);
                let message = buffer.split_to(length).freeze();
                buffer.advance(1);
                Ok(Some(message))
            }
            Some(_) => Err(FrameError::Malformed("a netstring ends with a comma")),
        }
    }
}

impl Encoder<Bytes> for Codec {
    type Error = FrameError;

    fn encode(&mut self, frame: Bytes, buffer: &mut BytesMut) -> Result<(), FrameError> {
        buffer.extend_from_slice(format!("{}:", frame.len()).as_bytes());
        buffer.extend_from_slice(&frame);
        buffer.extend_from_slice(b",");
        Ok(())
    }
}
