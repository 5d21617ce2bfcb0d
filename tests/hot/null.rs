//! A framing without work: each byte decodes to the same static message, and encoding writes nothing.

use switchboard::bytes::{Buf, Bytes, BytesMut};
use switchboard::framing::{FrameError, custom};
use switchboard::prelude::{NoOptions, Registry};
use switchboard::tokio_util::codec::{Decoder, Encoder};
use switchboard_handlers::Echo;

/// The name of the handler `echo` with this framing.
pub(super) const NAME: &str = "echo-of-nothing";

pub(super) fn register(registry: &mut Registry) {
    registry.typed_handler(NAME, "nothing", |_: &NoOptions| custom(|_| NullCodec), |_| Ok(Echo));
}

struct NullCodec;

impl Decoder for NullCodec {
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

impl Encoder<Bytes> for NullCodec {
    type Error = FrameError;

    fn encode(&mut self, _: Bytes, _: &mut BytesMut) -> Result<(), FrameError> {
        Ok(())
    }
}
