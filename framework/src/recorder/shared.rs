//! What all recordings of a recorder share.

use std::sync::Arc;

use super::files::Files;
use super::memory::Memory;
use super::report::Counters;
use crate::log_throttle::LogThrottle;
use crate::settings::RecorderSettings;

/// The settings, the memory and the files of a recorder.
pub(super) struct Shared {
    pub(super) settings: RecorderSettings,
    pub(super) memory: Memory,
    /// Stored bytes of a message.
    pub(super) max_message: usize,
    pub(super) files: Files,
    /// Connections whose reason was selected and that are not written, because of the limit of files per second.
    pub(super) skipped: LogThrottle,
    pub(super) counters: Arc<Counters>,
}

impl Shared {
    pub(super) fn new(settings: RecorderSettings, counters: Arc<Counters>) -> Self {
        let max_message = settings.message.clamp(1, RecorderSettings::MAX_MESSAGE);
        let memory = settings.memory.max(RecorderSettings::MIN_MEMORY);
        let memory = Memory::new(memory, settings.connection, max_message, counters.memory.clone());
        let files = Files::new(settings.directory.clone(), settings.files.max(1));
        Self { settings, memory, max_message, files, skipped: LogThrottle::default(), counters }
    }
}
