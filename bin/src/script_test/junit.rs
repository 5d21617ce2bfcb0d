//! The report as JUnit XML, as CI systems read it.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use super::load::Loaded;
use super::outcome::Played;
use super::text;

/// The numbers of the document.
pub(super) struct Suite<'a> {
    pub(super) server: &'a str,
    pub(super) tests: usize,
    pub(super) failures: usize,
    pub(super) errors: usize,
    pub(super) began: SystemTime,
    pub(super) time: Duration,
}

impl Suite<'_> {
    /// The document with these test cases.
    pub(super) fn document(&self, cases: &str) -> String {
        let Self { tests, failures, errors, .. } = self;
        let time = self.time.as_secs_f64();
        let timestamp = humantime::format_rfc3339_seconds(self.began).to_string();
        let counts = format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\"");
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
             <testsuites {counts} time=\"{time:.3}\">\n  \
             <testsuite name=\"{name}\" {counts} skipped=\"0\" time=\"{time:.3}\" timestamp=\"{timestamp}\">\n\
             {cases}  </testsuite>\n</testsuites>\n",
            name = escape(self.server),
            timestamp = timestamp.trim_end_matches('Z'),
        )
    }
}

/// The test case of a script.
pub(super) fn case(script: &Loaded, played: &Played, server: &str) -> String {
    let mut content = String::new();
    let info = &script.file.script().info;
    if !info.is_empty() {
        content += "      <properties>\n";
        for (name, value) in info {
            let (name, value) = (escape(name), escape(value));
            let _ = writeln!(content, "        <property name=\"{name}\" value=\"{value}\"/>"); // never fails
        }
        content += "      </properties>\n";
    }
    if let Err(mismatch) = &played.result {
        let element = if mismatch.is_error { "error" } else { "failure" };
        let (message, details) = (escape(&mismatch.what), escape(&text::failure(script, played)));
        let details = details.replace("&#10;", "\n"); // only an attribute loses line breaks
        let _ = writeln!(content, "      <{element} message=\"{message}\">{details}</{element}>");
    }
    let (name, server, time) = (escape(&script.name), escape(server), played.time.as_secs_f64());
    let attributes = format!("name=\"{name}\" classname=\"{server}\" time=\"{time:.3}\"");
    if content.is_empty() {
        return format!("    <testcase {attributes}/>\n");
    }
    format!("    <testcase {attributes}>\n{content}    </testcase>\n")
}

/// Text for an attribute or element. Characters that XML 1.0 does not allow are replaced.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' => escaped.push_str("&#9;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c if c.is_control() => escaped.extend(c.escape_default()),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_for_xml() {
        assert_eq!(
            escape("a<b> & \"c\"\n\u{1b}\0\u{ffff}é"),
            "a&lt;b&gt; &amp; &quot;c&quot;&#10;\\u{1b}\\u{0}\u{fffd}é"
        );
    }
}
