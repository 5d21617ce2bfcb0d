//! Prints the effective configuration: as TOML that reads back to the same, with origins if asked, or as JSON.
//!
//! It prints the very tree that runs. The value of a secret is never printed, so a secret has to be given again.

use std::fmt::Write as _;

use figment::value::{Dict, Value};
use serde_json::Value as Json;

use super::diagnostic::{Origin, is_secret};
use super::source::{Merged, shared};
use super::tree::{self, Path, under};

/// How it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// TOML.
    Toml,
    /// TOML with a remark behind each value that says where it came from.
    Origins,
    /// JSON.
    Json,
}

/// What holds, key by key, and where each value came from.
#[derive(Debug)]
pub(crate) struct Effective {
    whole: Dict,
    merged: Merged,
}

/// The keys in the order of the documentation; others follow by name.
const ORDER: [&str; 50] = [
    "log",
    "admin",
    "drain",
    "runtime",
    "listeners",
    "handlers",
    "type",
    "listen",
    "handler",
    "framing",
    "layers",
    "limits",
    "timeouts",
    "rate",
    "access",
    "proxy",
    "socket",
    "tls",
    "level",
    "format",
    "announce",
    "deadline",
    "workers",
    "connections",
    "messages_per_source",
    "connections_per_source",
    "handshakes",
    "handshake",
    "first_message",
    "frame",
    "outbox",
    "sessions",
    "idle",
    "message",
    "write",
    "lifetime",
    "burst",
    "allow",
    "deny",
    "trusted",
    "backlog",
    "nodelay",
    "keepalive",
    "reuse_port",
    "mode",
    "alpn",
    "certificate",
    "key",
    "client_ca",
    "sni",
];

impl Effective {
    /// The whole tree, and the layers that it came from.
    pub(crate) fn new(whole: Dict, merged: Merged) -> Self {
        Self { whole, merged }
    }

    /// The text, with a line end.
    pub(crate) fn print(&self, shape: Shape) -> String {
        match shape {
            Shape::Json => {
                let json = self.json(&self.whole, &[]);
                format!("{json:#}\n")
            }
            Shape::Toml | Shape::Origins => {
                let mut text = String::new();
                self.toml(&self.whole, &[], shape == Shape::Origins, &mut text);
                text
            }
        }
    }

    /// Where a value of the whole tree came from.
    pub(crate) fn origin(&self, path: &[String]) -> Origin {
        let Some(value) = tree::get(&self.whole, path) else { return Origin::unsaid() };
        let own = tree::get(&self.merged.tree, path).is_some();
        match shared(path).filter(|_| !own) {
            Some(shared) => self.merged.origin_of(&shared, value),
            None => self.merged.origin_of(path, value),
        }
    }

    /// The keys whose values differ from those of another configuration; a table that only one of them has is one key.
    pub(crate) fn differences(&self, other: &Self) -> Vec<Path> {
        let mut found = Vec::new();
        tree::differences(&self.whole, &other.whole, &[], &mut found);
        found
    }

    /// Where a section came from, or what is nearest around it.
    pub(crate) fn section_origin(&self, path: &[String]) -> Origin {
        self.merged.origin(path).unwrap_or_else(Origin::unsaid)
    }

    fn json(&self, dict: &Dict, at: &[String]) -> Json {
        let entries = dict.iter().map(|(key, value)| (under(at, key), key, value));
        let shown = entries.filter(|(path, ..)| !is_secret(path)).map(|(path, key, value)| match value {
            Value::Dict(_, inner) => (key.clone(), self.json(inner, &path)),
            _ => (key.clone(), tree::to_json(value)),
        });
        Json::Object(shown.collect())
    }

    fn toml(&self, dict: &Dict, at: &[String], origins: bool, text: &mut String) {
        let mut entries: Vec<(Path, &String, &Value)> =
            dict.iter().map(|(key, value)| (under(at, key), key, value)).collect();
        entries.sort_by_key(|(_, key, _)| (ORDER.iter().position(|known| known == key).unwrap_or(ORDER.len()), *key));
        let is_table = |value: &Value| value.as_dict().is_some();
        // A table of names, such as [listeners], is said by the tables in it.
        if !at.is_empty() && (dict.is_empty() || entries.iter().any(|(.., value)| !is_table(value))) {
            let header = at.iter().map(|segment| toml_key(segment)).collect::<Vec<_>>().join(".");
            let gap = if text.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}[{header}]");
        }
        for (path, key, value) in entries.iter().filter(|(.., value)| !is_table(value)) {
            let origin = self.origin(path);
            if is_secret(path) {
                let _ = writeln!(text, "# {} is set and not shown ({origin})", toml_key(key));
                continue;
            }
            let _ = write!(text, "{} = {}", toml_key(key), toml_value(&tree::to_json(value)));
            let _ = if origins { writeln!(text, "  # {origin}") } else { writeln!(text) };
        }
        for (path, key, value) in entries.iter().filter_map(|(path, key, value)| Some((path, key, value.as_dict()?))) {
            if is_secret(path) {
                let _ = writeln!(text, "\n# {} is set and not shown ({})", toml_key(key), self.origin(path));
                continue;
            }
            self.toml(value, path, origins, text);
        }
    }
}

fn toml_key(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !key.is_empty() && key.chars().all(plain) { key.to_owned() } else { toml_text(key) }
}

/// A text on one line. What JSON escapes, TOML reads; it asks for one character more.
fn toml_text(text: &str) -> String {
    Json::from(text).to_string().replace('\u{7f}', "\\u007f")
}

fn toml_value(value: &Json) -> String {
    match value {
        Json::Null => "\"\"".into(),
        Json::Bool(_) => value.to_string(),
        // A float of TOML has a point; serde_json gives it one.
        Json::Number(number) => number.to_string(),
        Json::String(text) => toml_text(text),
        Json::Array(items) => format!("[{}]", items.iter().map(toml_value).collect::<Vec<_>>().join(", ")),
        Json::Object(map) if map.is_empty() => "{}".into(),
        Json::Object(map) => {
            let entries = map.iter().map(|(key, value)| format!("{} = {}", toml_key(key), toml_value(value)));
            format!("{{ {} }}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}
