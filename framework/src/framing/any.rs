//! A built-in framing chosen at run time: one `match` a message, no box.

use bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::framing::{
    Delimited, DelimitedCodec, FrameError, Framing, JsonLines, JsonLinesCodec, Length, LengthCodec, Lines, LinesCodec,
    Raw, RawCodec,
};

/// One of the built-in framings, as configuration names them. A datagram is passed as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnyFraming {
    /// `raw`
    Raw(Raw),
    /// `lines`
    Lines(Lines),
    /// `length`
    Length(Length),
    /// `delimited`
    Delimited(Delimited),
    /// `json-lines`
    JsonLines(JsonLines),
}

impl AnyFraming {
    /// Its name in configuration.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Raw(_) => "raw",
            Self::Lines(_) => "lines",
            Self::Length(_) => "length",
            Self::Delimited(_) => "delimited",
            Self::JsonLines(_) => "json-lines",
        }
    }
}

impl Default for AnyFraming {
    fn default() -> Self {
        Self::Raw(Raw::default())
    }
}

/// The codec of [`AnyFraming`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum AnyCodec {
    /// `raw`
    Raw(RawCodec),
    /// `lines`
    Lines(LinesCodec),
    /// `length`
    Length(LengthCodec),
    /// `delimited`
    Delimited(DelimitedCodec),
    /// `json-lines`
    JsonLines(JsonLinesCodec),
}

impl Framing for AnyFraming {
    type In = Bytes;
    type Out = Bytes;
    type Codec = AnyCodec;

    fn codec(&self, limit: usize) -> AnyCodec {
        match self {
            Self::Raw(framing) => AnyCodec::Raw(framing.codec(limit)),
            Self::Lines(framing) => AnyCodec::Lines(framing.codec(limit)),
            Self::Length(framing) => AnyCodec::Length(framing.codec(limit)),
            Self::Delimited(framing) => AnyCodec::Delimited(framing.codec(limit)),
            Self::JsonLines(framing) => AnyCodec::JsonLines(framing.codec(limit)),
        }
    }

    fn limit(&self, limit: usize) -> usize {
        match self {
            Self::Raw(framing) => framing.limit(limit),
            Self::Lines(framing) => framing.limit(limit),
            Self::Length(framing) => framing.limit(limit),
            Self::Delimited(framing) => framing.limit(limit),
            Self::JsonLines(framing) => framing.limit(limit),
        }
    }

    datagrams_as_they_are!();
}

macro_rules! each {
    ($codec:expr, $inner:ident => $call:expr) => {
        match $codec {
            AnyCodec::Raw($inner) => $call,
            AnyCodec::Lines($inner) => $call,
            AnyCodec::Length($inner) => $call,
            AnyCodec::Delimited($inner) => $call,
            AnyCodec::JsonLines($inner) => $call,
        }
    };
}

impl Decoder for AnyCodec {
    type Item = Bytes;
    type Error = FrameError;

    #[inline]
    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        each!(self, codec => codec.decode(buffer))
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        each!(self, codec => codec.decode_eof(buffer))
    }
}

impl Encoder<Bytes> for AnyCodec {
    type Error = FrameError;

    #[inline]
    fn encode(&mut self, frame: Bytes, buffer: &mut BytesMut) -> Result<(), FrameError> {
        each!(self, codec => codec.encode(frame, buffer))
    }
}
