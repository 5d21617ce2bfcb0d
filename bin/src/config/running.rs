//! The configuration that runs: a reload has changed it, except for the keys that need a restart.

use serde_json::{Map, Value as Json};

use super::check::Config;
use super::differences::differences;
use super::expected::needs_restart;
use super::tree::Path;

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
