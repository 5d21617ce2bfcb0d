//! Checks one source: unknown keys, wrong types, values out of range, unknown transports.
//!
//! Each source is checked before the sources are merged, so that an error is reported with its origin even if a later
//! source overrides the value. An invalid value is removed, and nothing that depends on it is checked.

use figment::error::Kind;
use figment::value::{Dict, Value};
use serde::Deserialize;
use serde_json::Value as Json;
use switchboard::{Endpoint, Registry};

use super::coerce::placeholder;
use super::diagnostic::{Report, found, quoted, suggestion, unknown};
use super::expected::{Expected, KINDS, Schemas};
use super::sections::{ConfigFile, is_name};
use super::source::Source;
use super::tree::{self, Path, under};

/// Reports every error of a source and removes the invalid values from its tree.
pub(crate) fn validate(source: &mut Source, schemas: &Schemas<'_>, registry: &Registry, report: &mut Report) {
    reject_names(source, report);
    reject_keys_and_values(source, schemas, report);
    reject_transports(source, registry, report);
}

fn reject_names(source: &mut Source, report: &mut Report) {
    for section in ["listeners"].into_iter().chain(KINDS) {
        let section = tree::path(section);
        for name in tree::names(&source.tree, &section).into_iter().filter(|name| !is_name(name)) {
            let path = under(&section, &name);
            let what = format!(
                "{} is not a name; a name is a lower-case letter, then lower-case letters, digits, \"_\" and \"-\"",
                quoted(&name)
            );
            report.add(&path, what, source.origin(&path));
            tree::remove(&mut source.tree, &path, tree::table());
        }
    }
}

fn reject_keys_and_values(source: &mut Source, schemas: &Schemas<'_>, report: &mut Report) {
    let mut dict = std::mem::take(&mut source.tree);
    let check = |dict: &Dict| match read(dict) {
        Ok(_) => violation(dict, schemas).map_or(Ok(()), Err),
        Err((path, kind)) => {
            let is_unknown = matches!(kind, Kind::UnknownField(..));
            let what = message(dict, &path, kind, schemas);
            let what = match &source.hint {
                // The hint is more precise than the nearest name.
                Some(hint) if is_unknown => format!("is not a known key; did you mean {hint}?"),
                Some(hint) => format!("{what}; did you mean {hint}?"),
                None => what,
            };
            Err((path, what))
        }
    };
    for (path, what) in tree::every_error(&mut dict, check, |path| placeholder(&schemas.expected(path))) {
        report.add(&path, what, source.origin(&path));
    }
    source.tree = dict;
}

/// Deserializes a tree, or returns the first error.
pub(crate) fn read(dict: &Dict) -> Result<ConfigFile, (Path, Kind)> {
    ConfigFile::deserialize(&Value::from(dict.clone())).map_err(|error| (error.path, error.kind))
}

fn reject_transports(source: &mut Source, registry: &Registry, report: &mut Report) {
    for name in tree::names(&source.tree, &tree::path("listeners")) {
        let path = ["listeners".to_owned(), name, "listen".to_owned()];
        let Some(text) = tree::get_text(&source.tree, &path) else { continue };
        let Ok(endpoint) = text.parse::<Endpoint>() else { continue };
        let scheme = endpoint.scheme();
        if registry.transport_kind(scheme).is_none() {
            let known: Vec<_> = registry.transports().map(|known| known.scheme).collect();
            let what = unknown(&format!("{} has an unknown transport", quoted(text)), scheme, known);
            report.add(&path, what, source.origin(&path));
            tree::remove(&mut source.tree, &path, tree::table());
        }
    }
}

/// The first value of a tree that violates a bound or an enumeration of its schema, with the error.
pub(crate) fn violation(dict: &Dict, schemas: &Schemas<'_>) -> Option<(Path, String)> {
    fn walk(value: &Value, path: &[String], schemas: &Schemas<'_>) -> Option<(Path, String)> {
        match value {
            Value::Dict(_, dict) => dict.iter().find_map(|(key, value)| walk(value, &under(path, key), schemas)),
            Value::Array(_, items) => {
                let mut items = items.iter().enumerate();
                items.find_map(|(index, item)| walk(item, &under(path, &index.to_string()), schemas))
            }
            _ => {
                let (expected, value) = (schemas.expected(path), tree::to_json(value));
                let found = found(&value, schemas.is_secret(path));
                out_of_range(&found, &value, &expected)
                    .or_else(|| not_listed(&found, &value, &expected))
                    .map(|what| (path.to_vec(), what))
            }
        }
    }
    dict.iter().find_map(|(key, value)| walk(value, std::slice::from_ref(key), schemas))
}

fn bounds(expected: &Expected<'_>) -> (Option<i128>, Option<i128>) {
    let bound = |key: &str| {
        let bounds = expected.forms().filter_map(|form| form.get(key)).filter_map(Json::as_number);
        bounds.filter_map(|number| number.as_i128().or_else(|| number.as_f64().map(|float| float as i128))).next()
    };
    (bound("minimum"), bound("maximum"))
}

