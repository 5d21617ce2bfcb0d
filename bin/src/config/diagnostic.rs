//! One fault of a configuration as one sentence: the key, what was found there, what would do, and where it came from.
//!
//! It knows nothing of keys and layers. Every fault is made here, so that they all read alike and none shows a secret.

use std::fmt::{self, Write as _};

use serde_json::Value as Json;

use super::tree::{self, Path};

/// Where a value came from, as an operator would say it: `switchboard.toml, line 3`, `environment variable X`, `flag --listen`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    text: String,
    /// Where it stands in a list of faults: the layer, and the line in its file.
    order: (u8, usize),
}

impl Origin {
    /// Nobody said it.
    pub(crate) const DEFAULT: &str = "default";

    /// An origin that is said so.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let layer = if text.starts_with("flag ") { 2 } else { 1 };
        Self { text, order: (layer, 0) }
    }

    /// A value that nobody gave.
    pub(crate) fn unsaid() -> Self {
        Self::new(Self::DEFAULT)
    }

    /// A file, with the line where it is known.
    pub(crate) fn file(name: &str, line: Option<usize>) -> Self {
        match line {
            Some(line) => Self { text: format!("{name}, line {line}"), order: (0, line) },
            None => Self { text: name.to_owned(), order: (0, 0) },
        }
    }

    /// Whether nobody gave the value.
    pub(crate) fn is_unsaid(&self) -> bool {
        self.text == Self::DEFAULT
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// One mistake, one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Diagnostic {
    key: Path,
    what: String,
    origin: Option<Origin>,
    order: (u8, usize),
}

impl Diagnostic {
    /// A fault of a key, whose origin is in the sentence itself or does not matter.
    pub(crate) fn new(key: &[String], what: impl Into<String>) -> Self {
        Self { key: key.to_vec(), what: what.into(), origin: None, order: (0, 0) }
    }

    /// A fault that no key has: a file that cannot be read.
    pub(crate) fn general(what: impl Into<String>) -> Self {
        Self::new(&[], what)
    }

    /// The same fault, with where the value came from.
    pub(crate) fn from(mut self, origin: Option<Origin>) -> Self {
        self.origin = origin.filter(|origin| !origin.is_unsaid());
        self.order = self.origin.as_ref().map_or((u8::MAX, 0), |origin| origin.order);
        self
    }

    /// The same fault, whose sentence names this origin already: it is listed there.
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
        // A message from elsewhere may hold a line break, and so may the name of a file or a variable; a fault is one line.
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
    text.chars().try_for_each(|c| if c.is_control() { write!(f, "{}", c.escape_default()) } else { f.write_char(c) })
}

/// Every fault of one configuration. Displayed: one a line, and a last line that counts them.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// Takes note of a fault, once.
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        if !self.0.contains(&diagnostic) {
            self.0.push(diagnostic);
        }
    }

    /// Takes note of all of them.
    pub(crate) fn append(&mut self, others: Self) {
        others.0.into_iter().for_each(|diagnostic| self.push(diagnostic));
    }

    /// Each as a sentence, in the order in which they are met when the layers are gone through from the bottom up.
    pub(crate) fn sentences(&self) -> Vec<String> {
        let mut diagnostics: Vec<&Diagnostic> = self.0.iter().collect();
        diagnostics.sort_by_key(|diagnostic| diagnostic.order);
        diagnostics.into_iter().map(ToString::to_string).collect()
    }

    /// Whether there is none.
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
            1 => writeln!(f, "the configuration cannot be used: 1 error"),
            count => writeln!(f, "the configuration cannot be used: {count} errors"),
        }
    }
}

/// What was found, as a sentence begins: `"lots"`, `5`, `a list`. The value of a secret key is not shown.
pub(crate) fn found(key: &[String], value: &Json) -> String {
    if is_secret(key) {
        return "the value (not shown)".into();
    }
    match value {
        Json::Null => "nothing".into(),
        Json::Bool(_) | Json::Number(_) => value.to_string(),
        Json::String(text) => quoted(text),
        Json::Array(_) => "a list".into(),
        Json::Object(_) => "a table".into(),
    }
}

