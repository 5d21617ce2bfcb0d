//! A minimised recording as a Rust test.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value as Json;
use switchboard::Endpoint;
use switchboard::script::Script;
use switchboard::settings::{Limits, Timeouts};

use super::in_memory::InMemory;
use crate::config::{Traits, toml_value};

/// The address of the listener in a test.
const ADDRESS: &str = "mem:test";

/// The tests of one source file.
#[derive(Default)]
pub(super) struct Tests {
    /// How often each name is used.
    names: HashMap<String, usize>,
}

impl Tests {
    /// The source of a test that fails as long as the handler fails. The first one has the function that all use.
    pub(super) fn add(&mut self, script: &Script, replay: &InMemory<'_>) -> String {
        let mut text = String::new();
        if self.names.is_empty() {
            text += "/// The registry of the program that serves the handler.\n\
                     fn registry() -> switchboard_server::Registry {\n    \
                         switchboard_server::registry() // and your own handlers\n}\n";
        }
        let name = self.name(script);
        let config = literal(&config(replay));
        let script = literal(&script.to_string());
        let _ = write!(
            text,
            "\n#[test]\n\
             fn {name}() {{\n    \
                 let config = {config};\n    \
                 let script = {script};\n    \
                 switchboard_server::replay_script(&registry(), config, script).unwrap();\n}}\n"
        );
        text
    }

    /// A name that no other test has.
    fn name(&mut self, script: &Script) -> String {
        let mut name = "recorded".to_owned();
        for key in ["listener", "connection", "reason"] {
            if let Some((_, value)) = script.info.iter().find(|(one, _)| one == key) {
                name.push('_');
                name.extend(value.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }));
            }
        }
        let count = self.names.entry(name.clone()).or_default();
        *count += 1;
        if *count > 1 {
            let _ = write!(name, "_{count}");
        }
        name
    }
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
    let mut text = format!("[listeners.{}]\nlisten = \"{ADDRESS}\"\n", replay.listener);
    let _ = writeln!(text, "handler = {}", toml_value(&listener.handler.clone().into()));
    let _ = writeln!(text, "framing = {}", toml_value(&framing));
    if !listener.layers.is_empty() {
        let _ = writeln!(text, "layers = {}", toml_value(&listener.layers.clone().into()));
    }
    changed(&mut text, replay, "limits", &listener.spec.limits, &Limits::default());
    changed(&mut text, replay, "timeouts", &listener.spec.timeouts, &Timeouts::default());
    let values = config.effective.json();
    let mut section = |kind: &str, name: &str| section(&mut text, kind, name, &values[kind][name]);
    section("handlers", &listener.handler);
    listener.layers.iter().for_each(|layer| section("layers", layer));
    text
}

/// The settings of the listener that differ from the defaults and have an effect on the listener of a test.
fn changed<T: Serialize>(text: &mut String, replay: &InMemory<'_>, section: &str, settings: &T, defaults: &T) {
    let object = |settings: &T| match serde_json::to_value(settings) {
        Ok(Json::Object(values)) => values,
        _ => serde_json::Map::new(),
    };
    let defaults = object(defaults);
    let Ok(address) = ADDRESS.parse::<Endpoint>() else { return };
    let traits = Traits::of_connections(address);
    let mut settings = object(settings);
    settings.retain(|key, value| defaults.get(key) != Some(value) && traits.without_effect(section, key).is_none());
    if !settings.is_empty() {
        let _ = writeln!(text, "\n[listeners.{}.{section}]", replay.listener);
        for (key, value) in &settings {
            let _ = writeln!(text, "{key} = {}", toml_value(value));
        }
    }
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
