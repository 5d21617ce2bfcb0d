//! What all recordings of a recorder share.

use super::files::Files;
use super::memory::Memory;
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
}

impl Shared {
    pub(super) fn new(settings: RecorderSettings) -> Self {
        let max_message = settings.message.clamp(1, RecorderSettings::MAX_MESSAGE);
        let memory = Memory::new(settings.memory.max(RecorderSettings::MIN_MEMORY), max_message);
        let files = Files::new(settings.directory.clone(), settings.files.max(1));
        Self { settings, memory, max_message, files, skipped: LogThrottle::default() }
    }
}
