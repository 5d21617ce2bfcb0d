//! The configuration that runs: a reload has changed it, except for the keys that need a restart.

use serde_json::Value as Json;

use super::check::Config;
use super::expected::needs_restart;
use super::tree::{self, Path};

/// The values in use without secrets. A key that needs a restart has the value of the start.
pub(crate) fn running(initial: &Config, current: &Config) -> Json {
    let (started, mut json) = (initial.effective.json(), current.effective.json());
    let differences = tree::differences(&started, &json).into_iter();
    let kept = differences.filter(|(path, ..)| needs_restart(path) && !is_bound_anew(path, &started, &json));
    let kept: Vec<(Path, Json)> = kept.filter_map(|(path, before, _)| Some((path, before?.clone()))).collect();
    for (path, before) in kept {
        if let Some(value) = path.iter().try_fold(&mut json, |value, key| value.get_mut(key)) {
            *value = before;
        }
    }
    json
}

/// Whether the key is one of a listener with another address: its socket is a new one.
fn is_bound_anew(path: &[String], started: &Json, json: &Json) -> bool {
    let [listeners, name, ..] = path else { return false };
    listeners == "listeners" && started[listeners][name]["listen"] != json[listeners][name]["listen"]
}
