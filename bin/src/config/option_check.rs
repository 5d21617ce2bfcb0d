//! Finds all errors of the options of one section.
//!
//! A type checks its own options and returns the first error. The check is repeated until no error is left.

use std::collections::BTreeSet;

use figment::value::{Dict, Tag, Value};
use switchboard::registry::EntryInfo;

use super::coerce::placeholder;
use super::constraints::mismatch;
use super::diagnostic::{is_secret, unknown};
use super::schemas::Expected;
use super::tree::{self, under};

/// Checks options of a registered type.
pub(crate) struct OptionCheck<'a> {
    /// The path of the section.
    pub(crate) at: &'a [String],
    pub(crate) entry: &'a EntryInfo,
}

impl OptionCheck<'_> {
    /// Finds every error. A missing or invalid value is replaced, so that one mistake is one error and hides no other.
    pub(crate) fn errors(&self, mut options: Dict, mut tell: impl FnMut(&[String], String)) {
        let (mut reported, mut replaced) = (BTreeSet::new(), BTreeSet::new());
        while let Err(error) = self.entry.check_options(&tree::to_json(&Value::Dict(Tag::Default, options.clone()))) {
            let missing = missing(&error.message).map(|key| under(&error.path, key));
            let is_missing = missing.is_some();
            let path = missing.unwrap_or(error.path);
            let placeholder = || placeholder(&self.expected(&path));
            let is_repeated = !reported.insert(path.clone());
            if !is_repeated {
                tell(&path, self.message(&options, &path, &error.message));
            }
            let goes_on = match (is_missing, is_repeated) {
                (true, _) => {
                    tree::insert(&mut options, &path, placeholder());
                    replaced.insert(path)
                }
                (false, false) => tree::remove(&mut options, &path, placeholder),
                // The placeholder is invalid too: the enclosing list is removed.
                (false, true) => tree::remove(&mut options, &path[..path.len().saturating_sub(1)], tree::table),
            };
            if !goes_on {
                return;
            }
        }
    }

    fn expected(&self, path: &[String]) -> Expected<'_> {
        Expected::at(self.entry.options(), path)
    }

    fn message(&self, dict: &Dict, path: &[String], message: &str) -> String {
        let value = tree::get(dict, path).map(tree::to_json);
        let key = [self.at, path].concat();
        if let (true, Some((last, table))) = (message.starts_with("unknown field"), path.split_last()) {
            let mut known = self.expected(table).keys();
            if table.is_empty() {
                known.insert(0, "type".to_owned());
            }
            let what = format!("is not an option of {}", self.entry.name());
            return unknown(&what, last, known.iter().map(String::as_str));
        }
        if missing(message).is_some() {
            return format!("is required by {}", self.entry.name());
        }
        let parts = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
        match (parts.and_then(|parts| parts.rsplit_once(", expected ")), &value) {
            (Some((_, name)), Some(value)) => mismatch(&key, value, name, &self.expected(path)),
            (None, Some(value)) if message.starts_with("unknown variant") => {
                mismatch(&key, value, "", &self.expected(path))
            }
            // The message can quote the value.
            _ if is_secret(&key) => "the value (not shown) is invalid".into(),
            _ => message.to_owned(),
        }
    }
}

fn missing(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.split('`').next()
}
