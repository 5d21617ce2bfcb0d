//! Framings cut bytes into messages and messages into bytes.
//!
//! A [`Framing`] makes one codec for each connection: any pair of tokio-util's `Decoder` and `Encoder`. The built-in ones
//! carry [`Bytes`]; [`custom`] takes a codec of yours, with messages of any type.
//!
//! | name | a message is | outgoing |
//! |---|---|---|
//! | [`Raw`] | what one read brings | as it is |
//! | [`Lines`] | ended by LF, one CR before it is cut | gets LF |
//! | [`Length`] | an unsigned length, then so many bytes | gets its length |
//! | [`Delimited`] | ended by a delimiter of yours | gets the delimiter |
//! | [`JsonLines`] | a line that is one JSON value | must be one JSON value |
//!
//! A frame is never larger than its limit: that of the framing, where it has one ([`Lines::max`] …), else `limits.frame`.
//! The connection's buffer grows with the bytes that came, never with a length that was announced. Datagrams are messages
//! already: the built-in framings pass them as they are.

/// For framings of bytes: a datagram is a message already, and passes as it is.
macro_rules! datagrams_as_they_are {
    () => {
        fn datagram_in(&self, datagram: bytes::Bytes) -> Result<bytes::Bytes, crate::error::BoxError> {
            Ok(datagram)
        }

        fn datagram_out(&self, frame: bytes::Bytes) -> Result<bytes::Bytes, crate::error::BoxError> {
            Ok(frame)
        }
    };
}

mod any;
mod delimited;
mod json_lines;
mod length;
mod lines;
mod raw;

pub use any::{AnyCodec, AnyFraming};
pub use delimited::{Delimited, DelimitedCodec};
pub use json_lines::{JsonLines, JsonLinesCodec};
pub use length::{ByteOrder, Length, LengthCodec, LengthError};
pub use lines::{Lines, LinesCodec};
pub use raw::{Raw, RawCodec};

use std::fmt;
use std::io;
use std::marker::PhantomData;

use bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::error::BoxError;

/// Makes the codec of each connection.
pub trait Framing: Send + Sync + 'static {
    /// What the handler gets.
    type In: Send + 'static;
    /// What the handler sends.
    type Out: Send + 'static;
    /// Turns one into the other, for one connection.
    type Codec: Decoder<Item = Self::In, Error: Into<BoxError>>
        + Encoder<Self::Out, Error: Into<BoxError>>
        + Send
        + 'static;

    /// A codec for a new connection. `limit` is `limits.frame`, for a framing that has no limit of its own.
    fn codec(&self, limit: usize) -> Self::Codec;

    /// The largest message in bytes: `limit`, or the framing's own limit where it has one. A connection whose codec finds
    /// no message in much more than that is closed with reason `frame_too_large`, whatever the codec thinks.
    fn limit(&self, limit: usize) -> usize {
        limit
    }

    /// The message in a datagram. By default, what a fresh codec makes of it: exactly one message, or an error.
    fn datagram_in(&self, datagram: Bytes) -> Result<Self::In, BoxError> {
        let mut codec = self.codec(datagram.len());
        let mut buffer = BytesMut::from(datagram);
        let message = codec.decode_eof(&mut buffer).map_err(Into::into)?;
        match (message, buffer.is_empty()) {
            (Some(message), true) => Ok(message),
            (Some(_), false) => Err(FrameError::Malformed("bytes after the message of a datagram").into()),
            (None, _) => Err(FrameError::Malformed("a datagram without a whole message").into()),
        }
    }

    /// A frame as a datagram. By default, what a fresh codec makes of it.
    fn datagram_out(&self, frame: Self::Out) -> Result<Bytes, BoxError> {
        let mut buffer = BytesMut::new();
        self.codec(usize::MAX).encode(frame, &mut buffer).map_err(Into::into)?;
        Ok(buffer.freeze())
    }
}

