//! Checks the options of handlers and layers. Each type checks its own options and returns the first error.
//!
//! The check is repeated until no error is left: for the options of each source alone, so that each error has its origin
//! even if a later source overrides the value, and for the merged options.

use std::collections::BTreeSet;

use figment::value::{Dict, Tag, Value};
use switchboard::Registry;

use super::coerce::placeholder;
use super::constraints::mismatch;
use super::diagnostic::{is_secret, unknown};
use super::entry::{Entry, KINDS};
use super::merged::Merged;
use super::report::Report;
use super::schemas::Schemas;
use super::source::Source;
use super::tree::{self, under};

/// Reports every error of the options: of each source, then of the merged options.
pub(crate) fn validate(
    sources: &[Source],
    merged: &Merged,
    schemas: &Schemas<'_>,
    registry: &Registry,
    report: &mut Report,
) {
    for section in KINDS {
        for name in tree::names(&merged.tree, &tree::path(section)) {
            let at = [section.to_owned(), name.clone()];
            if report.is_invalid(&under(&at, "type")) {
                continue;
            }
            let kind = schemas.type_of(section, &name).to_owned();
            let Some(entry) = Entry::of(registry, section, &kind) else { continue };
            let of = Options { at: &at, kind: &kind, entry, schemas };
            let all = of.options(&merged.tree);
            for source in sources {
                let own = of.options(&source.tree);
                if own.is_empty() {
                    continue;
                }
                // A source may omit an option that another source sets: its values are checked together with the others.
                let mut together = all.clone();
                for (path, value) in tree::leaves(&own) {
                    tree::insert(&mut together, &path, value.clone());
                }
                of.diagnostics(together, |path, what| {
                    if tree::get(&own, path).is_some() {
                        let key = [&at[..], path].concat();
                        report.add(&key, what, source.origin(&key));
                    }
                });
            }
            of.diagnostics(all, |path, what| {
                let key = [&at[..], path].concat();
                // Errors of a single source are already reported.
                if !report.is_invalid(&key) {
                    let origin = merged.origin(&key);
                    report.add(&key, what, origin);
                }
            });
        }
    }
}

struct Options<'a> {
    at: &'a [String; 2],
    kind: &'a str,
    entry: Entry<'a>,
    schemas: &'a Schemas<'a>,
}

impl Options<'_> {
    /// The options of the section in a tree.
    fn options(&self, dict: &Dict) -> Dict {
        let mut options = tree::get_table(dict, self.at).cloned().unwrap_or_default();
        options.remove("type");
        options
    }

    /// Finds every error. A missing or invalid value is replaced, so that one mistake is one error and hides no other.
    fn diagnostics(&self, mut options: Dict, mut tell: impl FnMut(&[String], String)) {
        let (mut told, mut made_good) = (BTreeSet::new(), BTreeSet::new());
        while let Err(error) = self.entry.check(&tree::to_json(&Value::Dict(Tag::Default, options.clone()))) {
            let missing = missing(&error.message).map(|key| under(&error.path, key));
            let is_missing = missing.is_some();
            let path = missing.unwrap_or(error.path);
            let placeholder = || placeholder(&self.schemas.expected(&[&self.at[..], &path].concat()));
            let again = !told.insert(path.clone());
            if !again {
                tell(&path, self.sentence(&options, &path, &error.message));
            }
            let goes_on = match (is_missing, again) {
                (true, _) => {
                    tree::insert(&mut options, &path, placeholder());
                    made_good.insert(path)
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

    fn sentence(&self, dict: &Dict, path: &[String], message: &str) -> String {
        let value = tree::get(dict, path).map(tree::to_json);
        let key = [&self.at[..], path].concat();
        if let (true, Some((last, table))) = (message.starts_with("unknown field"), key.split_last()) {
            let known = self.schemas.expected(table).keys();
            return unknown(&format!("is not an option of {}", self.kind), last, known.iter().map(String::as_str));
        }
        if missing(message).is_some() {
            return format!("is required by {}", self.kind);
        }
        let parts = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
        match (parts.and_then(|parts| parts.rsplit_once(", expected ")), &value) {
            (Some((_, expected)), Some(value)) => mismatch(&key, value, expected, &self.schemas.expected(&key)),
            (None, Some(value)) if message.starts_with("unknown variant") => {
                mismatch(&key, value, "", &self.schemas.expected(&key))
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
