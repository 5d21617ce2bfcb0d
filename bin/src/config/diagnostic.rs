//! Errors of a configuration. An error is one sentence: the key, the invalid value, what is accepted, and the origin.
//! [`render`](super::render) adds the line of the source.

use std::fmt::{self, Write as _};

use serde_json::Value as Json;

use switchboard::settings::text::is_unsafe;
pub(crate) use switchboard::settings::text::{quoted, suggestion};

use super::origin::Origin;
use super::tree::{self, MAX_ERRORS, Path};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Diagnostic {
    key: Path,
    what: String,
    origin: Option<Origin>,
    /// The message names the origin.
    names_origin: bool,
    order: (u8, usize),
}

impl Diagnostic {
    /// An error without a key, such as an unreadable file.
    pub(crate) fn general(what: impl Into<String>) -> Self {
        Self::new(&[], what)
    }

    pub(crate) fn new(key: &[String], what: impl Into<String>) -> Self {
        Self { key: key.to_vec(), what: what.into(), origin: None, names_origin: false, order: (0, 0) }
    }

    /// The same error with the origin of the value.
    pub(crate) fn from(mut self, origin: Option<Origin>) -> Self {
        self.origin = origin.filter(|origin| !origin.is_default());
        self.order = self.origin.as_ref().map_or((u8::MAX, 0), Origin::order);
        self
    }

    /// The same error, listed at this origin, which the message already names.
    pub(crate) fn listed_at(mut self, origin: &Origin) -> Self {
        self.order = origin.order();
        self.origin = Some(origin.clone());
        self.names_origin = true;
        self
    }

    pub(crate) fn key(&self) -> &[String] {
        &self.key
    }

    pub(crate) fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// The message without the key and the origin, escaped.
    pub(crate) fn message(&self) -> String {
        Escaped(&self.what).to_string()
    }

    /// The message with the key, escaped.
    pub(crate) fn subject(&self) -> String {
        match self.key.is_empty() {
            true => self.message(),
            false => format!("{}: {}", tree::dotted(&self.key), self.message()),
        }
    }

    /// The origin, if the message does not name it.
    pub(crate) fn unnamed_origin(&self) -> Option<&Origin> {
        self.origin.as_ref().filter(|_| !self.names_origin)
    }

    /// Whether the error is that of the key, and not of its value. The message then begins with a verb.
    pub(crate) fn is_about_key(&self) -> bool {
        ["is ", "has ", "requires "].iter().any(|verb| self.what.starts_with(verb))
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.subject())?;
        match self.unnamed_origin() {
            Some(origin) => write!(f, " ({})", Escaped(&origin.to_string())),
            None => Ok(()),
        }
    }
}

/// A text without line breaks: the message of a library, the name of a file or of a variable can contain one.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        chars.try_for_each(|c| if is_unsafe(c) { write!(f, "{}", c.escape_default()) } else { f.write_char(c) })
    }
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
    pub(crate) fn sorted(&self) -> Vec<&Diagnostic> {
        let mut diagnostics: Vec<&Diagnostic> = self.0.iter().collect();
        diagnostics.sort_by_key(|diagnostic| diagnostic.order);
        diagnostics
    }

    pub(crate) fn sentences(&self) -> Vec<String> {
        self.sorted().into_iter().map(ToString::to_string).collect()
    }

    /// The last line of a list of errors: their number.
    pub(crate) fn summary(&self) -> String {
        let count = match self.0.len() {
            MAX_ERRORS.. => format!("at least {MAX_ERRORS} errors; no more are shown"),
            1 => "1 error".to_owned(),
            count => format!("{count} errors"),
        };
        format!("error: invalid configuration ({count})")
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
        writeln!(f, "{}", self.summary())
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
