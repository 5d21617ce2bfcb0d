//! The handle of a recorder.

use std::fmt;
use std::sync::Arc;

use super::files::RecordError;
use super::handler::RecordedHandler;
use super::recording::Recording;
use super::report::RecorderReport;
use super::shared::Shared;
use crate::settings::RecorderSettings;

/// A flight recorder, for any number of listeners. Clones are the same recorder and share its memory.
#[derive(Clone)]
pub struct Recorder(Arc<Shared>);

impl Recorder {
    /// A recorder with these settings. It uses no memory before the first message, and no file before the first one is
    /// written.
    pub fn new(settings: RecorderSettings) -> Self {
        Self(Arc::new(Shared::new(settings, Arc::default())))
    }

    /// A recorder with other settings, which continues the counters of this one. Connections of this one keep it.
    #[must_use]
    pub fn with_settings(&self, settings: RecorderSettings) -> Self {
        Self(Arc::new(Shared::new(settings, self.0.counters.clone())))
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

    /// The use of its memory, and its counters.
    pub fn report(&self) -> RecorderReport {
        let Shared { counters, settings, .. } = &*self.0;
        counters.report(settings.memory.max(RecorderSettings::MIN_MEMORY))
    }

    pub(crate) fn recording(&self, handler: &Arc<RecordedHandler>) -> Arc<Recording> {
        Recording::new(self.0.clone(), handler.clone())
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
