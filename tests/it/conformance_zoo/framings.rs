//! Broken framings, in front of a correct handler.

use bytes::Buf;
use switchboard::framing::FrameError;
use switchboard::prelude::*;
use switchboard::testing::{Law, Report, conformance};
use switchboard_handlers::Echo;
use tokio_util::codec::{Decoder, Encoder};

use super::breaks;

/// Defines a codec of a length of two bytes, of lines, or of anything else, with its decoder.
macro_rules! codec {
    ($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* }, |$this:ident, $buffer:ident| $decode:expr, $encode:expr) => {
        $(#[$doc])*
        #[derive(Default)]
        struct $name { $($field: $type),* }

        impl Decoder for $name {
            type Item = Bytes;
            type Error = FrameError;

            fn decode(&mut self, $buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
                let $this = self;
                $decode
            }
        }

        impl Encoder<Bytes> for $name {
            type Error = FrameError;

            fn encode(&mut self, frame: Bytes, buffer: &mut BytesMut) -> Result<(), FrameError> {
                let encode: fn(Bytes, &mut BytesMut) = $encode;
                encode(frame, buffer);
                Ok(())
            }
        }
    };
}

#[expect(clippy::needless_pass_by_value, reason = "the signature of an encoder")]
fn as_line(frame: Bytes, buffer: &mut BytesMut) {
    buffer.extend_from_slice(&frame);
    buffer.extend_from_slice(b"\r\n");
}

#[expect(clippy::needless_pass_by_value, reason = "the signature of an encoder")]
fn with_length(frame: Bytes, buffer: &mut BytesMut) {
    buffer.extend_from_slice(&u16::try_from(frame.len()).unwrap_or(u16::MAX).to_be_bytes());
    buffer.extend_from_slice(&frame);
}

/// A codec with a limit.
struct Limited<C>(C, usize);

impl<C: Decoder<Item = Bytes, Error = FrameError>> Decoder for Limited<C> {
    type Item = Bytes;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        match self.0.decode(buffer)? {
            Some(message) if message.len() > self.1 => Err(FrameError::TooLarge { limit: self.1 }),
            None if buffer.len() > self.1 + 2 => Err(FrameError::TooLarge { limit: self.1 }),
            message => Ok(message),
        }
    }
}

impl<C: Encoder<Bytes, Error = FrameError>> Encoder<Bytes> for Limited<C> {
    type Error = FrameError;

    fn encode(&mut self, frame: Bytes, buffer: &mut BytesMut) -> Result<(), FrameError> {
        self.0.encode(frame, buffer)
    }
}

trait Codec: Decoder<Item = Bytes, Error = FrameError> + Encoder<Bytes, Error = FrameError> + Send + 'static {}
impl<C: Decoder<Item = Bytes, Error = FrameError> + Encoder<Bytes, Error = FrameError> + Send + 'static> Codec for C {}

fn check<C: Codec>(create: fn() -> C) -> Report {
    check_with_limit(move |limit| Limited(create(), limit))
}

fn check_with_limit<C: Codec>(create: impl Fn(usize) -> C + Send + Sync + 'static) -> Report {
    conformance(|| Echo).framing(framing::custom(create)).messages(["one", "", "three"]).cases(40).run()
}

codec!(
    /// Takes CR as the end of a line, and drops a LF only if it has arrived with it.
    BareCr {}, |_this, buffer| {
        let Some(end) = buffer.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else { return Ok(None) };
        let line = buffer.split_to(end).freeze();
        buffer.advance(if buffer.starts_with(b"\r\n") { 2 } else { 1 });
        Ok(Some(line))
    },
    as_line
);

#[test]
fn a_line_end_that_is_split() {
    breaks(Law::Cuts, &check(|| BareCr {}));
}

codec!(
    /// Reads the length before both of its bytes have arrived.
    WholeLength {}, |_this, buffer| {
        if buffer.is_empty() {
            return Ok(None);
        }
        let length = usize::from(u16::from_be_bytes([buffer[0], buffer[1]]));
        if buffer.len() < 2 + length {
            return Ok(None);
        }
        buffer.advance(2);
        Ok(Some(buffer.split_to(length).freeze()))
    },
    with_length
);

