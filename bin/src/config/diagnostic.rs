//! Errors of a configuration. An error is one line: the key, the invalid value, what is accepted, and the origin.

use std::fmt::{self, Write as _};

use serde_json::Value as Json;

use switchboard::settings::text::is_unsafe;
pub(crate) use switchboard::settings::text::{quoted, suggestion};

use super::tree::{self, MAX_ERRORS, Path};

/// Where a value is set: `switchboard.toml, line 3`, `environment variable X`, `flag --listen`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    text: String,
    /// The position in a list of errors: the layer, and the line in the file.
    order: (u8, usize),
}

impl Origin {
    pub(crate) const DEFAULT: &str = "default";

    /// A variable or a flag.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let layer = if text.starts_with("flag ") { 2 } else { 1 };
        Self { text, order: (layer, 0) }
    }

    /// A file, with the line where it is known.
    pub(crate) fn file(name: &str, line: Option<usize>) -> Self {
        match line {
            Some(line) => Self { text: format!("{name}, line {line}"), order: (0, line) },
            None => Self { text: name.to_owned(), order: (0, 0) },
        }
    }

    pub(crate) fn is_file(&self) -> bool {
        self.order.0 == 0
    }

    pub(crate) fn is_flag(&self) -> bool {
        self.order.0 == 2
    }

    pub(crate) fn is_default(&self) -> bool {
        self.text == Self::DEFAULT
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Diagnostic {
    key: Path,
    what: String,
    origin: Option<Origin>,
    order: (u8, usize),
}

impl Diagnostic {
    /// An error without a key, such as an unreadable file.
    pub(crate) fn general(what: impl Into<String>) -> Self {
        Self::new(&[], what)
    }

    pub(crate) fn new(key: &[String], what: impl Into<String>) -> Self {
        Self { key: key.to_vec(), what: what.into(), origin: None, order: (0, 0) }
    }

    /// The same error with the origin of the value.
    pub(crate) fn from(mut self, origin: Option<Origin>) -> Self {
        self.origin = origin.filter(|origin| !origin.is_default());
        self.order = self.origin.as_ref().map_or((u8::MAX, 0), |origin| origin.order);
        self
    }

    /// The same error, listed at this origin, which the message already names.
    pub(crate) fn listed_at(mut self, origin: &Origin) -> Self {
        self.order = origin.order;
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", tree::dotted(&self.key))?;
        }
        // The message of a library, the name of a file or of a variable can contain a line break.
        escaped(&self.what, f)?;
        if let Some(origin) = &self.origin {
            f.write_str(" (")?;
            escaped(&origin.text, f)?;
            f.write_str(")")?;
        }
        Ok(())
    }
}

fn escaped(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    text.chars().try_for_each(|c| if is_unsafe(c) { write!(f, "{}", c.escape_default()) } else { f.write_char(c) })
}

/// All errors of a configuration. Displayed: one per line, and a last line with their number.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        if !self.0.contains(&diagnostic) {
            self.0.push(diagnostic);
        }
    }

    pub(crate) fn append(&mut self, others: Self) {
        others.0.into_iter().for_each(|diagnostic| self.push(diagnostic));
    }

    /// The errors in the order of layers and lines.
    pub(crate) fn sentences(&self) -> Vec<String> {
        let mut diagnostics: Vec<&Diagnostic> = self.0.iter().collect();
        diagnostics.sort_by_key(|diagnostic| diagnostic.order);
        diagnostics.into_iter().map(ToString::to_string).collect()
    }

    /// Whether no more errors are collected.
    pub(crate) fn is_full(&self) -> bool {
        self.0.len() >= MAX_ERRORS
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for sentence in self.sentences() {
            writeln!(f, "error: {sentence}")?;
        }
        match self.0.len() {
            MAX_ERRORS.. => {
                writeln!(f, "error: invalid configuration (at least {MAX_ERRORS} errors; no more are shown)")
            }
            1 => writeln!(f, "error: invalid configuration (1 error)"),
            count => writeln!(f, "error: invalid configuration ({count} errors)"),
        }
    }
}

/// Collects errors and stores the invalid keys: nothing that depends on an invalid key is checked.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) diagnostics: Diagnostics,
    invalid: Vec<Path>,
}

impl Report {
    pub(crate) fn add(&mut self, key: &[String], what: impl Into<String>, origin: impl Into<Option<Origin>>) {
        self.diagnostic(key, Diagnostic::new(key, what).from(origin.into()));
    }

    /// Adds an error and marks its key as invalid.
    pub(crate) fn diagnostic(&mut self, key: &[String], diagnostic: Diagnostic) {
        if !self.diagnostics.is_full() {
            self.diagnostics.push(diagnostic);
            self.invalid.push(key.to_vec());
        }
    }

    /// Whether a key of this table was invalid; it may be missing now.
    pub(crate) fn is_invalid_in(&self, table: &[String]) -> bool {
        self.invalid.iter().any(|invalid| invalid.split_last().is_some_and(|(_, parent)| parent == table))
            || self.invalid.iter().any(|invalid| table.starts_with(invalid))
    }

    /// Whether the key, a key in it or an enclosing table is invalid.
    pub(crate) fn is_invalid(&self, key: &[String]) -> bool {
        self.invalid.iter().any(|invalid| key.starts_with(invalid) || invalid.starts_with(key))
    }
}

/// A value at the start of an error message: `"lots"`, `5`, `a list`. The value of a secret key is not shown.
pub(crate) fn found(value: &Json, is_secret: bool) -> String {
    match value {
        _ if is_secret => "the value (not shown)".into(),
        Json::Null => "nothing".into(),
        Json::Bool(_) | Json::Number(_) => value.to_string(),
        Json::String(text) => quoted(text),
        Json::Array(_) => "a list".into(),
        Json::Object(_) => "a table".into(),
    }
}

/// `Available: connections, frame, outbox`; a long list is cut.
pub(crate) fn known<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    /// Known names that an error message lists.
    const SHOWN: usize = 16;
    let names: Vec<&str> = names.into_iter().collect();
    match names.len() {
        0 => "No names are available".into(),
        count if count > SHOWN => format!("Available: {} and {} more", names[..SHOWN].join(", "), count - SHOWN),
        _ => format!("Available: {}", names.join(", ")),
    }
}

/// The error of an unknown name: `is not WHAT; did you mean "x"? Available: …`.
pub(crate) fn unknown<'a>(what: &str, found: &str, names: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let suggestion = suggestion(found, names.clone());
    let stop = if suggestion.is_empty() { "." } else { "" };
    format!("{what}{suggestion}{stop} {}", known(names))
}

#[cfg(test)]
mod tests;
