//! Records the messages of a connection: a codec around the codec of the connection.
//!
//! A connection with a recorder is driven with a boxed codec. A connection without one never asks for it.

use std::any::Any;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use crate::connection::Connection;
use crate::driver::stream::framed_connection::FramedConnection;
use crate::error::{BoxError, chain};
use crate::framing::{BoxCodec, BoxFraming, Framing};
use crate::recorder::{Facts, RecordKind, RecordedHandler, Recorder, Recording, Writer};
use crate::transport::SessionFuture;

/// The recorder of a listener, and its handler.
pub(crate) struct RecordedListener {
    pub(crate) recorder: Recorder,
    pub(crate) handler: Arc<RecordedHandler>,
}

/// The recording of a connection, among its extensions.
#[derive(Clone)]
struct ConnectionRecording(Arc<Recording>);

impl Recording {
    /// The recording of a connection that has one.
    pub(crate) fn of(connection: &Connection) -> Option<Arc<Self>> {
        connection.existing_extension().map(|ConnectionRecording(recording)| recording)
    }
}

impl Facts {
    pub(crate) fn of(connection: &Connection, error: Option<String>) -> Self {
        Self {
            connection: connection.id(),
            peer: connection.peer().to_string(),
            local: connection.local().to_string(),
            reason: connection.close_reason(),
            error,
        }
    }
}

impl RecordedListener {
    /// Begins to record a connection.
    pub(super) fn begin(&self, connection: &Connection) -> Arc<Recording> {
        let recording = self.recorder.recording(&self.handler);
        connection.extensions().insert(ConnectionRecording(recording.clone()));
        recording
    }
}

impl<F: Framing> FramedConnection<F> {
    /// The same connection, whose messages are recorded. It still has the framing of its listener.
    pub(super) fn recorded(self, recording: Arc<Recording>) -> FramedConnection<BoxFraming<F::In, F::Out>> {
        let framing = recording.framing();
        let (has_messages, copies_input) = (framing.is_some(), framing.is_none_or(|framing| framing.rejects_messages));
        let wrap = |codec| BoxCodec::new(RecordedCodec::new(codec, recording, has_messages, copies_input));
        self.with_io(|io| io.with_codec(wrap))
    }

    /// The same connection with another framing. Its bytes are recorded if its messages were.
    pub(super) fn with_other_framing(
        self,
        framing: &BoxFraming<F::In, F::Out>,
        frame_limit: usize,
    ) -> FramedConnection<BoxFraming<F::In, F::Out>> {
        let recording = Recording::of(&self.io.connection);
        let framed = self.with_io(|io| io.with_framing(framing, frame_limit));
        match recording {
            Some(recording) => {
                let wrap = |codec| BoxCodec::new(RecordedCodec::new(codec, recording, false, true));
                framed.with_io(|io| io.with_codec(wrap))
            }
            None => framed,
        }
    }
}

/// Closes the recording when the session ends.
pub(super) fn close_after(session: SessionFuture, connection: Connection, recording: Arc<Recording>) -> SessionFuture {
    Box::pin(async move {
        let ended = session.await;
        let error = ended.as_ref().err().map(|error| chain(&**error));
        recording.close(Facts::of(&connection, error));
        ended
    })
}

/// A codec that records what it decodes and encodes.
struct RecordedCodec<C> {
    inner: C,
    writer: Writer,
    /// Messages are recorded as the framing decodes them. Otherwise, their bytes on the wire are recorded.
    has_messages: bool,
    /// The bytes of the input are copied before they are decoded.
    copies_input: bool,
    /// The beginning of the input that is not decoded yet, as far as the codec has taken it out of the buffer.
    taken: Vec<u8>,
    /// Its length.
    taken_len: usize,
    /// The last call has decoded a message: the next one follows at once.
    in_burst: bool,
    has_ended: bool,
}

