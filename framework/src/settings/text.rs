//! Deserializes options that are written as text.

use std::fmt::{self, Write as _};
use std::path::PathBuf;

use serde::Deserializer;
use serde::de::{Error, Visitor};

/// A text that is not a valid value of an option.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(String);

impl InvalidValue {
    pub(super) fn new(text: &str, problem: &str) -> Self {
        Self(format!("{} {problem}", quoted(text)))
    }
}

/// A text in quotes for an error message; a long text is cut.
pub fn quoted(text: &str) -> String {
    /// Characters of an invalid value that an error message shows.
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Whether a character can change how a terminal or an editor shows the text around it: a control character (C0, DEL,
/// C1), a line or paragraph separator, or a control of the direction of text (UAX #9).
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
}

/// A text in which each [unsafe](is_unsafe) character that `keep` does not keep is written as `\u202E`: an escape of
/// JSON, and of TOML in a basic string.
pub fn escape_unsafe(text: &str, keep: impl Fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if !is_unsafe(c) || keep(c) => escaped.push(c),
            c => {
                let _ = write!(escaped, "\\u{:04X}", u32::from(c)); // never fails
            }
        }
    }
    escaped
}

/// `; did you mean "limits"?` if a known name is similar, otherwise nothing.
#[cfg(any(feature = "log", feature = "script"))]
pub fn suggestion<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    // Below this similarity, two short names share a letter or two by accident.
    const NEAR: f64 = 0.6;
    let found = found.to_ascii_lowercase();
    let nearest = known
        .into_iter()
        .map(|name| (strsim::normalized_damerau_levenshtein(&found, name), name))
        .filter(|(near, _)| *near >= NEAR)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    nearest.map(|(_, name)| format!("; did you mean {name:?}?")).unwrap_or_default()
}

/// Deserializes an option that is written as text. `what` completes the sentence "5 is not …".
pub fn deserialize_text<'de, D, T, E>(
    deserializer: D,
    what: &'static str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    E: fmt::Display,
{
    struct Text<P>(&'static str, P);

    impl<T, E: fmt::Display, P: FnOnce(&str) -> Result<T, E>> Visitor<'_> for Text<P> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<F: Error>(self, text: &str) -> Result<T, F> {
            (self.1)(text).map_err(F::custom)
        }
    }

    deserializer.deserialize_str(Text(what, parse))
}

/// Deserializes the path of a file. A text that contains a key or certificate is rejected and not shown.
pub fn deserialize_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    /// Bytes of the name of a file (NAME_MAX of limits.h). A longer text is the content of a file.
    const LONGEST_NAME: usize = 255;
    deserialize_text(deserializer, "a path; write it in quotes, like \"cert.pem\"", |text| {
        if text.is_empty() {
            Err("a path cannot be empty; write it like \"cert.pem\"")
        } else if text.contains("-----BEGIN")
            || text.contains('\n')
            || text.split('/').any(|name| name.len() > LONGEST_NAME)
        {
            Err("the value (not shown) is not a path; write the path of the file, not its content")
        } else {
            Ok(PathBuf::from(text))
        }
    })
}

/// Deserializes the path of a file for a field that may be absent.
pub fn deserialize_optional_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    deserialize_path(deserializer).map(Some)
}

/// Implements the traits of an option for a type that has `FromStr` and `Display`, or a function for each: `$parse`
/// returns the type, or an error that completes the sentence "TEXT …".
macro_rules! text_option {
    ($type:ident, $what:expr, $example:literal, $parse:expr, $print:expr) => {
        impl std::str::FromStr for $type {
            type Err = $crate::settings::InvalidValue;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $parse(text).map_err(|problem: String| $crate::settings::text::InvalidValue::new(text, &problem))
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&$print(*self))
            }
        }

        text_option!($type, $what, $example);
    };
    ($type:ident, $what:expr, $example:literal) => {
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::settings::text::deserialize_text(deserializer, $what, str::parse)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "examples": [$example] })
            }
        }
    };
}

pub(super) use text_option;

#[cfg(test)]
mod tests;
