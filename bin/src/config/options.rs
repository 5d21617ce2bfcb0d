//! Checks the options of handlers and layers. Each type checks its own options and returns the first error.
//!
//! The check is repeated until no error is left: for the options of each source alone, so that each error has its origin
//! even if a later source overrides the value, and for the merged options.

use std::collections::BTreeSet;

use figment::value::{Dict, Tag, Value};
use switchboard::Registry;
use switchboard::registry::EntryInfo;

use super::coerce::placeholder;
use super::constraints::mismatch;
use super::diagnostic::{is_secret, unknown};
use super::merged::Merged;
use super::report::Report;
use super::schemas::{Expected, Schemas};
use super::section_kind::{KINDS, SectionKind};
use super::source::Source;
use super::tree::{self, Path, under};

/// Reports every error of the options: of each source, then of the merged options.
pub(crate) fn validate(
    sources: &[Source],
    merged: &Merged,
    schemas: &Schemas<'_>,
    registry: &Registry,
    report: &mut Report,
) {
    for at in sections(merged) {
        let name = tree::get_text(&merged.tree, &at);
        let kind = SectionKind::of(&at).zip(name.or_else(|| schemas.type_of(&at)));
        let Some(entry) = kind.and_then(|((kind, _), name)| kind.entry(registry, name)) else { continue };
        if report.is_invalid(&under(&at, "type")) {
            continue;
        }
        let check = OptionCheck { at: &at, entry };
        let all = options(&merged.tree, &at);
        // A framing that is only a name overrides the table of an earlier source.
        for source in sources.iter().filter(|_| name.is_none()) {
            let own = options(&source.tree, &at);
            if own.is_empty() {
                continue;
            }
            // A source may omit an option that another source sets: its values are checked together with the others.
            let mut together = all.clone();
            for (path, value) in tree::leaves(&own) {
                tree::insert(&mut together, &path, value.clone());
            }
            check.errors(together, |path, what| {
                if tree::get(&own, path).is_some() {
                    let key = [&at[..], path].concat();
                    report.add(&key, what, source.origin(&key));
                }
            });
        }
        check.errors(all, |path, what| {
            let key = [&at[..], path].concat();
            // Errors of a single source are already reported.
            if !report.is_invalid(&key) {
                let origin = merged.origin(&key);
                report.add(&key, what, origin);
            }
        });
    }
}

/// The path of every handler, layer and framing.
fn sections(merged: &Merged) -> Vec<Path> {
    let names = |table: &str| {
        let table = tree::path(table);
        tree::names(&merged.tree, &table).into_iter().map(move |name| under(&table, &name))
    };
    let framings = names("listeners").map(|listener| under(&listener, "framing"));
    KINDS.into_iter().flat_map(names).chain(framings).collect()
}

/// The options of a section in a tree.
fn options(dict: &Dict, at: &[String]) -> Dict {
    let mut options = tree::get_table(dict, at).cloned().unwrap_or_default();
    options.remove("type");
    options
}

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
