//! The trait of a framing, the errors of codecs, and the common parts of the built-in framings.

use std::io;

use bytes::{Bytes, BytesMut};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use tokio_util::codec::{Decoder, Encoder};

use crate::error::{BoxError, debug_as_display};

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

    /// The driver calls it before a connection waits for something other than input.
    #[doc(hidden)]
    fn before_wait(_: &mut Self::Codec) {}

    /// The driver calls it before a connection closes, with the input that is not decoded.
    #[doc(hidden)]
    fn before_close(_: &mut Self::Codec, _: &[u8]) {}

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

/// An error of a codec. Return it from your own codecs too, so that the connection closes with the right reason.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A message is larger than the limit: reason `frame_too_large`.
    #[error("a message is larger than {limit} bytes (limits.frame)")]
    TooLarge {
        /// The largest allowed message in bytes.
        limit: usize,
    },
    /// The bytes are not a message of this framing: reason `bad_frame`.
    #[error("{0}")]
    Malformed(&'static str),
    /// The framing cannot encode an outgoing message: reason `handler_error`.
    #[error("an outgoing message does not fit the framing: {0}")]
    Unfit(&'static str),
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Any other error of a codec that is not part of this crate.
    #[error("{0}")]
    Codec(#[source] BoxError),
}

debug_as_display!(FrameError);

impl FrameError {
    /// Keeps a `FrameError`, so that the connection closes with its reason.
    pub(super) fn of(error: impl Into<BoxError>) -> Self {
        error.into().downcast::<Self>().map_or_else(Self::Codec, |error| *error)
    }
}

/// The result of a decoder at the end of the input: what is left is no message.
pub(super) fn last(decoded: Option<Bytes>, rest: &BytesMut) -> Result<Option<Bytes>, FrameError> {
    match decoded {
        None if !rest.is_empty() => Err(FrameError::Malformed("the input ends inside a message")),
        decoded => Ok(decoded),
    }
}

/// A framing of this crate. Its options are its own fields.
pub(crate) trait BuiltInFraming: Framing<In = Bytes, Out = Bytes> + DeserializeOwned + JsonSchema {
    /// The name in the configuration.
    const NAME: &str;
    /// What a message is, in a few words.
    const SUMMARY: &str;
}

/// Implements the traits of a built-in framing with a field `max` and the setter of that field. Datagrams are messages
/// without any change.
macro_rules! built_in {
    (
        $name:literal, $summary:literal, $framing:ident => $codec:ident,
        |$self:ident, $limit:ident| $create:expr;
        $(#[$max:meta])+
    ) => {
        impl $framing {
            $(#[$max])+
            #[must_use]
            pub fn max(mut self, bytes: usize) -> Self {
                self.max = Some(bytes.into());
                self
            }
        }

        impl crate::framing::definition::BuiltInFraming for $framing {
            const NAME: &str = $name;
            const SUMMARY: &str = $summary;
        }

        impl crate::framing::definition::Framing for $framing {
            type In = bytes::Bytes;
            type Out = bytes::Bytes;
            type Codec = $codec;

            fn codec(&$self, limit: usize) -> $codec {
                let $limit = $self.limit(limit);
                $create
            }

            fn limit(&self, limit: usize) -> usize {
                self.max.map_or(limit, |max| *max)
            }

            fn datagram_in(&self, datagram: bytes::Bytes) -> Result<bytes::Bytes, crate::error::BoxError> {
                Ok(datagram)
            }

            fn datagram_out(&self, frame: bytes::Bytes) -> Result<bytes::Bytes, crate::error::BoxError> {
                Ok(frame)
            }
        }
    };
}

pub(super) use built_in;
