//! `switchboard config diff`: the changes that a reload of the running server would make. Secrets are not compared.

use std::path::PathBuf;

use serde_json::Value as Json;
use switchboard::Registry;
use switchboard::settings::text::escape_unsafe;

use crate::assemble;
use crate::client::{AdminAddress, wait_for_config};
use crate::config::{self, Config, Inputs, Origin, Shape};
use crate::failure::Failure;

/// The changes, one line per key, compared with a file or with the running server. `None` if there are none.
pub(crate) fn between(
    config: &Config,
    against: Option<PathBuf>,
    inputs: &Inputs,
    registry: &Registry,
) -> Result<Option<String>, Failure> {
    let json = |config: &Config| serde_json::from_str::<Json>(&config.effective.print(Shape::Json));
    let before = match against {
        Some(file) => {
            let file_origin = Some(Origin::new("flag --against"));
            let inputs = Inputs { file: Some(file), file_origin, ..inputs.clone() };
            json(&assemble::load(&inputs, registry)?).map_err(Failure::new)?
        }
        None => {
            let server = AdminAddress::of(config).ok_or_else(|| {
                let error = "cannot ask the running server, because [admin] is not configured";
                Failure::new(format_args!("{error}; compare with a file: --against FILE"))
            })?;
            wait_for_config(&server).map_err(Failure::new)?
        }
    };
    let after = json(config).map_err(Failure::new)?;
    Ok(lines(&before, &after, |key| config.effective.origin(key).to_string()))
}

/// The differences, one line per key. `origin` is that of a key that is set. `None` if there are none.
fn lines(before: &Json, after: &Json, origin: impl Fn(&[String]) -> String) -> Option<String> {
    let changes = config::differences(before, after).into_iter().map(|(key, before, after)| {
        let origin = after.map(|_| origin(&key));
        line(&config::dotted(&key), before, after, config::needs_restart(&key), origin.as_deref())
    });
    let text: String = changes.collect();
    (!text.is_empty()).then_some(text)
}

/// The difference of one key.
pub(crate) fn line(
    key: &str,
    before: Option<&Json>,
    after: Option<&Json>,
    needs_restart: bool,
    origin: Option<&str>,
) -> String {
    let value = |value: Option<&Json>| value.map_or_else(|| "nothing".to_owned(), ToString::to_string);
    let when = if needs_restart { ", after a restart" } else { "" };
    let origin = origin.map(|origin| format!(" ({origin})")).unwrap_or_default();
    escape_unsafe(&format!("{key}: {} -> {}{when}{origin}", value(before), value(after)), |_| false) + "\n"
}