/// What the built-in framings refuse. Codecs of your own may return it too, so that the close has the right reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A message is larger than allowed: reason `frame_too_large`.
    #[error("a message is larger than {limit} bytes")]
    TooLarge {
        /// What would have been allowed.
        limit: usize,
    },
    /// The bytes are no message of this framing: reason `bad_frame`.
    #[error("{0}")]
    Malformed(&'static str),
    /// An outgoing frame that this framing cannot carry: reason `handler_error`.
    #[error("an outgoing frame does not fit the framing: {0}")]
    Unfit(&'static str),
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A framing made of any tokio-util codec: `make` is called once a connection, with `limits.frame`.
///
/// ```
/// use switchboard::prelude::*;
/// use tokio_util::codec::LinesCodec;
///
/// # async fn run() -> Result<()> {
/// let text = framing::custom(|limit| LinesCodec::new_with_max_length(limit));
/// let shout = handler_fn(|_: Context<(), String>, line: String| async move { Ok(Reply::send(line.to_uppercase())) });
/// Server::bind("tcp://127.0.0.1:0").framing(text).serve(shout).await
/// # }
/// ```
pub fn custom<F, C, Out>(make: F) -> Custom<F, Out>
where
    F: Fn(usize) -> C + Send + Sync + 'static,
    C: Decoder + Encoder<Out>,
{
    Custom { make, out: PhantomData }
}

/// A framing made by [`custom`].
pub struct Custom<F, Out> {
    make: F,
    out: PhantomData<fn(Out)>,
}

impl<F, C, Out> Framing for Custom<F, Out>
where
    F: Fn(usize) -> C + Send + Sync + 'static,
    C: Decoder<Item: Send + 'static, Error: Into<BoxError>>,
    C: Encoder<Out, Error: Into<BoxError>>,
    C: Send + 'static,
    Out: Send + 'static,
{
    type In = C::Item;
    type Out = Out;
    type Codec = C;

    fn codec(&self, limit: usize) -> C {
        (self.make)(limit)
    }
}

impl<F: Clone, Out> Clone for Custom<F, Out> {
    fn clone(&self) -> Self {
        Self { make: self.make.clone(), out: PhantomData }
    }
}

impl<F, Out> fmt::Debug for Custom<F, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Custom")
    }
}

/// Documentation of one option of a built-in framing.
#[derive(Debug, Clone, Copy)]
pub struct FramingOption {
    /// The key.
    pub name: &'static str,
    /// What it takes when it is not given, or `required`.
    pub default: &'static str,
    /// What it does.
    pub help: &'static str,
}

/// Documentation of one built-in framing.
#[derive(Debug, Clone, Copy)]
pub struct FramingEntry {
    /// The name in configuration.
    pub name: &'static str,
    /// What a message is.
    pub summary: &'static str,
    /// Its options, `max` included.
    pub options: &'static [FramingOption],
}

const MAX: FramingOption =
    FramingOption { name: "max", default: "limits.frame", help: "the largest message, without header or terminator" };

/// The framings that configuration can name.
pub const BUILT_IN: &[FramingEntry] = &[
    FramingEntry { name: "raw", summary: "a message is what one read brings; nothing is added", options: &[MAX] },
    FramingEntry {
        name: "lines",
        summary: "ended by LF, one CR before it is cut; outgoing frames get LF",
        options: &[MAX],
    },
    FramingEntry {
        name: "length",
        summary: "an unsigned length of the payload, then the payload",
        options: &[
            FramingOption { name: "width", default: "4", help: "bytes of the length: 1, 2, 3, 4 or 8" },
            FramingOption { name: "order", default: "big", help: "byte order of the length: big or little" },
            FramingOption {
                name: "offset",
                default: "0",
                help: "bytes before the length, 0 to 255; they are the first bytes of the message and are not counted_source by its length",
            },
            MAX,
        ],
    },
    FramingEntry {
        name: "delimited",
        summary: "ended by a delimiter; outgoing frames get it too",
        options: &[
            FramingOption {
                name: "delimiter",
                default: "required",
                help: "the text that ends a message, 1 to 255 bytes",
            },
            MAX,
        ],
    },
    FramingEntry { name: "json-lines", summary: "one JSON value a line; anything else is refused", options: &[MAX] },
];
