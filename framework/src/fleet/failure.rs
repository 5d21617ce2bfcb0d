//! Why a fleet cannot use its server.

use std::fmt::Display;

use redis::{ErrorKind, RedisError};

use super::report::FailureClass;
use crate::settings::FleetSettings;
use crate::settings::text::escape_unsafe;

/// Maximum characters of a text of the server.
const SHOWN: usize = 200;

/// A fleet cannot be created, or cannot use its server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct FleetError {
    setting: &'static str,
    text: String,
}

impl FleetError {
    pub(super) fn new(setting: &'static str, text: impl Into<String>) -> Self {
        Self { setting, text: text.into() }
    }

    /// The key of [`FleetSettings`] that the error is about.
    pub fn setting(&self) -> &'static str {
        self.setting
    }
}

/// A call to the server failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct LinkFailure {
    pub(crate) class: FailureClass,
    text: String,
}

impl LinkFailure {
    pub(super) fn new(class: FailureClass, settings: &FleetSettings, reason: impl Display) -> Self {
        let link = settings.link.as_ref().map(ToString::to_string).unwrap_or_default();
        let reason = reason.to_string();
        let reason: String = escape_unsafe(reason.trim(), |_| false).chars().take(SHOWN).collect();
        let text = match class {
            FailureClass::Unreachable => format!("cannot reach {link}: {reason}"),
            FailureClass::Timeout => format!("{link} does not answer within {reason}"),
            FailureClass::Credentials => format!("{link} rejects the user or the password: {reason}"),
            FailureClass::ReadOnly => format!("{link} is read-only: {reason}"),
            FailureClass::OutOfMemory => format!("{link} cannot store data: {reason}"),
            FailureClass::Busy => format!("{link} is busy: {reason}"),
            FailureClass::Protocol => format!("{link} does not speak the protocol of Redis: {reason}"),
            FailureClass::Other => format!("{link} reports an error: {reason}"),
        };
        Self { class, text }
    }

    /// The server has closed a connection.
    pub(crate) fn closed(settings: &FleetSettings) -> Self {
        Self::new(FailureClass::Unreachable, settings, "the server has closed the connection")
    }

    pub(super) fn timeout(settings: &FleetSettings) -> Self {
        let time = humantime::format_duration(settings.timeout);
        Self::new(FailureClass::Timeout, settings, time)
    }

    pub(super) fn of(error: &RedisError, settings: &FleetSettings) -> Self {
        match classify(error) {
            FailureClass::Timeout => Self::timeout(settings),
            class => Self::new(class, settings, reason(error)),
        }
    }
}

/// The text of the server, or of the system without its number.
fn reason(error: &RedisError) -> String {
    let text = match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    };
    crate::settings::file::without_number(&text)
}

fn classify(error: &RedisError) -> FailureClass {
    let text = error.to_string();
    let has_code =
        |codes: &[&str]| codes.iter().any(|code| error.code() == Some(code) || text.contains(&format!("{code} ")));
    match error.kind() {
        _ if error.is_timeout() => FailureClass::Timeout,
        _ if has_code(&["WRONGPASS", "NOAUTH", "NOPERM"]) => FailureClass::Credentials,
        ErrorKind::AuthenticationFailed => FailureClass::Credentials,
        _ if error.is_io_error() => FailureClass::Unreachable,
        _ if has_code(&["READONLY"]) => FailureClass::ReadOnly,
        _ if has_code(&["OOM", "MISCONF"]) => FailureClass::OutOfMemory,
        _ if has_code(&["LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN"]) => FailureClass::Busy,
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => FailureClass::Protocol,
        _ => FailureClass::Other,
    }
}

/// The setting of a failed check.
impl From<LinkFailure> for FleetError {
    fn from(failure: LinkFailure) -> Self {
        let setting = if failure.class == FailureClass::Credentials { "password" } else { "link" };
        Self::new(setting, failure.text)
    }
}
