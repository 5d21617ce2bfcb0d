//! A framing behind `dyn`: for framings that are not part of this crate, and for a change of the framing.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::error::BoxError;
use crate::framing::definition::{FrameError, Framing};

/// A framing of bytes of any type. Two are equal if they are the same instance.
pub(super) type BytesFraming = Arc<dyn ErasedFraming<Bytes, Bytes>>;

pub(super) trait ErasedFraming<In, Out>: Send + Sync {
    fn codec(&self, limit: usize) -> BoxCodec<In, Out>;
    fn limit(&self, limit: usize) -> usize;
    fn datagram_in(&self, datagram: Bytes) -> Result<In, BoxError>;
    fn datagram_out(&self, frame: Out) -> Result<Bytes, BoxError>;
}

impl<F: Framing> ErasedFraming<F::In, F::Out> for F {
    fn codec(&self, limit: usize) -> BoxCodec<F::In, F::Out> {
        BoxCodec(Box::new(Framing::codec(self, limit)))
    }

    fn limit(&self, limit: usize) -> usize {
        Framing::limit(self, limit)
    }

    fn datagram_in(&self, datagram: Bytes) -> Result<F::In, BoxError> {
        Framing::datagram_in(self, datagram)
    }

    fn datagram_out(&self, frame: F::Out) -> Result<Bytes, BoxError> {
        Framing::datagram_out(self, frame)
    }
}

impl PartialEq for dyn ErasedFraming<Bytes, Bytes> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::addr_eq(self, other)
    }
}

/// The codec of one connection.
pub(crate) struct BoxCodec<In, Out>(Box<dyn ErasedCodec<In, Out>>);

impl<In, Out> BoxCodec<In, Out> {
    #[cfg(feature = "script")]
    pub(crate) fn new<C>(codec: C) -> Self
    where
        C: Decoder<Item = In, Error: Into<BoxError>> + Encoder<Out, Error: Into<BoxError>> + Send + 'static,
    {
        Self(Box::new(codec))
    }
}

trait ErasedCodec<In, Out>: Send {
    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<In>, FrameError>;
    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<In>, FrameError>;
    fn encode(&mut self, frame: Out, buffer: &mut BytesMut) -> Result<(), FrameError>;
}

impl<C, Out> ErasedCodec<C::Item, Out> for C
where
    C: Decoder<Error: Into<BoxError>> + Encoder<Out, Error: Into<BoxError>> + Send,
{
    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<C::Item>, FrameError> {
        Decoder::decode(self, buffer).map_err(FrameError::of)
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<C::Item>, FrameError> {
        Decoder::decode_eof(self, buffer).map_err(FrameError::of)
    }

    fn encode(&mut self, frame: Out, buffer: &mut BytesMut) -> Result<(), FrameError> {
        Encoder::encode(self, frame, buffer).map_err(FrameError::of)
    }
}

impl<In, Out> Decoder for BoxCodec<In, Out> {
    type Item = In;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<In>, FrameError> {
        self.0.decode(buffer)
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<In>, FrameError> {
        self.0.decode_eof(buffer)
    }
}

impl<In, Out> Encoder<Out> for BoxCodec<In, Out> {
    type Error = FrameError;

    fn encode(&mut self, frame: Out, buffer: &mut BytesMut) -> Result<(), FrameError> {
        self.0.encode(frame, buffer)
    }
}
