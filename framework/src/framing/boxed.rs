//! A framing of bytes behind `dyn`, for framings that are not part of this crate.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::error::BoxError;
use crate::framing::definition::Framing;
use crate::framing::error::FrameError;

/// A framing of bytes of any type. Two are equal if they are the same instance.
#[derive(Clone)]
pub(super) struct BytesFraming(Arc<dyn ErasedFraming>);

trait ErasedFraming: Send + Sync {
    fn codec(&self, limit: usize) -> BoxCodec;
    fn limit(&self, limit: usize) -> usize;
    fn datagram_in(&self, datagram: Bytes) -> Result<Bytes, BoxError>;
    fn datagram_out(&self, frame: Bytes) -> Result<Bytes, BoxError>;
}

impl<F: Framing<In = Bytes, Out = Bytes>> ErasedFraming for F {
    fn codec(&self, limit: usize) -> BoxCodec {
        BoxCodec(Box::new(Framing::codec(self, limit)))
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

impl BytesFraming {
    pub(super) fn new(framing: impl Framing<In = Bytes, Out = Bytes>) -> Self {
        Self(Arc::new(framing))
    }

    pub(super) fn codec(&self, limit: usize) -> BoxCodec {
        self.0.codec(limit)
    }

    pub(super) fn limit(&self, limit: usize) -> usize {
        self.0.limit(limit)
    }

    pub(super) fn datagram_in(&self, datagram: Bytes) -> Result<Bytes, BoxError> {
        self.0.datagram_in(datagram)
    }

    pub(super) fn datagram_out(&self, frame: Bytes) -> Result<Bytes, BoxError> {
        self.0.datagram_out(frame)
    }
}

impl PartialEq for BytesFraming {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// The codec of one connection.
pub(super) struct BoxCodec(Box<dyn ErasedCodec>);

trait ErasedCodec: Send {
    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, BoxError>;
    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, BoxError>;
    fn encode(&mut self, frame: Bytes, buffer: &mut BytesMut) -> Result<(), BoxError>;
}

impl<C> ErasedCodec for C
where
    C: Decoder<Item = Bytes, Error: Into<BoxError>> + Encoder<Bytes, Error: Into<BoxError>> + Send,
{
    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, BoxError> {
        Decoder::decode(self, buffer).map_err(Into::into)
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, BoxError> {
        Decoder::decode_eof(self, buffer).map_err(Into::into)
    }

    fn encode(&mut self, frame: Bytes, buffer: &mut BytesMut) -> Result<(), BoxError> {
        Encoder::encode(self, frame, buffer).map_err(Into::into)
    }
}

impl BoxCodec {
    pub(super) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        self.0.decode(buffer).map_err(frame_error)
    }

    pub(super) fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        self.0.decode_eof(buffer).map_err(frame_error)
    }

    pub(super) fn encode(&mut self, frame: Bytes, buffer: &mut BytesMut) -> Result<(), FrameError> {
        self.0.encode(frame, buffer).map_err(frame_error)
    }
}

/// Keeps a `FrameError`, so that the connection closes with its reason.
fn frame_error(error: BoxError) -> FrameError {
    error.downcast::<FrameError>().map_or_else(FrameError::Codec, |error| *error)
}
