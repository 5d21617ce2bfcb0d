//! A framing of bytes behind `dyn`, for framings that are not part of this crate.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::error::BoxError;
use crate::framing::definition::{FrameError, Framing};

/// A framing of bytes of any type. Two are equal if they are the same instance.
pub(super) type BytesFraming = Arc<dyn ErasedFraming>;

pub(super) trait ErasedFraming: Send + Sync {
    fn codec(&self, limit: usize) -> BoxCodec;
    fn limit(&self, limit: usize) -> usize;
    fn datagram_in(&self, datagram: Bytes) -> Result<Bytes, BoxError>;
    fn datagram_out(&self, frame: Bytes) -> Result<Bytes, BoxError>;
}

impl<F: Framing<In = Bytes, Out = Bytes>> ErasedFraming for F {
    fn codec(&self, limit: usize) -> BoxCodec {
        Box::new(Framing::codec(self, limit))
    }

    fn limit(&self, limit: usize) -> usize {
        Framing::limit(self, limit)
    }

    fn datagram_in(&self, datagram: Bytes) -> Result<Bytes, BoxError> {
        Framing::datagram_in(self, datagram)
    }

    fn datagram_out(&self, frame: Bytes) -> Result<Bytes, BoxError> {
        Framing::datagram_out(self, frame)
    }
}

impl PartialEq for dyn ErasedFraming {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::addr_eq(self, other)
    }
}

/// The codec of one connection.
pub(super) type BoxCodec = Box<dyn ErasedCodec>;

pub(super) trait ErasedCodec: Send {
    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError>;
    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError>;
    fn encode(&mut self, frame: Bytes, buffer: &mut BytesMut) -> Result<(), FrameError>;
}

impl<C> ErasedCodec for C
where
    C: Decoder<Item = Bytes, Error: Into<BoxError>> + Encoder<Bytes, Error: Into<BoxError>> + Send,
{
    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        Decoder::decode(self, buffer).map_err(frame_error)
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        Decoder::decode_eof(self, buffer).map_err(frame_error)
    }

    fn encode(&mut self, frame: Bytes, buffer: &mut BytesMut) -> Result<(), FrameError> {
        Encoder::encode(self, frame, buffer).map_err(frame_error)
    }
}

/// Keeps a `FrameError`, so that the connection closes with its reason.
fn frame_error(error: impl Into<BoxError>) -> FrameError {
    error.into().downcast::<FrameError>().map_or_else(FrameError::Codec, |error| *error)
}
