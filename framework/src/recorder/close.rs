//! Writes the records of a connection to a file.

use std::path::PathBuf;
use std::sync::Arc;

use super::facts::Facts;
use super::files::RecordError;
use super::recording::Recording;
use super::report::SkipReason;
use super::shared::Shared;
use crate::close_reason::CloseReason;

/// The tracing target of the events of recorders.
const TARGET: &str = "switchboard::recorder";

impl Recording {
    /// Writes a file now. It blocks.
    pub(crate) fn write(&self, facts: &Facts) -> Result<PathBuf, RecordError> {
        if !self.may_write() {
            return Err(RecordError::too_many());
        }
        self.write_file(facts)
    }

    fn may_write(&self) -> bool {
        let may_write = self.shared.files.may_write();
        if !may_write {
            self.shared.counters.skipped(SkipReason::Rate);
        }
        may_write
    }

    fn write_file(&self, facts: &Facts) -> Result<PathBuf, RecordError> {
        let Shared { files, counters, .. } = &*self.shared;
        let written = self.script(facts).and_then(|script| files.write(facts, &script.to_string()));
        let Facts { connection, peer, reason, .. } = facts;
        let (listener, reason) = (&*self.handler.listener, reason.map(CloseReason::as_str));
        match &written {
            Ok(file) => {
                counters.written();
                let file = file.display().to_string();
                tracing::info!(target: TARGET, listener, connection, peer, reason, file, "record written");
            }
            Err(error) => {
                counters.skipped(SkipReason::Error);
                let error = error.to_string();
                tracing::warn!(target: TARGET, listener, connection, peer, reason, error, "record not written");
            }
        }
        written
    }

    /// The connection has closed: writes a file in the background if its reason is selected.
    pub(crate) fn close(self: Arc<Self>, facts: Facts) {
        let shared = &self.shared;
        if !facts.reason.is_some_and(|reason: CloseReason| shared.settings.on.contains(reason)) {
            return self.close_memory();
        }
        if !self.may_write() {
            self.close_memory();
            return shared.skipped.log(|| {
                |count| {
                    tracing::warn!(target: TARGET, count, "records skipped: one file per second is written");
                }
            });
        }
        tokio::task::spawn_blocking(move || {
            let _ = self.write_file(&facts); // the log has the error
            self.close_memory();
        });
    }
}
