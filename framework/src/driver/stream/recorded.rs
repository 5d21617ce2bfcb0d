//! Records the messages of a connection: a codec around the codec of the connection.
//!
//! A connection with a recorder is driven by code of its own, in which the calls of the recorder are inlined. A
//! connection without one never asks for it.

use std::sync::Arc;

use crate::connection::Connection;
use crate::driver::stream::framed_connection::FramedConnection;
use crate::driver::stream::recorded::codec::{Recorded, RecordedCodec};
use crate::error::chain;
use crate::framing::{BoxCodec, BoxFraming, Framing};
use crate::recorder::{Facts, RecordedHandler, Recorder, Recording};
use crate::transport::SessionFuture;

mod codec;

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
    pub(super) fn recorded(self, recording: Arc<Recording>) -> FramedConnection<Recorded<F>> {
        self.with_io(|io| io.with_codec(|codec| RecordedCodec::new(codec, recording)))
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
                let wrap = |codec| BoxCodec::new(RecordedCodec::of_bytes(codec, recording));
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
