//! What the recorder knows about an open connection.

use std::path::PathBuf;
use std::sync::Arc;

use crate::connection::Connection;
use crate::recorder::{Facts, RecordError, Recorder, Recording};
use crate::script::Script;
use crate::server::running::Running;

impl Running {
    /// The recorders of the listeners.
    pub fn recorders(&self) -> Vec<Recorder> {
        let mut recorders: Vec<Recorder> = Vec::new();
        for recorder in self.all_listeners().iter().filter_map(|listener| listener.spec.recorder.clone()) {
            if !recorders.contains(&recorder) {
                recorders.push(recorder);
            }
        }
        recorders
    }

    /// The messages of an open connection that are still stored, as a script. `None` if the connection is not open, or
    /// has no recorder.
    ///
    /// # Errors
    ///
    /// The handler occupies its thread: the messages cannot be read before it waits.
    pub fn recorded(&self, id: u64) -> Option<Result<Script, RecordError>> {
        let (connection, recording) = self.recording(id)?;
        Some(recording.script(&Facts::of(&connection, None)))
    }

    /// Writes a file with the messages of an open connection, like [`recorded`](Self::recorded). Returns its path. It
    /// blocks: call it through `tokio::task::spawn_blocking`.
    ///
    /// # Errors
    ///
    /// The file cannot be written, one was written within the last second, or the handler occupies its thread.
    pub fn write_record(&self, id: u64) -> Option<Result<PathBuf, RecordError>> {
        let (connection, recording) = self.recording(id)?;
        Some(recording.write(&Facts::of(&connection, None)))
    }

    fn recording(&self, id: u64) -> Option<(Connection, Arc<Recording>)> {
        let connection = self.connection(id)?;
        let recording = Recording::of(&connection)?;
        Some((connection, recording))
    }
}
