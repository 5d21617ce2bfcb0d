//! The codec of a recorded connection, around the codec of its framing.

use std::any::Any;
use std::convert::Infallible;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::error::BoxError;
use crate::framing::Framing;
use crate::recorder::{RecordKind, Recording, Writer};

/// The framing of a recorded connection. It has no value: the codec is made of that of the connection.
pub(crate) struct Recorded<F>(Infallible, PhantomData<F>);

impl<F: Framing> Framing for Recorded<F> {
    type In = F::In;
    type Out = F::Out;
    type Codec = RecordedCodec<F::Codec>;

    fn codec(&self, _: usize) -> Self::Codec {
        match self.0 {}
    }

    fn before_wait(codec: &mut Self::Codec) {
        if codec.state == State::InBurst {
            codec.state = State::Waits;
        }
        codec.writer.rest();
    }

    fn before_close(codec: &mut Self::Codec, rest: &[u8]) {
        if codec.state == State::Incomplete {
            codec.record_undecoded(rest);
        }
        codec.rest(State::Waits);
    }
}

/// A codec that records what it decodes and encodes.
pub(crate) struct RecordedCodec<C> {
    inner: C,
    writer: Writer,
    state: State,
    /// The driver says when it waits. Otherwise, each record is written at once.
    has_bursts: bool,
    /// Messages are recorded as the framing decodes them. Otherwise, their bytes on the wire are recorded.
    has_messages: bool,
    /// The bytes of the input are copied before they are decoded.
    copies_input: bool,
    has_ended: bool,
    taken: Taken,
}

/// What follows the last call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It has decoded a message: the next one follows at once, or the driver says that it waits.
    InBurst,
    /// The driver waits, or the codec has failed.
    Waits,
    /// The input ends inside a message, or between two messages.
    Incomplete,
}

/// The beginning of the input that is not decoded yet, as far as the codec has taken it out of the buffer.
#[derive(Default)]
struct Taken {
    bytes: Vec<u8>,
    /// Its length.
    len: usize,
}

impl<C> RecordedCodec<C> {
    /// The codec of a connection with the framing of its listener.
    pub(super) fn new(inner: C, recording: Arc<Recording>) -> Self {
        let framing = recording.framing();
        let has_messages = framing.is_some();
        let copies_input = framing.is_none_or(|framing| framing.rejects_messages);
        Self { has_bursts: true, has_messages, copies_input, ..Self::of_bytes(inner, recording) }
    }

    /// The codec of a connection with another framing.
    pub(super) fn of_bytes(inner: C, recording: Arc<Recording>) -> Self {
        Self {
            inner,
            state: State::Waits,
            has_bursts: false,
            has_messages: false,
            copies_input: true,
            has_ended: false,
            writer: Writer::new(recording),
            taken: Taken::default(),
        }
    }

    /// No message follows at once.
    fn rest(&mut self, state: State) {
        self.state = state;
        self.writer.rest();
    }
}

/// The message, if its type is that of the built-in framings. Constant for each type.
fn as_bytes<T: 'static>(message: &T) -> Option<&Bytes> {
    (message as &dyn Any).downcast_ref()
}

