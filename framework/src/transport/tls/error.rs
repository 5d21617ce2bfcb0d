//! The error of TLS settings.

use crate::error::debug_as_display;

/// TLS settings that cannot be used. The message names the file.
#[derive(thiserror::Error)]
#[error("{message}")]
pub struct TlsError {
    setting: Vec<String>,
    message: String,
}

debug_as_display!(TlsError);

impl TlsError {
    pub(super) fn new(setting: &[&str], message: impl Into<String>) -> Self {
        Self { setting: setting.iter().map(|part| (*part).to_owned()).collect(), message: message.into() }
    }

    /// The path of the invalid setting: `["key"]`, or `["sni", "example.com", "certificate"]`.
    pub fn setting(&self) -> &[String] {
        &self.setting
    }
}
