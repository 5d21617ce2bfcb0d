//! The configuration that runs: a reload has changed it, except for the keys that need a restart. And how it differs
//! from another one.

use serde_json::{Map, Value as Json};

use super::check::Config;
use super::expected::needs_restart;
use super::tree::{self, Difference, Path, under};

/// The values in use without secrets. A key that needs a restart has the value of the start.
pub(crate) fn running(initial: &Config, current: &Config) -> Json {
    let (started, mut json) = (initial.effective.json(), current.effective.json());
    let differences = differences(&started, &json).into_iter();
    let kept = differences.filter(|(path, ..)| needs_restart(path) && !is_bound_anew(path, &started, &json));
    let kept: Vec<(Path, Option<Json>)> = kept.map(|(path, before, _)| (path, before.cloned())).collect();
    for (path, before) in kept {
        set(&mut json, &path, before);
    }
    json
}

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

/// Sets or removes a value.
fn set(json: &mut Json, path: &[String], value: Option<Json>) {
    let Some((key, tables)) = path.split_last() else { return };
    let mut table = json;
    for name in tables {
        let Some(object) = table.as_object_mut() else { return };
        table = object.entry(name).or_insert_with(|| Json::Object(Map::new()));
    }
    match (table.as_object_mut(), value) {
        (Some(object), Some(value)) => drop(object.insert(key.clone(), value)),
        (Some(object), None) => drop(object.shift_remove(key)),
        (None, _) => {}
    }
}

/// Whether the key is one of a listener with another address: its socket is a new one.
fn is_bound_anew(path: &[String], started: &Json, json: &Json) -> bool {
    let [listeners, name, ..] = path else { return false };
    listeners == "listeners" && started[listeners][name]["listen"] != json[listeners][name]["listen"]
}
