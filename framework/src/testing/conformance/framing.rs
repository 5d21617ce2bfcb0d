//! The framing under test, inside one that records where frames end.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::error::{BoxError, debug_as_name};
use crate::framing::Framing;
use crate::testing::conformance::record::Record;

/// The framing under test and the record of its codecs.
pub struct ProbeFraming<F> {
    framing: Arc<F>,
    record: Record,
    /// The codec that this framing continues, after the connection has changed its framing.
    continues: Option<usize>,
}

impl<F> ProbeFraming<F> {
    pub(super) fn new(framing: Arc<F>, record: Record) -> Self {
        Self { framing, record, continues: None }
    }

    /// A framing that a connection changes to.
    pub(super) fn continuing(framing: F, record: Record, codec: usize) -> Self {
        Self { framing: Arc::new(framing), record, continues: Some(codec) }
    }
}

/// The codec of a [`ProbeFraming`].
pub struct ProbeCodec<C> {
    codec: C,
    record: Record,
    number: usize,
}

debug_as_name!(ProbeFraming<F>);
debug_as_name!(ProbeCodec<C>);

impl<F: Framing> Framing for ProbeFraming<F> {
    type In = F::In;
    type Out = F::Out;
    type Codec = ProbeCodec<F::Codec>;

    fn codec(&self, limit: usize) -> Self::Codec {
        let number = self.continues.unwrap_or_else(|| self.record.add_codec(self.framing.limit(limit)));
        ProbeCodec { codec: self.framing.codec(limit), record: self.record.clone(), number }
    }

    fn limit(&self, limit: usize) -> usize {
        self.framing.limit(limit)
    }

    fn datagram_in(&self, datagram: Bytes) -> Result<F::In, BoxError> {
        self.framing.datagram_in(datagram)
    }

    fn datagram_out(&self, frame: F::Out) -> Result<Bytes, BoxError> {
        self.framing.datagram_out(frame)
    }
}

impl<C: Decoder> Decoder for ProbeCodec<C> {
    type Item = C::Item;
    type Error = C::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<C::Item>, C::Error> {
        self.codec.decode(buffer)
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<C::Item>, C::Error> {
        self.codec.decode_eof(buffer)
    }
}

impl<C: Encoder<Out>, Out> Encoder<Out> for ProbeCodec<C> {
    type Error = C::Error;

    fn encode(&mut self, frame: Out, buffer: &mut BytesMut) -> Result<(), C::Error> {
        let before = buffer.len();
        self.codec.encode(frame, buffer)?;
        self.record.encoded(self.number, buffer.len().saturating_sub(before));
        Ok(())
    }
}
