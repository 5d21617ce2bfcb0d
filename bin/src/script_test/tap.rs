//! The report in the Test Anything Protocol, version 13: many readers do not know a later one.

use super::load::Loaded;
use super::outcome::Played;
use super::text;
use crate::config::Escaped;

/// The version and the plan.
pub(super) fn begin(scripts: usize) -> String {
    format!("TAP version 13\n1..{scripts}\n")
}

/// The test point of a script, with the failure as a YAML block.
pub(super) fn script(script: &Loaded, played: &Played, number: usize) -> String {
    // A number sign begins a directive such as SKIP.
    let name = Escaped(&script.name).to_string().replace('\\', "\\\\").replace('#', "\\#");
    let milliseconds = played.time.as_millis();
    match &played.result {
        Ok(()) => format!("ok {number} - {name}\n  ---\n  duration_ms: {milliseconds}\n  ...\n"),
        Err(mismatch) => {
            // A string of JSON is a string of YAML.
            let message = serde_json::Value::from(mismatch.what.as_str());
            let details: String = text::failure(script, played).lines().map(|line| format!("    {line}\n")).collect();
            let severity = if mismatch.is_error { "error" } else { "fail" };
            format!(
                "not ok {number} - {name}\n  ---\n  message: {message}\n  severity: {severity}\n  \
                 duration_ms: {milliseconds}\n  details: |\n{details}  ...\n"
            )
        }
    }
}
