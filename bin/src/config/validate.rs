//! Looks at one source on its own: unknown keys, wrong types, bad values, keys of features that this build has not.
//!
//! Each source is looked at before they are laid over each other, so that a fault is told even where a higher layer hides
//! it, and always with the place where it stands. What a faulty key said is taken out, and what depends on it is not judged.

use figment::error::Kind;
use figment::value::{Dict, Tag, Value};
use serde::Deserialize;
use serde_json::Value as Json;
use switchboard::{Endpoint, Registry};

use super::diagnostic::{found, quoted, unknown};
use super::raw::Raw;
use super::report::Report;
use super::source::Source;
use super::tree::{self, Path, under};
use super::typing::Schemas;
use super::value::{NAME, is_name};

/// Tells every fault of a source by itself, and takes what is faulty out of its tree.
pub(crate) fn validate(source: &mut Source, schemas: &Schemas<'_>, registry: &Registry, report: &mut Report) {
    refuse_names(source, report);
    refuse_keys_and_values(source, schemas, report);
    refuse_transports(source, registry, report);
}

/// The paths of a tree that a pattern names.
fn matches(dict: &Dict, pattern: &[String]) -> Vec<Path> {
    let Some(star) = pattern.iter().position(|segment| segment == "*") else {
        return tree::get(dict, pattern).map(|_| pattern.to_vec()).into_iter().collect();
    };
    let names = tree::get_table(dict, &pattern[..star]).into_iter().flat_map(Dict::keys);
    let paths = names.map(|name| [&pattern[..star], std::slice::from_ref(name), &pattern[star + 1..]].concat());
    paths.filter(|path| tree::get(dict, path).is_some()).collect()
}

fn refuse_names(source: &mut Source, report: &mut Report) {
    for section in ["listeners", "handlers", "layers"] {
        let section = tree::path(section);
        let names = tree::get_table(&source.tree, &section).into_iter().flat_map(Dict::keys);
        for name in names.filter(|name| !is_name(name)).cloned().collect::<Vec<_>>() {
            let path = under(&section, &name);
            report.add(&path, format!("{} is not {NAME}", quoted(&name)), source.origin(&path));
            tree::remove(&mut source.tree, &path, tree::table);
        }
    }
}

fn refuse_keys_and_values(source: &mut Source, schemas: &Schemas<'_>, report: &mut Report) {
    let mut dict = std::mem::take(&mut source.tree);
    let check = |dict: &Dict| read(dict).map(drop);
    let tell = |dict: &Dict, path: &[String], kind: Kind| {
        let what = match (&source.hint, &kind) {
            // What was meant is known better than by the nearest name.
            (Some(hint), Kind::UnknownField(..)) => format!("is not a known key; did you mean {hint}?"),
            (Some(hint), _) => format!("{}; did you mean {hint}?", sentence(dict, path, kind)),
            (None, _) => sentence(dict, path, kind),
        };
        report.add(path, what, source.origin(path));
    };
    tree::every_diagnostic(&mut dict, check, tell, |path| schemas.placeholder(path));
    source.tree = dict;
}

/// A tree as what can be written, or the first fault.
pub(crate) fn read(dict: &Dict) -> Result<Raw, (Path, Kind)> {
    let value = Value::Dict(Tag::Default, dict.clone());
    Raw::deserialize(&value).map_err(|error| (error.path, error.kind))
}

/// One of figment's errors as an operator would say it.
pub(crate) fn sentence(dict: &Dict, path: &[String], kind: Kind) -> String {
    let value = tree::get(dict, path).map(tree::to_json).unwrap_or_default();
    match kind {
        Kind::UnknownField(key, known) => unknown("is not a known key", &key, known.iter().copied()),
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => mismatch(path, &value, &expected),
        Kind::Message(message) => message,
        other => other.to_string(),
    }
}

/// The sentence of a value that is not what its key takes. `expected` is serde's word for that.
pub(crate) fn mismatch(path: &[String], value: &Json, expected: &str) -> String {
    let whole = expected.starts_with("a whole number") || matches!(expected, "i64" | "u64" | "i32" | "u32" | "usize");
    let unquoted = match value {
        Json::String(text) => {
            (whole && text.parse::<i64>().is_ok()) || (expected == "a boolean" && text.parse::<bool>().is_ok())
        }
        _ => false,
    };
    let expected = match expected {
        "a string" | "string" | "str" => "a text; write it in quotes",
        "a boolean" | "bool" => "true or false",
        "a map" => "a table",
        "a sequence" => "a list; write it like [\"a\", \"b\"]",
        "unit" => "nothing",
        "i64" | "i32" | "i16" | "i8" | "isize" => "a whole number",
        "u64" | "u32" | "u16" | "u8" | "usize" => "a whole number, 0 or more",
        "f64" | "f32" => "a number",
        "a duration" => "a duration; write it like \"30s\"",
        _ if expected.starts_with("struct ") => "a table",
        _ => expected,
    };
    let quotes = if unquoted { "; write it without quotes" } else { "" };
    format!("{} is not {expected}{quotes}", found(path, value))
}

/// A transport that nobody has registered cannot serve, whatever else is said.
fn refuse_transports(source: &mut Source, registry: &Registry, report: &mut Report) {
    for path in matches(&source.tree, &tree::path("listeners.*.listen")) {
        let Some(text) = tree::get_text(&source.tree, &path) else { continue };
        let Ok(endpoint) = text.parse::<Endpoint>() else { continue };
        let scheme = endpoint.scheme();
        if registry.transport_kind(scheme).is_some() {
            continue;
        }
        let known = registry.transports().map(|known| known.scheme);
        let what = unknown(&format!("{} has an unknown transport", quoted(text)), scheme, known.collect::<Vec<_>>());
        report.add(&path, what, source.origin(&path));
        tree::remove(&mut source.tree, &path, tree::table);
    }
}