impl<C: Decoder<Item: 'static>> RecordedCodec<C> {
    /// Records a message.
    fn record_message(&mut self, message: &C::Item) {
        self.state = if self.has_bursts { State::InBurst } else { State::Waits };
        match as_bytes(message).filter(|_| self.has_messages) {
            Some(message) => self.writer.record(RecordKind::Received, message),
            None => self.record_taken(),
        }
        if self.state != State::InBurst {
            self.writer.rest();
        }
    }

    /// Records a message that is incomplete or invalid. `rest` is the input that the codec has not taken.
    #[cold]
    fn record_undecoded(&mut self, rest: &[u8]) {
        let room = self.writer.max().saturating_sub(self.taken.bytes.len()).min(rest.len());
        self.taken.bytes.extend_from_slice(&rest[..room]);
        self.taken.len += rest.len();
        if self.taken.len > 0 {
            self.record_taken();
            self.taken = Taken::default();
        }
        self.rest(State::Waits);
    }

    fn record_taken(&mut self) {
        self.writer.record_part(RecordKind::ReceivedBytes, &self.taken.bytes, self.taken.len);
    }

    /// Calls the decoder, and notes which bytes it takes out of the buffer.
    fn decode_copied<T>(&mut self, buffer: &mut BytesMut, decode: impl FnOnce(&mut C, &mut BytesMut) -> T) -> T {
        let (kept, before) = (self.taken.bytes.len(), buffer.len());
        let copied = self.writer.max().saturating_sub(kept).min(before);
        self.taken.bytes.extend_from_slice(&buffer[..copied]);
        let decoded = decode(&mut self.inner, buffer);
        let taken = before.saturating_sub(buffer.len());
        self.taken.bytes.truncate(kept + taken.min(copied));
        self.taken.len += taken;
        decoded
    }

    #[inline(never)]
    fn decode_and_copy(&mut self, buffer: &mut BytesMut) -> Result<Option<C::Item>, C::Error> {
        let decoded = self.decode_copied(buffer, C::decode);
        match &decoded {
            Ok(Some(message)) => {
                self.record_message(message);
                self.taken.bytes.clear();
                self.taken.len = 0;
            }
            Ok(None) => self.rest(State::Incomplete),
            Err(_) => self.record_undecoded(buffer),
        }
        decoded
    }
}

impl<C: Decoder<Item: 'static>> Decoder for RecordedCodec<C> {
    type Item = C::Item;
    type Error = C::Error;

    #[inline(always)] // the result is a message, which each function that returns it copies
    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<C::Item>, C::Error> {
        // Each match moves the fields of a message one by one. The compiler would move larger parts, each of which
        // waits for its fields to be written.
        if self.copies_input {
            return match self.decode_and_copy(buffer) {
                Ok(Some(message)) => Ok(Some(message)),
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            };
        }
        match self.inner.decode(buffer) {
            Ok(Some(message)) => {
                self.state = State::InBurst;
                if let Some(message) = as_bytes(&message) {
                    self.writer.record(RecordKind::Received, message);
                }
                Ok(Some(message))
            }
            Ok(None) => {
                self.rest(State::Incomplete);
                Ok(None)
            }
            Err(error) => {
                self.record_undecoded(buffer);
                Err(error)
            }
        }
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<C::Item>, C::Error> {
        let decoded =
            if self.copies_input { self.decode_copied(buffer, C::decode_eof) } else { self.inner.decode_eof(buffer) };
        match &decoded {
            Ok(Some(message)) => {
                self.record_message(message);
                self.taken = Taken::default();
            }
            _ => {
                self.record_undecoded(buffer);
                if !self.has_ended {
                    self.has_ended = true;
                    self.writer.record(RecordKind::ReceivedEnd, &[]);
                    self.writer.rest();
                }
            }
        }
        decoded
    }
}

impl<C, Out> Encoder<Out> for RecordedCodec<C>
where
    C: Encoder<Out, Error: Into<BoxError>>,
    Out: 'static,
{
    type Error = C::Error;

    #[inline]
    fn encode(&mut self, frame: Out, buffer: &mut BytesMut) -> Result<(), C::Error> {
        match as_bytes(&frame).filter(|_| self.has_messages) {
            Some(message) => {
                let len = message.len();
                self.writer.record(RecordKind::Sent, message);
                let encoded = self.inner.encode(frame, buffer);
                if encoded.is_err() {
                    self.writer.retract(len);
                }
                encoded?;
            }
            None => {
                let before = buffer.len();
                self.inner.encode(frame, buffer)?;
                self.writer.record(RecordKind::SentBytes, buffer.get(before..).unwrap_or_default());
            }
        }
        if self.state != State::InBurst {
            self.writer.rest();
        }
        Ok(())
    }
}
