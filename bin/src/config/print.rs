//! Prints the effective configuration as TOML that can be read again, with or without origins, or as JSON. Secrets are
//! not printed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use figment::value::{Dict, Value};
use serde_json::Value as Json;
use switchboard::settings::text::{escape_unsafe, is_unsafe};
use toml_writer::{ToTomlKey, ToTomlValue, TomlKeyBuilder, TomlStringBuilder};

use super::differences::differences;
use super::expected::Schemas;
use super::origin::Origin;
use super::source::Merged;
use super::tree::{self, Path, under};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Toml,
    /// TOML with the origin of each value as a comment.
    Origins,
    Json,
}

/// The effective value of each key, and its origin.
#[derive(Debug)]
pub(crate) struct Effective {
    pub(super) whole: Dict,
    merged: Merged,
    /// The keys of each table in the order of the schema.
    order: BTreeMap<Path, Vec<String>>,
    /// The keys whose values are secret. An enclosing table is listed instead of its keys.
    secrets: BTreeSet<Path>,
}

impl Effective {
    pub(crate) fn new(whole: Dict, merged: Merged, schemas: &Schemas<'_>) -> Self {
        let mut keys = BTreeMap::new();
        let mut secrets = BTreeSet::new();
        walk(&whole, &[], schemas, &mut keys, &mut secrets);
        Self { whole, merged, order: keys, secrets }
    }

    pub(crate) fn print(&self, shape: Shape) -> String {
        match shape {
            Shape::Json => print_json(&self.json()),
            Shape::Toml | Shape::Origins => {
                let mut text = String::new();
                self.toml(&[], shape == Shape::Origins, &mut text);
                text
            }
        }
    }

    pub(crate) fn origin(&self, path: &[String]) -> Origin {
        let default = || Origin::new(Origin::DEFAULT);
        let Some(value) = tree::get(&self.whole, path) else { return default() };
        if let Value::Dict(_, table) = value {
            // The first value that is set. The others are defaults, or follow it.
            let origins = tree::leaves(table).into_iter().map(|(rest, _)| self.origin(&[path, &rest].concat()));
            return origins.into_iter().find(|origin| !origin.is_default()).unwrap_or_else(default);
        }
        match path {
            // The value of a shared key.
            [listeners, _, shared @ ..]
                if listeners == "listeners" && shared.len() == 2 && tree::get(&self.merged.tree, path).is_none() =>
            {
                self.merged.origin_of(shared, value)
            }
            _ => self.merged.origin_of(path, value),
        }
    }

    /// The secrets that are set, each with its origin.
    pub(crate) fn secrets(&self) -> Vec<(Path, Origin)> {
        let secrets = self.secrets.iter().map(|path| (path.clone(), self.origin(path)));
        secrets.filter(|(_, origin)| !origin.is_default()).collect()
    }

    /// The files that contain a secret, and what it is.
    pub(crate) fn secret_files(&self) -> Vec<(PathBuf, &'static str)> {
        let files = [("admin.token_file", "a token"), ("fleet.password_file", "a password")].into_iter();
        files.filter_map(|(key, what)| Some((tree::get_text(&self.whole, &tree::path(key))?.into(), what))).collect()
    }

    /// The origin as a comment, which ends at a line break. The name of a file can contain one.
    fn comment(&self, path: &[String]) -> String {
        escape_unsafe(&self.origin(path).to_string(), |_| false)
    }

    /// The keys that differ from another configuration, without secrets.
    pub(crate) fn differences(&self, other: &Self) -> Vec<Path> {
        let (before, after) = (self.json(), other.json());
        differences(&before, &after).into_iter().map(|(path, ..)| path).collect()
    }

    /// The origin of a section, or of the nearest enclosing table.
    pub(crate) fn section_origin(&self, path: &[String]) -> Origin {
        self.merged.origin(path).unwrap_or_else(|| Origin::new(Origin::DEFAULT))
    }

    /// All values without secrets.
    pub(crate) fn json(&self) -> Json {
        self.json_at(&[])
    }

