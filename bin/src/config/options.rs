//! Looks at the options of handlers and layers, which only their own types understand.
//!
//! The type tells its first fault; here it is asked until there is none left, for the options of each source by itself (so
//! that each fault has its place, and none is hidden by a higher layer) and for all of them together.

use std::collections::BTreeSet;

use figment::value::{Dict, Tag, Value};
use switchboard::Registry;

use super::diagnostic::{is_secret, unknown};
use super::entry::{Entry, KINDS};
use super::report::Report;
use super::source::{Merged, Source};
use super::tree::{self, under};
use super::typing::Schemas;
use super::validate::mismatch;

/// Tells every fault of the options of handlers and layers: those of each source by itself, then those of all together.
pub(crate) fn validate(
    sources: &[Source],
    merged: &Merged,
    schemas: &Schemas<'_>,
    registry: &Registry,
    report: &mut Report,
) {
    for section in KINDS {
        let names = tree::get_table(&merged.tree, &tree::path(section)).into_iter().flat_map(Dict::keys);
        for name in names {
            let at = [section.to_owned(), name.clone()];
            if report.is_invalid(&under(&at, "type")) {
                continue;
            }
            let kind = schemas.type_of(section, name).to_owned();
            let Some(entry) = Entry::of(registry, section, &kind) else { continue };
            let of = Options { at: &at, kind: &kind, entry, schemas };
            let all = of.written(&merged.tree);
            for source in sources {
                let own = of.written(&source.tree);
                if own.is_empty() {
                    continue;
                }
                // Alone, a source may lack what another gives; so its own values are judged among all of them.
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
                // What a source said has been told.
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
    /// The options of the section that a tree says.
    fn written(&self, dict: &Dict) -> Dict {
        let mut options = tree::get_table(dict, self.at).cloned().unwrap_or_default();
        options.remove("type");
        options
    }

    /// Every fault of some options. What is missing or faulty is made good by something of the right type, so that one
    /// mistake is one sentence and does not hide the next.
    fn diagnostics(&self, mut options: Dict, mut tell: impl FnMut(&[String], String)) {
        let (mut told, mut made_good) = (BTreeSet::new(), BTreeSet::new());
        while let Err(error) = self.entry.check(&tree::to_json(&Value::Dict(Tag::Default, options.clone()))) {
            let missing = missing(&error.message).map(|key| under(&error.path, key));
            let is_missing = missing.is_some();
            let path = missing.unwrap_or(error.path);
            let placeholder = || self.schemas.placeholder(&[&self.at[..], &path].concat());
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
                // What was put there is no better; then the list around it goes.
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
            let known = self.schemas.expected_type(table).keys();
            return unknown(&format!("is not an option of {}", self.kind), last, known.iter().map(String::as_str));
        }
        if missing(message).is_some() {
            return format!("is missing, and {} needs it", self.kind);
        }
        let parts = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
        match (parts.and_then(|parts| parts.rsplit_once(", expected ")), &value) {
            (Some((_, expected)), Some(value)) => mismatch(&key, value, expected),
            // Whatever else it says may quote the value.
            _ if is_secret(&key) => "the value (not shown) is not what this option takes".into(),
            _ => message.to_owned(),
        }
    }
}

fn missing(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.split('`').next()
}
