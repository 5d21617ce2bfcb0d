//! A framing that does nothing: each byte is a message that was there before, and what is sent leaves no byte.

use switchboard::bytes::{Buf, Bytes, BytesMut};
use switchboard::framing::{FrameError, custom};
use switchboard::prelude::{NoOptions, Registry};
use switchboard::tokio_util::codec::{Decoder, Encoder};
use switchboard_handlers::Echo;

/// The name of the handler `echo` with that framing.
pub(super) const NAME: &str = "echo-of-nothing";

pub(super) fn register(registry: &mut Registry) {
    registry.typed_handler(NAME, "nothing", |_: &NoOptions| custom(|_| Nothing), |_| Ok(Echo));
}

struct Nothing;

impl Decoder for Nothing {
    type Item = Bytes;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        if buffer.is_empty() {
            return Ok(None);
        }
        buffer.advance(1);
        Ok(Some(Bytes::from_static(b"a message")))
    }
}

impl Encoder<Bytes> for Nothing {
    type Error = FrameError;

    fn encode(&mut self, _: Bytes, _: &mut BytesMut) -> Result<(), FrameError> {
        Ok(())
    }
}