#[test]
fn a_length_that_is_split() {
    let report = conformance(|| Echo)
        .framing(framing::custom(|limit| Limited(WholeLength {}, limit)))
        .messages(["one", "", "three"])
        .cases(40)
        .waive(Law::Noise, "broken for the same reason")
        .run();
    breaks(Law::Cuts, &report);
}

codec!(
    /// Consumes the length, and forgets it if the payload has not arrived.
    ForgottenLength {}, |_this, buffer| {
        if buffer.len() < 2 {
            return Ok(None);
        }
        let length = usize::from(buffer.get_u16());
        if buffer.len() < length {
            return Ok(None);
        }
        Ok(Some(buffer.split_to(length).freeze()))
    },
    with_length
);

#[test]
fn a_length_that_is_forgotten() {
    breaks(Law::Cuts, &check(|| ForgottenLength {}));
}

codec!(
    /// Drops everything behind the first message of a read.
    OnePerRead {}, |_this, buffer| {
        let Some(end) = buffer.windows(2).position(|window| window == b"\r\n") else { return Ok(None) };
        let line = buffer.split_to(end).freeze();
        buffer.clear();
        Ok(Some(line))
    },
    as_line
);

#[test]
fn a_message_behind_another_one_in_one_read() {
    breaks(Law::Pipelining, &check(|| OnePerRead {}));
}

codec!(
    /// Searches only the bytes behind those that it has searched, also in the next message.
    Searched { searched: usize }, |this, buffer| {
        let from = this.searched.min(buffer.len());
        let Some(end) = buffer[from..].windows(2).position(|window| window == b"\r\n") else {
            this.searched = buffer.len().saturating_sub(1);
            return Ok(None);
        };
        let line = buffer.split_to(from + end).freeze();
        buffer.advance(2);
        Ok(Some(line))
    },
    as_line
);

#[test]
fn a_search_that_begins_too_late() {
    breaks(Law::Pipelining, &check(Searched::default));
}

codec!(
    /// Has no limit, and takes the input from the buffer, so that the server cannot enforce its limit.
    Unlimited { line: Vec<u8> }, |this, buffer| {
        while !buffer.is_empty() {
            this.line.push(buffer.get_u8());
            if this.line.ends_with(b"\r\n") {
                let mut line = std::mem::take(&mut this.line);
                line.truncate(line.len() - 2);
                return Ok(Some(line.into()));
            }
        }
        Ok(None)
    },
    as_line
);

#[test]
fn a_message_without_a_limit() {
    breaks(Law::Sizes, &check_with_limit(|_| Unlimited::default()));
}

codec!(
    /// Rejects a message that has exactly the size of the limit.
    OffByOne { limit: usize }, |this, buffer| {
        let end = buffer.windows(2).position(|window| window == b"\r\n");
        if end.unwrap_or(buffer.len().saturating_sub(2)) >= this.limit {
            return Err(FrameError::TooLarge { limit: this.limit });
        }
        let Some(end) = end else { return Ok(None) };
        let line = buffer.split_to(end).freeze();
        buffer.advance(2);
        Ok(Some(line))
    },
    as_line
);

#[test]
fn a_limit_that_is_off_by_one() {
    breaks(Law::Sizes, &check_with_limit(|limit| OffByOne { limit }));
}

codec!(
    /// Adds to an announced length, which can be as large as its type.
    BelievedLength {}, |_this, buffer| {
        let Some(length) = buffer.first() else { return Ok(None) };
        let whole = usize::from(length.checked_add(1).expect("a length is small"));
        if buffer.len() < whole {
            return Ok(None);
        }
        Ok(Some(buffer.split_to(whole).split_off(1).freeze()))
    },
    |frame, buffer| {
        buffer.extend_from_slice(&[u8::try_from(frame.len()).unwrap_or(u8::MAX)]);
        buffer.extend_from_slice(&frame);
    }
);

#[test]
fn a_length_that_is_believed() {
    breaks(Law::Noise, &check(|| BelievedLength {}));
}