fn out_of_range(found: &str, value: &Json, expected: &Expected<'_>) -> Option<String> {
    let number = value.as_f64()?;
    match bounds(expected) {
        (min, max) if min.is_none_or(|min| number >= min as f64) && max.is_none_or(|max| number <= max as f64) => None,
        (Some(min), Some(max)) => Some(format!("{found} is out of range; {min} to {max} are possible")),
        (Some(min), None) => Some(format!("{found} is out of range; {min} or more is possible")),
        (_, max) => Some(format!("{found} is out of range; {} or less is possible", max.unwrap_or_default())),
    }
}

fn not_listed(found: &str, value: &Json, expected: &Expected<'_>) -> Option<String> {
    let constants = expected.constants().filter(|constants| !constants.contains(&value))?;
    let text = |constant: &&Json| constant.as_str().map_or_else(|| constant.to_string(), str::to_owned);
    let names: Vec<String> = constants.iter().map(text).collect();
    let near = match value.as_str() {
        Some(text) if names.iter().any(|name| name == text) => "; write it without quotes".to_owned(),
        Some(text) => suggestion(text, names.iter().map(String::as_str)),
        None => String::new(),
    };
    Some(format!("{found} is not one of {}{near}", names.join(", ")))
}

/// The error of a value that has the wrong type. `expected_type` is serde's name of the type.
pub(crate) fn mismatch(value: &Json, expected_type: &str, expected: &Expected<'_>, is_secret: bool) -> String {
    let is_table = expected_type == "a map" || expected_type.starts_with("struct ");
    if is_table && value.is_string() {
        // The text can be a table with a missing brace, and contain a secret.
        return "a text is not a table; write a table like { key = \"value\" }".to_owned();
    }
    let found = found(value, is_secret);
    if let Some(what) = not_listed(&found, value, expected) {
        return what;
    }
    let integer = matches!(
        expected_type,
        "i8" | "i16" | "i32" | "i64" | "isize" | "u8" | "u16" | "u32" | "u64" | "usize" | "an integer"
    );
    let (min, max) = bounds(expected);
    let is_integer = value.is_i64() || value.is_u64();
    if let Some(what) = out_of_range(&found, value, expected).filter(|_| integer && is_integer) {
        return what;
    }
    let example = || expected.forms().find_map(|form| form.get("examples")?.get(0)?.as_str());
    let unquoted = value.as_str().is_some_and(|text| {
        (integer && text.parse::<i64>().is_ok()) || (expected_type == "a boolean" && text.parse::<bool>().is_ok())
    });
    let wanted = match (expected_type, min, max) {
        _ if integer => match (min, max) {
            (Some(min), Some(max)) => format!("a whole number from {min} to {max}"),
            (Some(min), None) => format!("a whole number, {min} or more"),
            _ => "a whole number".to_owned(),
        },
        ("a string" | "string" | "str", ..) => match example() {
            Some(example) => format!("a text; write it in quotes, like {example:?}"),
            None => "a text; write it in quotes".to_owned(),
        },
        ("a boolean" | "bool", ..) => "true or false".to_owned(),
        ("a sequence", ..) => "a list; write it like [\"a\", \"b\"]".to_owned(),
        ("f64" | "f32", ..) => "a number".to_owned(),
        ("a duration", ..) => "a duration; write it like \"30s\"".to_owned(),
        ("unit", ..) => "nothing".to_owned(),
        _ if is_table => "a table".to_owned(),
        ("a character", ..) => "a text of one character".to_owned(),
        (name, ..) if name.starts_with("tuple ") || name.starts_with("an array of ") => "a list of this length".into(),
        (name, ..) if name.starts_with("enum ") || name.starts_with("variant ") => "an accepted value".to_owned(),
        (other, ..) => other.to_owned(),
    };
    let quotes = if unquoted { "; write it without quotes" } else { "" };
    format!("{found} is not {wanted}{quotes}")
}

pub(crate) fn message(dict: &Dict, path: &[String], kind: Kind, schemas: &Schemas<'_>) -> String {
    let value = tree::get(dict, path).map(tree::to_json).unwrap_or_default();
    let (expected, is_secret) = (schemas.expected(path), schemas.is_secret(path));
    match kind {
        Kind::UnknownField(key, known) => unknown("is not a known key", &key, known.iter().copied()),
        Kind::InvalidType(_, name) | Kind::InvalidValue(_, name) => mismatch(&value, &name, &expected, is_secret),
        Kind::UnknownVariant(..) => mismatch(&value, "", &expected, is_secret),
        Kind::Message(message) => hide(message, is_secret),
        _ => format!("{} is not an accepted value", found(&value, is_secret)),
    }
}

/// The message of a type about its value, which the message can quote.
pub(crate) fn hide(message: String, is_secret: bool) -> String {
    let is_safe = !is_secret || message.starts_with("the value (not shown)");
    if is_safe { message } else { "the value (not shown) is invalid".to_owned() }
}
