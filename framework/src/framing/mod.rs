//! Framings: how bytes become messages.
//!
//! A [`Framing`] creates one codec per connection: any type with tokio-util's `Decoder` and `Encoder`. The built-in
//! framings carry [`Bytes`](bytes::Bytes). [`custom`] takes any codec, with messages of any type.
//! [`duplex`] combines two framings, one for each direction.
//!
//! | name | a message is | replies |
//! |---|---|---|
//! | [`Raw`] | the result of one read | unchanged |
//! | [`Lines`] | a line that ends in LF or CRLF | end in LF |
//! | [`Length`] | an unsigned length, then the payload | get the length |
//! | [`Delimited`] | the bytes before a delimiter that you choose | get the delimiter |
//! | [`JsonLines`] | a line with one JSON value | must be one JSON value |
//!
//! The limit of a message is `max` of the framing ([`Lines::max`] …), or else `limits.frame`. The buffer of a
//! connection grows with the received bytes, never with an announced length. A datagram is already a message, so the
//! built-in framings do not change datagrams.

mod any;
mod boxed;
mod custom;
mod definition;
mod delimited;
mod duplex;
mod json_lines;
mod length;
mod lines;
mod raw;
#[cfg(feature = "script")]
mod recorded;
mod switch;

pub use any::{AnyCodec, AnyFraming};
#[cfg(feature = "script")]
pub(crate) use boxed::BoxCodec;
pub use custom::{Custom, custom};
pub(crate) use definition::BuiltInFraming;
pub use definition::{FrameError, Framing};
pub use delimited::{Delimited, DelimitedCodec, InvalidDelimiter};
pub use duplex::{Duplex, DuplexCodec, duplex};
pub use json_lines::{JsonLines, JsonLinesCodec};
pub use length::{ByteOrder, InvalidLength, Length, LengthCodec};
pub use lines::{Lines, LinesCodec};
pub use raw::{Raw, RawCodec};
pub(crate) use switch::BoxFraming;
