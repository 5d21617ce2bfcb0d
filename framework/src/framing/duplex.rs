//! A framing that is another one in each direction.

use bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::error::BoxError;
use crate::framing::definition::{FrameError, Framing};

/// A framing that decodes with one framing and encodes with another: for protocols whose requests and replies differ,
/// and for a [change of the framing](crate::Reply::then_framing) in one direction.
///
/// ```
/// use switchboard::prelude::*;
///
/// # async fn run() -> Result<()> {
/// // Requests are lines; replies have a length in front.
/// let framing = framing::duplex(Lines::default(), Length::default());
/// let echo = handler_fn(|_: Context, message: Bytes| async move { Ok(Reply::send(message)) });
/// Server::bind("tcp://127.0.0.1:0").framing(framing).serve(echo).await
/// # }
/// ```
pub fn duplex<I: Framing, O: Framing>(input: I, output: O) -> Duplex<I, O> {
    Duplex { input, output }
}

/// A framing created by [`duplex`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duplex<I, O> {
    input: I,
    output: O,
}

/// The codec of [`Duplex`].
#[derive(Debug)]
pub struct DuplexCodec<D, E> {
    decoder: D,
    encoder: E,
}

impl<I: Framing, O: Framing> Framing for Duplex<I, O> {
    type In = I::In;
    type Out = O::Out;
    type Codec = DuplexCodec<I::Codec, O::Codec>;

    fn codec(&self, limit: usize) -> Self::Codec {
        DuplexCodec { decoder: self.input.codec(limit), encoder: self.output.codec(limit) }
    }

    fn limit(&self, limit: usize) -> usize {
        self.input.limit(limit)
    }

    fn datagram_in(&self, datagram: Bytes) -> Result<I::In, BoxError> {
        self.input.datagram_in(datagram)
    }

    fn datagram_out(&self, frame: O::Out) -> Result<Bytes, BoxError> {
        self.output.datagram_out(frame)
    }
}

impl<D: Decoder<Error: Into<BoxError>>, E> Decoder for DuplexCodec<D, E> {
    type Item = D::Item;
    type Error = FrameError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<D::Item>, FrameError> {
        self.decoder.decode(buffer).map_err(FrameError::of)
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<D::Item>, FrameError> {
        self.decoder.decode_eof(buffer).map_err(FrameError::of)
    }
}

impl<D, E: Encoder<Out, Error: Into<BoxError>>, Out> Encoder<Out> for DuplexCodec<D, E> {
    type Error = FrameError;

    fn encode(&mut self, frame: Out, buffer: &mut BytesMut) -> Result<(), FrameError> {
        self.encoder.encode(frame, buffer).map_err(FrameError::of)
    }
}
