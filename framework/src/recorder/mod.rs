//! The flight recorder: the last messages of each connection in a bounded memory, written as a
//! [script](crate::script) when a connection closes for a selected reason, or on demand.
//!
//! A message is recorded after TLS, the PROXY header and the framing, in both directions. Set a [`Recorder`] for each
//! listener: [`ListenerSpec::recorder`](crate::server::ListenerSpec::recorder). Without one, the path of a message has
//! no instruction for it.
//!
//! Recorded are connections of a [`Handler`](crate::Handler). Datagrams, and the bytes of a
//! [`StreamHandler`](crate::StreamHandler), are not.
//!
//! ```
//! use switchboard::prelude::*;
//! use switchboard::recorder::Recorder;
//! use switchboard::settings::RecorderSettings;
//! use switchboard::transport::memory;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! let echo = handler_fn(|_: Context, message: Bytes| async move { Ok(Reply::send(message)) });
//! let recorder = Recorder::new(RecorderSettings::default());
//! let server = Server::bind("mem:recorder").framing(Lines::default()).recorder(recorder).start(echo).await?;
//!
//! let mut client = memory::connect("recorder").await?;
//! client.write_all(b"Ada\n").await?;
//! client.read_exact(&mut [0; 4]).await?;
//! let id = server.connections()[0].id();
//! let script = server.recorded(id).unwrap().to_string();
//! assert!(script.ends_with("> \"Ada\\n\"\n< \"Ada\\n\"\n"));
//! # Ok(())
//! # }
//! ```

mod conversation;
mod files;
mod memory;
mod recording;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use crate::close_reason::CloseReason;
use crate::direction::Direction;
use crate::log_throttle::LogThrottle;
use crate::script::Script;
use crate::settings::RecorderSettings;
pub(crate) use conversation::Facts;
use files::Files;
pub use files::RecordError;
use memory::Memory;
pub(crate) use recording::{RecordKind, Recording, Writer};

/// A flight recorder, for any number of listeners. Clones are the same recorder and share its memory.
#[derive(Clone)]
pub struct Recorder(Arc<Shared>);

struct Shared {
    settings: RecorderSettings,
    memory: Memory,
    /// Stored bytes of a message.
    max_message: usize,
    files: Files,
    /// Connections whose reason was selected and that are not written, because of the limit of files per second.
    skipped: LogThrottle,
}

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

impl Recorder {
    /// A recorder with these settings. It uses no memory before the first message, and no file before the first one is
    /// written.
    pub fn new(settings: RecorderSettings) -> Self {
        let max_message = settings.message.clamp(1, RecorderSettings::MAX_MESSAGE);
        let memory = Memory::new(settings.memory.max(RecorderSettings::MIN_MEMORY), max_message);
        let files = Files::new(settings.directory.clone(), settings.files.max(1));
        Self(Arc::new(Shared { settings, memory, max_message, files, skipped: LogThrottle::default() }))
    }

    /// The settings.
    pub fn settings(&self) -> &RecorderSettings {
        &self.0.settings
    }

    /// Creates the directory of the files, if it does not exist, and checks that a file can be written. It blocks.
    ///
    /// # Errors
    ///
    /// The directory cannot be used.
    pub fn check(&self) -> Result<(), RecordError> {
        self.0.files.check()
    }

    pub(crate) fn recording(&self, handler: &Arc<RecordedHandler>) -> Arc<Recording> {
        Recording::new(self.clone(), handler.clone())
    }
}

impl PartialEq for Recorder {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Recorder {}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

impl fmt::Debug for RecordedHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordedHandler").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl Recording {
    /// The framing of the listener, if messages are recorded and not bytes.
    pub(crate) fn framing(&self) -> Option<&RecordedFraming> {
        self.handler.framing.as_ref()
    }

    /// The script of what is still stored.
    pub(crate) fn script(&self, facts: &Facts) -> Script {
        conversation::script(self, facts)
    }

    /// Writes a file now. It blocks.
    pub(crate) fn write(&self, facts: &Facts) -> Result<PathBuf, RecordError> {
        let files = &self.recorder.0.files;
        if !files.may_write() {
            return Err(RecordError::too_many());
        }
        files.write(facts, &self.script(facts).to_string())
    }

    /// The connection has closed: writes a file in the background if its reason is selected.
    pub(crate) fn close(self: Arc<Self>, facts: Facts) {
        let shared = &self.recorder.0;
        if !facts.reason.is_some_and(|reason: CloseReason| shared.settings.on.contains(reason)) {
            return self.free();
        }
        if !shared.files.may_write() {
            self.free();
            return shared.skipped.log(|| {
                |count| {
                    tracing::warn!(target: TARGET, count, "records skipped: one file per second is written");
                }
            });
        }
        tokio::task::spawn_blocking(move || {
            let files = &self.recorder.0.files;
            let written = files.write(&facts, &self.script(&facts).to_string());
            self.free();
            let Facts { connection, peer, reason, .. } = &facts;
            let (listener, reason) = (&*self.handler.listener, reason.map(CloseReason::as_str));
            match written {
                Ok(file) => {
                    let file = file.display().to_string();
                    tracing::info!(target: TARGET, listener, connection, peer, reason, file, "record written");
                }
                Err(error) => {
                    let error = error.to_string();
                    tracing::warn!(target: TARGET, listener, connection, peer, reason, error, "record not written");
                }
            }
        });
    }
}

/// The tracing target of the events of recorders.
const TARGET: &str = "switchboard::recorder";

/// Shortest pause that is written to a script.
const MIN_PAUSE: Duration = Duration::from_millis(10);
