//! The keys in which two configurations differ.

use serde_json::Value as Json;

use super::expected::needs_restart;
use super::tree::{self, Difference, Path, under};

/// The keys that differ. A table that only one configuration has is one key, and so is each of its keys that needs a
/// restart. A listener that only one configuration has needs none.
pub(crate) fn differences<'v>(before: &'v Json, after: &'v Json) -> Vec<Difference<'v>> {
    let mut found = Vec::new();
    for (path, old, new) in tree::differences(before, after) {
        let is_listener = path.first().is_some_and(|first| first == "listeners");
        let keys = match (old, new) {
            (Some(table), None) | (None, Some(table)) if !is_listener => restarts(table, &path),
            _ => Vec::new(),
        };
        found.push((path, old, new));
        found.extend(keys.into_iter().map(|(key, value)| (key, old.and(Some(value)), new.and(Some(value)))));
    }
    found
}

/// The keys of a table that need a restart.
fn restarts<'v>(table: &'v Json, at: &[String]) -> Vec<(Path, &'v Json)> {
    let keys = table.as_object().into_iter().flatten().map(|(key, value)| (under(at, key), value));
    keys.flat_map(|(path, value)| match needs_restart(&path) {
        true => vec![(path, value)],
        false => restarts(value, &path),
    })
    .collect()
}
