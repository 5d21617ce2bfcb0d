//! Checks the sizes of the recorder. Its directory is created when the server starts.

use switchboard::settings::{RecorderSettings, Size};

use super::config::Check;
use crate::config::tree::path;

impl Check<'_> {
    /// Without the section, nothing is recorded.
    pub(super) fn recorder(&mut self) -> Option<RecorderSettings> {
        let recorder = self.file.recorder.clone()?;
        let (memory, message) = (path("recorder.memory"), path("recorder.message"));
        let shown = |bytes: usize| Size::from(bytes).to_string();
        if recorder.memory < RecorderSettings::MIN_MEMORY && !self.report.is_invalid(&memory) {
            let (found, least) = (shown(recorder.memory), shown(RecorderSettings::MIN_MEMORY));
            self.reject(&memory, format!("\"{found}\" is too little; write \"{least}\" or more"));
        }
        if recorder.message > RecorderSettings::MAX_MESSAGE && !self.report.is_invalid(&message) {
            let (found, most) = (shown(recorder.message), shown(RecorderSettings::MAX_MESSAGE));
            self.reject(&message, format!("\"{found}\" is too much; write \"{most}\" or less"));
        }
        Some(recorder)
    }
}