/// A text in quotes, cut where it is long.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Whether a key holds a secret: its own name, or that of a table around it, is or ends in token, password, secret or key.
///
/// The first two segments are a section and a name that the operator chose; those say nothing.
pub(crate) fn is_secret(key: &[String]) -> bool {
    const WORDS: [&str; 4] = ["token", "password", "secret", "key"];
    let named = |segment: &String| {
        let segment = segment.to_ascii_lowercase();
        WORDS.iter().any(|word| segment.rsplit(['_', '-']).next() == Some(word))
    };
    match key {
        // Everything there is a path, which tells nobody the key.
        [listeners, _, tls, ..] if listeners == "listeners" && tls == "tls" => false,
        [section, _, rest @ ..] if matches!(section.as_str(), "listeners" | "handlers" | "layers") => {
            rest.iter().any(named)
        }
        _ => key.iter().any(named),
    }
}

/// `; did you mean "limits"?` where a known name is near, else nothing.
pub(crate) fn suggestion<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(found, known) {
        Some(name) => format!("; did you mean {name:?}?"),
        None => String::new(),
    }
}

/// `Known here: connections, frame, outbox`, cut where there are many.
pub(crate) fn known<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const SHOWN: usize = 16;
    let names: Vec<&str> = names.into_iter().collect();
    match names.len() {
        0 => "Nothing is known here".into(),
        count if count > SHOWN => format!("Known here: {} and {} more", names[..SHOWN].join(", "), count - SHOWN),
        _ => format!("Known here: {}", names.join(", ")),
    }
}

/// The sentence of a name that is none of the known ones: `is not WHAT; did you mean "x"? Known here: …`.
pub(crate) fn unknown<'a>(what: &str, found: &str, names: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let suggestion = suggestion(found, names.clone());
    let stop = if suggestion.is_empty() { "." } else { "" };
    format!("{what}{suggestion}{stop} {}", known(names))
}

fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Below this two short names only happen to share a letter or two.
    const NEAR: f64 = 0.6;
    let found = found.to_ascii_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(&found, name), name))
        .filter(|(near, _)| *near >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tree::path;

    #[test]
    fn a_fault_is_one_sentence_with_its_origin() {
        let diagnostic = Diagnostic::new(&path("listeners.main.listen"), "\"x\" is no\nthing")
            .from(Some(Origin::file("a.toml", Some(7))));
        assert_eq!(diagnostic.to_string(), "listeners.main.listen: \"x\" is no\\nthing (a.toml, line 7)");
        assert_eq!(Diagnostic::general("a.toml is gone").to_string(), "a.toml is gone");
    }

    #[test]
    fn a_fault_is_one_line_whatever_its_origin_is_called() {
        let diagnostic = Diagnostic::new(&path("log.level"), "\"x\" is none")
            .from(Some(Origin::new("environment variable A\x7f\nB")));
        assert_eq!(diagnostic.to_string(), r#"log.level: "x" is none (environment variable A\u{7f}\nB)"#);
    }

    #[test]
    fn faults_are_listed_by_layer_and_line() {
        let origins = [
            Origin::new("flag --listen"),
            Origin::file("a", Some(9)),
            Origin::new("environment variable X"),
            Origin::file("a", Some(2)),
        ];
        let mut diagnostics = Diagnostics::default();
        for origin in origins {
            diagnostics.push(Diagnostic::new(&path("a"), "is wrong").from(Some(origin)));
        }
        let text = diagnostics.to_string();
        let order: Vec<&str> = text.lines().filter_map(|line| line.split('(').nth(1)).collect();
        assert_eq!(order, ["a, line 2)", "a, line 9)", "environment variable X)", "flag --listen)"]);
    }

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let known = ["connections", "frame", "outbox"];
        assert_eq!(nearest("conections", known), Some("connections"));
        assert_eq!(nearest("FRAME", known), Some("frame"));
        assert_eq!(nearest("tls", known), None);
        let sentence = unknown("is not a known key", "farme", known);
        assert_eq!(sentence, "is not a known key; did you mean \"frame\"? Known here: connections, frame, outbox");
    }

    #[test]
    fn a_secret_is_never_shown() {
        let value = Json::String("hunter2".into());
        for key in ["admin.token", "handlers.a.password", "handlers.a.api_key", "handlers.a.secret.inner"] {
            assert!(!found(&path(key), &value).contains("hunter2"), "{key}");
        }
        for key in ["listeners.main.tls.key", "handlers.key.welcome", "handlers.a.monkey", "log.level"] {
            assert_eq!(found(&path(key), &value), "\"hunter2\"", "{key}");
        }
    }
}
