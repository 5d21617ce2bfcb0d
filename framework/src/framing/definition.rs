//! The trait of a framing, and what the framings of this crate have in common.

use bytes::{Bytes, BytesMut};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use tokio_util::codec::{Decoder, Encoder};

use crate::error::BoxError;
use crate::framing::error::FrameError;

/// Turns bytes into messages and back. Creates one codec per connection.
pub trait Framing: Send + Sync + 'static {
    /// The messages that the handler receives.
    type In: Send + 'static;
    /// The messages that the handler sends.
    type Out: Send + 'static;
    /// Decodes and encodes the messages of one connection.
    type Codec: Decoder<Item = Self::In, Error: Into<BoxError>>
        + Encoder<Self::Out, Error: Into<BoxError>>
        + Send
        + 'static;

    /// Creates the codec of a new connection. `limit` is `limits.frame`; a framing with a limit in its options uses
    /// that one.
    fn codec(&self, limit: usize) -> Self::Codec;

    /// The largest message in bytes: `limit`, or the limit in the options of the framing.
    ///
    /// A connection with much more undecoded input than that closes with reason `frame_too_large`, even if the codec
    /// accepts the input.
    fn limit(&self, limit: usize) -> usize {
        limit
    }

    /// Decodes a datagram. By default, a new codec must decode exactly one message from it.
    fn datagram_in(&self, datagram: Bytes) -> Result<Self::In, BoxError> {
        let mut codec = self.codec(datagram.len());
        let mut buffer = BytesMut::from(datagram);
        let message = codec.decode_eof(&mut buffer).map_err(Into::into)?;
        match (message, buffer.is_empty()) {
            (Some(message), true) => Ok(message),
            (Some(_), false) => Err(FrameError::Malformed("the datagram has bytes after its message").into()),
            (None, _) => Err(FrameError::Malformed("the datagram does not contain a whole message").into()),
        }
    }

    /// Encodes a message as a datagram. By default, with a new codec.
    fn datagram_out(&self, frame: Self::Out) -> Result<Bytes, BoxError> {
        let mut buffer = BytesMut::new();
        self.codec(usize::MAX).encode(frame, &mut buffer).map_err(Into::into)?;
        Ok(buffer.freeze())
    }
}

/// A framing of this crate. Its options are its own fields.
pub(crate) trait BuiltInFraming: Framing<In = Bytes, Out = Bytes> + DeserializeOwned + JsonSchema {
    /// The name in the configuration.
    const NAME: &str;
    /// What a message is, in a few words.
    const SUMMARY: &str;
}

/// Methods of a framing of bytes for which a datagram is a message without any change.
macro_rules! unchanged_datagrams {
    () => {
        fn datagram_in(&self, datagram: bytes::Bytes) -> Result<bytes::Bytes, crate::error::BoxError> {
            Ok(datagram)
        }

        fn datagram_out(&self, frame: bytes::Bytes) -> Result<bytes::Bytes, crate::error::BoxError> {
            Ok(frame)
        }
    };
}

pub(super) use unchanged_datagrams;