    fn json_at(&self, at: &[String]) -> Json {
        let shown = self.entries(at).into_iter().filter(|(path, ..)| !self.secrets.contains(path));
        let shown = shown.map(|(path, key, value)| match value {
            Value::Dict(..) => (key, self.json_at(&path)),
            _ => (key, tree::to_json(value)),
        });
        Json::Object(shown.collect())
    }

    fn toml(&self, at: &[String], origins: bool, text: &mut String) {
        let entries = self.entries(at);
        let (tables, values): (Vec<_>, Vec<_>) = entries.iter().partition(|(.., value)| value.as_dict().is_some());
        // The header of a table that contains only tables, such as [listeners], is omitted.
        if !at.is_empty() && (!values.is_empty() || tables.is_empty()) {
            let header = at.iter().map(|segment| toml_key(segment)).collect::<Vec<_>>().join(".");
            let gap = if text.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{gap}[{header}]");
        }
        for (path, key, value) in values {
            let (key, origin) = (toml_key(key), self.comment(path));
            let _ = match (self.secrets.contains(path), origins) {
                (true, _) => writeln!(text, "# {key} is set and not shown ({origin})"),
                (false, true) => writeln!(text, "{key} = {}  # {origin}", toml_value(&tree::to_json(value))),
                (false, false) => writeln!(text, "{key} = {}", toml_value(&tree::to_json(value))),
            };
        }
        for (path, key, _) in tables {
            if self.secrets.contains(path) {
                let _ = writeln!(text, "\n# {} is set and not shown ({})", toml_key(key), self.comment(path));
            } else {
                self.toml(path, origins, text);
            }
        }
    }

    /// The entries of a table in the order of the schema; keys that the schema does not know follow by name.
    pub(super) fn entries(&self, at: &[String]) -> Vec<(Path, String, &Value)> {
        let table = if at.is_empty() { Some(&self.whole) } else { tree::get_table(&self.whole, at) };
        let entries = table.into_iter().flatten().map(|(key, value)| (under(at, key), key.clone(), value));
        let mut entries: Vec<_> = entries.collect();
        let order = self.order.get(at);
        let position = |key: &String| order.and_then(|order| order.iter().position(|known| known == key));
        entries.sort_by_key(|(_, key, _)| position(key).unwrap_or(usize::MAX));
        entries
    }
}

/// JSON with line breaks.
pub(crate) fn print_json(json: &Json) -> String {
    escape_unsafe(&format!("{json:#}\n"), |c| c == '\n')
}

/// Finds the order of the keys of each table, and the secrets.
fn walk(
    dict: &Dict,
    at: &[String],
    schemas: &Schemas<'_>,
    order: &mut BTreeMap<Path, Vec<String>>,
    secrets: &mut BTreeSet<Path>,
) {
    order.insert(at.to_vec(), schemas.expected(at).keys());
    for (key, value) in dict {
        let path = under(at, key);
        if schemas.is_secret(&path) {
            secrets.insert(path);
        } else if let Some(inner) = value.as_dict() {
            walk(inner, &path, schemas, order, secrets);
        }
    }
}

/// A bare key, or a quoted one with escapes.
pub(super) fn toml_key(key: &str) -> String {
    match key.chars().any(is_unsafe) {
        true => escape_unsafe(&TomlKeyBuilder::new(key).as_basic().to_toml_key(), |_| false),
        false => key.to_toml_key(),
    }
}

pub(crate) fn toml_value(value: &Json) -> String {
    match value {
        Json::Null => "\"\"".into(),
        Json::Bool(_) | Json::Number(_) => value.to_string(),
        Json::String(text) => escape_unsafe(&TomlStringBuilder::new(text).as_basic().to_toml_value(), |_| false),
        Json::Array(items) => format!("[{}]", items.iter().map(toml_value).collect::<Vec<_>>().join(", ")),
        Json::Object(map) => {
            let entries = map.iter().map(|(key, value)| format!("{} = {}", toml_key(key), toml_value(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}
