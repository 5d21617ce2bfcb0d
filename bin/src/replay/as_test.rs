//! A minimised recording as a Rust test.

use std::fmt::Write as _;

use serde_json::Value as Json;
use switchboard::script::Script;

use super::in_memory::InMemory;
use crate::config::toml_value;

/// The source of a test that fails as long as the handler fails.
pub(super) fn rust(script: &Script, replay: &InMemory<'_>) -> String {
    let info = |name: &str| script.info.iter().find(|(one, _)| one == name).map_or("", |(_, value)| value.as_str());
    let (listener, connection, reason) = (info("listener"), info("connection"), info("reason"));
    let name: String = format!("recorded_{listener}_{connection}_{reason}");
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let config = literal(&config(replay));
    let text = literal(&script.to_string());
    format!(
        "/// The registry of the program that serves the handler.\n\
         fn registry() -> switchboard_server::Registry {{\n    switchboard_server::registry() // and your own handlers\n}}\n\
         \n\
         #[test]\n\
         fn {name}() {{\n    \
             let config = {config};\n    \
             let script = {text};\n    \
             switchboard_server::replay_script(&registry(), config, script).unwrap();\n}}\n"
    )
}

/// A configuration with the listener, its handler and its layers.
fn config(replay: &InMemory<'_>) -> String {
    let config = replay.config();
    let listener = &config.listeners[replay.listener];
    let framing = match listener.framing.options().as_object() {
        Some(options) if !options.is_empty() => {
            let mut table = serde_json::Map::from_iter([("type".to_owned(), listener.framing.name().into())]);
            table.extend(options.clone());
            table.into()
        }
        _ => listener.framing.name().into(),
    };
    let mut text = format!("[listeners.{}]\nlisten = \"mem:test\"\n", replay.listener);
    let _ = writeln!(text, "handler = {}", toml_value(&listener.handler.clone().into()));
    let _ = writeln!(text, "framing = {}", toml_value(&framing));
    if !listener.layers.is_empty() {
        let _ = writeln!(text, "layers = {}", toml_value(&listener.layers.clone().into()));
    }
    let values = config.effective.json();
    let mut section = |kind: &str, name: &str| section(&mut text, kind, name, &values[kind][name]);
    section("handlers", &listener.handler);
    listener.layers.iter().for_each(|layer| section("layers", layer));
    text
}

/// The options of a handler or layer. Secrets are hidden.
fn section(text: &mut String, kind: &str, name: &str, options: &Json) {
    let _ = writeln!(text, "\n[{kind}.{name}]");
    for (key, value) in options.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        let _ = writeln!(text, "{key} = {}", toml_value(value));
    }
}

/// A raw string.
fn literal(text: &str) -> String {
    let hashes = (1..).map(|count| "#".repeat(count)).find(|hashes| !text.contains(&format!("\"{hashes}")));
    let hashes = hashes.unwrap_or_default();
    format!("r{hashes}\"{text}\"{hashes}")
}
