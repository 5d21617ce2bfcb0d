//! What the recorder needs to know about the handler of a listener.

use std::fmt;

use bytes::BytesMut;

use crate::direction::Direction;

/// Removes secrets from a message; see [`Handler::redact`](crate::Handler::redact).
pub(crate) type Redact = dyn Fn(Direction, &mut BytesMut) + Send + Sync;

/// Encodes a message. `None` if the framing does not accept it.
pub(crate) type Encode = dyn Fn(&[u8]) -> Option<Vec<u8>> + Send + Sync;

/// What the recorder needs to know about the handler of a listener.
pub(crate) struct RecordedHandler {
    pub(crate) listener: String,
    /// The name of its section, if it has one.
    pub(crate) handler: Option<String>,
    /// The framing of the messages, if a configuration can name it. Without one, bytes are recorded.
    pub(crate) framing: Option<RecordedFraming>,
    pub(crate) redact: Box<Redact>,
}

/// A framing of bytes with a name.
pub(crate) struct RecordedFraming {
    /// As in a configuration.
    pub(crate) text: String,
    /// It takes a message out of the input before it rejects it.
    pub(crate) rejects_messages: bool,
    /// The bytes on the wire of a message.
    pub(crate) encode: Box<Encode>,
}

impl fmt::Debug for RecordedHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedHandler").field("listener", &self.listener).finish_non_exhaustive()
    }
}
