//! `switchboard config diff`: the changes that a reload of the running server would make. Secrets are not compared.

use std::path::PathBuf;

use serde_json::{Value as Json, json};
use switchboard::Registry;
use switchboard::settings::text::escape_unsafe;

use crate::admin::Difference;
use crate::assemble;
use crate::client::{AdminAddress, EndpointOptions, RunningConfig, wait_for_config};
use crate::config::{self, Config, Inputs, Origin};
use crate::exit::{self, print_error};
use crate::failure::{Failure, print_stdout};

/// Compares with this file, or else with the running server. Returns the exit status.
pub(crate) fn diff(
    inputs: &Inputs,
    against: Option<PathBuf>,
    endpoint: &EndpointOptions,
    json: bool,
    registry: &Registry,
) -> Result<u8, Failure> {
    let config = assemble::load(inputs, registry)?;
    let before = match against {
        Some(file) => {
            let file_origin = Some(Origin::new("flag --against"));
            let inputs = Inputs { file: Some(file), file_origin, ..inputs.clone() };
            let values = assemble::load(&inputs, registry)?.effective.json();
            RunningConfig { values, file_contents: Vec::new(), errors: Vec::new() }
        }
        None => wait_for_config(&AdminAddress::for_config(&config, endpoint)?).map_err(Failure::new)?,
    };
    let RunningConfig { values, file_contents, errors } = before;
    let mut found = differences(&values, &config);
    found.extend(file_contents);
    print_stdout(match (json, found.is_empty()) {
        (true, _) => format!("{}\n", json!({ "keys": found, "errors": errors })),
        (false, true) if errors.is_empty() => "no changes\n".to_owned(),
        (false, _) => found.iter().map(line).collect(),
    })?;
    if !errors.is_empty() && !json {
        let errors: String =
            errors.iter().map(|error| format!("error: {}\n", escape_unsafe(error, |_| false))).collect();
        print_error(&format!("{errors}the running server would reject a reload\n"));
    }
    Ok(if found.is_empty() && errors.is_empty() { 0 } else { exit::DIFFERENT })
}

/// The keys whose values in a configuration differ from other values.
pub(crate) fn differences(before: &Json, after: &Config) -> Vec<Difference> {
    let values = after.effective.json();
    let difference = |(key, before, value): (config::Path, Option<&Json>, Option<&Json>)| Difference {
        key: config::dotted(&key),
        before: before.cloned(),
        after: value.cloned(),
        origin: value.map(|_| after.effective.origin(&key).to_string()),
        needs_restart: config::needs_restart(&key),
        is_file_content: false,
    };
    config::differences(before, &values).into_iter().map(difference).collect()
}

/// The difference of one key.
pub(crate) fn line(difference: &Difference) -> String {
    let Difference { key, before, after, origin, needs_restart, .. } = difference;
    let value = |value: &Option<Json>| value.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
    let when = if *needs_restart { ", after a restart" } else { "" };
    let origin = origin.as_ref().map(|origin| format!(" ({origin})")).unwrap_or_default();
    escape_unsafe(&format!("{key}: {} -> {}{when}{origin}", value(before), value(after)), |_| false) + "\n"
}
