//! The settings of the log.

use std::ffi::OsStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use tracing_subscriber::EnvFilter;

use super::Rate;
use super::define::settings;
use super::text::{deserialize_text, quoted, suggestion};

settings! {
    /// The log on standard error.
    pub struct LogSettings {
        /// Level, or a filter such as "info,switchboard=debug". The variable RUST_LOG takes precedence.
        #[serde(deserialize_with = "deserialize_level")]
        #[schemars(example = &"info")]
        pub level: String = "info".to_owned(),
        /// Format. auto: text on a terminal, otherwise json.
        pub format: LogFormat = LogFormat::Auto,
        /// Maximum rate of lines of one event and listener, so that clients cannot fill the disk. Further lines are
        /// counted, and the count is logged as `log lines suppressed`. Levels debug and trace have no limit. 0/s: off.
        pub lines: Rate = Rate::per_second(100),
    }
}

/// The format of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum LogFormat {
    /// Text on a terminal, otherwise JSON.
    Auto,
    /// One line of text per event.
    Text,
    /// One JSON object per line.
    Json,
}

impl LogSettings {
    /// The level that a value of the variable `RUST_LOG` sets; none if it is empty.
    ///
    /// # Errors
    ///
    /// The value is not a filter.
    pub fn level_of_rust_log(value: &OsStr) -> Result<Option<String>, String> {
        if value.is_empty() {
            return Ok(None);
        }
        let filter = parse_filter(value.to_str().ok_or("is not UTF-8")?)?;
        // A parsed filter prints the level of every directive, as `level` requires.
        Ok(Some(filter.to_string()))
    }
}

const LEVEL: &str =
    "a level (off, error, warn, info, debug, trace) or a filter; write a filter like \"info,switchboard=debug\"";
/// Maximum length of a log filter.
const MAX_FILTER: usize = 4096;
/// Maximum number of directives of a log filter. Every event of a disabled level is compared with each.
const MAX_DIRECTIVES: usize = 64;
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Parses a log level or filter.
pub(crate) fn parse_level(text: &str) -> Result<EnvFilter, String> {
    if text.len() > MAX_FILTER {
        return parse_filter(text); // its error does not repeat the text
    }
    // EnvFilter reads a single unknown word as the name of a module, so "inf" would log everything of a module inf.
    // Here a single word must be a level.
    for part in text.split(',') {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level).trim();
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            return Err(format!("{} is not {LEVEL}{}", quoted(text), suggestion(level, LEVELS)));
        }
    }
    parse_filter(text)
}

/// Parses a log filter. Values of fields are compared as text: a regular expression could take unbounded time.
fn parse_filter(text: &str) -> Result<EnvFilter, String> {
    if text.len() > MAX_FILTER {
        return Err(format!("a filter is limited to {MAX_FILTER} bytes; this one has {}", text.len()));
    }
    let directives = text.split(',').count();
    if directives > MAX_DIRECTIVES {
        return Err(format!("a filter is limited to {MAX_DIRECTIVES} directives; this one has {directives}"));
    }
    let filter = EnvFilter::builder().with_regex(false).parse(text);
    filter.map_err(|_| format!("{} is not {LEVEL}", quoted(text)))
}

fn deserialize_level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    deserialize_text(deserializer, LEVEL, |text| parse_level(text).map(|_| text.to_owned()))
}

#[cfg(test)]
mod tests;