impl<C> RecordedCodec<C> {
    fn new(inner: C, recording: Arc<Recording>, has_messages: bool, copies_input: bool) -> Self {
        let writer = Writer::new(recording);
        Self {
            inner,
            writer,
            has_messages,
            copies_input,
            taken: Vec::new(),
            taken_len: 0,
            in_burst: false,
            has_ended: false,
        }
    }
}

/// The message, if its type is that of the built-in framings. Constant for each type.
fn as_bytes<T: 'static>(message: &T) -> Option<&Bytes> {
    (message as &dyn Any).downcast_ref()
}

impl<C: Decoder<Item: 'static>> RecordedCodec<C> {
    fn record_decoded<E>(&mut self, decoded: &Result<Option<C::Item>, E>, rest: &[u8], is_end: bool) {
        match decoded {
            Ok(Some(message)) => {
                self.in_burst = true;
                match as_bytes(message).filter(|_| self.has_messages) {
                    Some(message) => self.writer.record(RecordKind::Received, message),
                    None => self.record_taken(),
                }
                self.taken.clear();
                self.taken_len = 0;
            }
            Ok(None) if !is_end => {
                self.in_burst = false;
                self.writer.rest();
            }
            // A message that is incomplete or invalid.
            undecoded => {
                let room = self.writer.max().saturating_sub(self.taken.len()).min(rest.len());
                self.taken.extend_from_slice(&rest[..room]);
                self.taken_len += rest.len();
                if self.taken_len > 0 {
                    self.record_taken();
                    (self.taken_len, self.taken) = (0, Vec::new());
                }
                if is_end && undecoded.is_ok() && !self.has_ended {
                    self.has_ended = true;
                    self.writer.record(RecordKind::ReceivedEnd, &[]);
                }
                self.in_burst = false;
                self.writer.rest();
            }
        }
    }

    fn record_taken(&mut self) {
        self.writer.stage(RecordKind::ReceivedBytes, &self.taken, self.taken_len);
        self.writer.publish();
    }

    /// Calls the decoder, and notes which bytes it takes out of the buffer.
    fn decode_copied<T>(&mut self, buffer: &mut BytesMut, decode: impl FnOnce(&mut C, &mut BytesMut) -> T) -> T {
        let (kept, before) = (self.taken.len(), buffer.len());
        let copied = self.writer.max().saturating_sub(kept).min(before);
        self.taken.extend_from_slice(&buffer[..copied]);
        let decoded = decode(&mut self.inner, buffer);
        let taken = before.saturating_sub(buffer.len());
        self.taken.truncate(kept + taken.min(copied));
        self.taken_len += taken;
        decoded
    }
}

impl<C: Decoder<Item: 'static>> Decoder for RecordedCodec<C> {
    type Item = C::Item;
    type Error = C::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<C::Item>, C::Error> {
        let decoded = if self.copies_input { self.decode_copied(buffer, C::decode) } else { self.inner.decode(buffer) };
        self.record_decoded(&decoded, buffer, false);
        decoded
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<C::Item>, C::Error> {
        let decoded =
            if self.copies_input { self.decode_copied(buffer, C::decode_eof) } else { self.inner.decode_eof(buffer) };
        self.record_decoded(&decoded, buffer, true);
        decoded
    }
}

impl<C, Out> Encoder<Out> for RecordedCodec<C>
where
    C: Encoder<Out, Error: Into<BoxError>>,
    Out: 'static,
{
    type Error = C::Error;

    fn encode(&mut self, frame: Out, buffer: &mut BytesMut) -> Result<(), C::Error> {
        let message = as_bytes(&frame).filter(|_| self.has_messages);
        let is_message = message.is_some();
        if let Some(message) = message {
            self.writer.stage(RecordKind::Sent, message, message.len());
        }
        let before = buffer.len();
        self.inner.encode(frame, buffer)?;
        if !is_message {
            let encoded = buffer.get(before..).unwrap_or_default();
            self.writer.stage(RecordKind::SentBytes, encoded, encoded.len());
        }
        self.writer.publish();
        if !self.in_burst {
            self.writer.rest();
        }
        Ok(())
    }
}
