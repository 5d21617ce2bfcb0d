//! Looks at one source on its own: unknown keys, wrong types, bad values, keys of features that this build has not.
//!
//! Each source is looked at before they are laid over each other, so that a fault is told even where a higher layer hides
//! it, and always with the place where it stands. What a faulty key said is taken out, and what depends on it is not judged.

use std::collections::BTreeSet;

use figment::error::Kind;
use figment::value::{Dict, Tag, Value};
use serde::Deserialize;
use serde_json::Value as Json;
use switchboard::{Endpoint, Registry};

use super::fault::{found, quoted, unknown};
use super::leaf::{NAME, is_name};
use super::raw::Raw;
use super::report::Report;
use super::sources::{Merged, Source};
use super::tree::{self, Path, under};
use super::typing::Schemas;

/// Keys of features that this build has not; `*` is any name.
const NOT_HERE: [&str; 13] = [
    "admin",
    "access",
    "listeners.*.access",
    "listeners.*.proxy",
    "listeners.*.tls",
    "limits.handshakes",
    "limits.connections_per_source",
    "timeouts.handshake",
    "rate.connections_per_source",
    "listeners.*.limits.handshakes",
    "listeners.*.limits.connections_per_source",
    "listeners.*.timeouts.handshake",
    "listeners.*.rate.connections_per_source",
];

/// Transports that the contract knows and this build has not.
const TRANSPORTS_NOT_HERE: [&str; 2] = ["tls", "systemd"];

/// Tells every fault of a source by itself, and takes what is faulty out of its tree.
pub(crate) fn examine(source: &mut Source, schemas: &Schemas<'_>, registry: &Registry, report: &mut Report) {
    refuse_what_is_not_here(source, report);
    refuse_names(source, report);
    refuse_keys_and_values(source, schemas, report);
    refuse_transports(source, registry, report);
}

fn refuse_what_is_not_here(source: &mut Source, report: &mut Report) {
    for pattern in NOT_HERE {
        for path in matches(&source.tree, &tree::path(pattern)) {
            report.add(&path, "is not in this build", source.origin(&path));
            tree::remove(&mut source.tree, &path, tree::table);
        }
    }
}

/// The paths of a tree that a pattern names.
fn matches(dict: &Dict, pattern: &[String]) -> Vec<Path> {
    let Some(star) = pattern.iter().position(|segment| segment == "*") else {
        return tree::get(dict, pattern).map(|_| pattern.to_vec()).into_iter().collect();
    };
    let names = tree::get_table(dict, &pattern[..star]).into_iter().flat_map(Dict::keys);
    let paths = names.map(|name| [&pattern[..star], &[name.clone()], &pattern[star + 1..]].concat());
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
    tree::every_fault(&mut dict, check, tell, |path| schemas.stand_in(path));
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
        Json::String(text) => (whole && text.parse::<i64>().is_ok()) || (expected == "a boolean" && text.parse::<bool>().is_ok()),
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
        let what = if TRANSPORTS_NOT_HERE.contains(&scheme) {
            format!("{} cannot be served: the transport {scheme} is not in this build", quoted(text))
        } else {
            let known = registry.transports().map(|(scheme, ..)| scheme);
            unknown(&format!("{} has an unknown transport", quoted(text)), scheme, known.collect::<Vec<_>>())
        };
        report.add(&path, what, source.origin(&path));
        tree::remove(&mut source.tree, &path, tree::table);
    }
}

/// Tells every fault of the options of handlers and layers: those of each source by itself, then those of all together.
pub(crate) fn examine_options(
    sources: &[Source],
    merged: &Merged,
    schemas: &Schemas<'_>,
    registry: &Registry,
    report: &mut Report,
) {
    for section in ["handlers", "layers"] {
        let names = tree::get_table(&merged.tree, &tree::path(section)).into_iter().flat_map(Dict::keys);
        for name in names {
            let at = [section.to_owned(), name.clone()];
            if report.is_poisoned(&under(&at, "type")) {
                continue;
            }
            let kind = schemas.type_of(section, name).to_owned();
            let check: Box<dyn Fn(&Json) -> Result<(), switchboard::registry::OptionError>> = match section {
                "handlers" => match registry.handler_entry(&kind) {
                    Some(entry) => Box::new(|options| entry.check_options(options)),
                    None => continue,
                },
                _ => match registry.layer_entry(&kind) {
                    Some(entry) => Box::new(|options| entry.check_options(options)),
                    None => continue,
                },
            };
            let of = Options { at: &at, kind: &kind, check: &*check, schemas };
            let all = of.written(&merged.tree);
            for source in sources {
                let own = of.written(&source.tree);
                // Alone, a source may lack what another gives; so its own values are judged among all of them.
                let mut together = all.clone();
                for (path, value) in tree::leaves(&own) {
                    tree::insert(&mut together, &path, value.clone());
                }
                of.faults(together, |path, what| {
                    if tree::get(&own, path).is_some() {
                        let key = [&at[..], path].concat();
                        report.add(&key, what, source.origin(&key));
                    }
                });
            }
            of.faults(all, |path, what| {
                let key = [&at[..], path].concat();
                // What a source said has been told.
                if !report.is_poisoned(&key) {
                    let origin = merged.origin(&key);
                    report.add(&key, what, origin);
                }
            });
        }
    }
}

struct Options<'a> {
    at: &'a [String; 2],
    kind: &'a str,
    check: &'a dyn Fn(&Json) -> Result<(), switchboard::registry::OptionError>,
    schemas: &'a Schemas<'a>,
}

impl Options<'_> {
    /// The options of the section that a tree says.
    fn written(&self, dict: &Dict) -> Dict {
        let mut options = tree::get_table(dict, self.at).cloned().unwrap_or_default();
        options.remove("type");
        options
    }

    /// Every fault of some options. What is missing or faulty is made good by something of the right type, so that one
    /// mistake is one sentence and does not hide the next.
    fn faults(&self, mut options: Dict, mut tell: impl FnMut(&[String], String)) {
        let (mut told, mut made_good) = (BTreeSet::new(), BTreeSet::new());
        while let Err(error) = (self.check)(&tree::to_json(&Value::Dict(Tag::Default, options.clone()))) {
            let missing = missing(&error.message).map(|key| under(&error.path, key));
            let is_missing = missing.is_some();
            let path = missing.unwrap_or(error.path);
            let stand_in = || self.schemas.stand_in(&[&self.at[..], &path].concat());
            let again = !told.insert(path.clone());
            if !again {
                tell(&path, self.sentence(&options, &path, &error.message));
            }
            let goes_on = match (is_missing, again) {
                (true, _) => {
                    tree::insert(&mut options, &path, stand_in());
                    made_good.insert(path)
                }
                (false, false) => tree::remove(&mut options, &path, stand_in),
                // What was put there is no better; then the list around it goes.
                (false, true) => tree::remove(&mut options, &path[..path.len().saturating_sub(1)], tree::table),
            };
            if !goes_on {
                return;
            }
        }
    }

    fn sentence(&self, dict: &Dict, path: &[String], message: &str) -> String {
        let value = tree::get(dict, path).map(tree::to_json);
        let key = [&self.at[..], path].concat();
        if message.starts_with("unknown field") {
            if let Some((last, table)) = key.split_last() {
                let known = self.schemas.wanted(table).keys();
                return unknown(&format!("is not an option of {}", self.kind), last, known.iter().map(String::as_str));
            }
        }
        if missing(message).is_some() {
            return format!("is missing, and {} needs it", self.kind);
        }
        let parts = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
        match (parts.and_then(|parts| parts.rsplit_once(", expected ")), &value) {
            (Some((_, expected)), Some(value)) => mismatch(&key, value, expected),
            // Whatever else it says may quote the value.
            _ if super::fault::is_secret(&key) => "the value (not shown) is not what this option takes".into(),
            _ => message.to_owned(),
        }
    }
}

fn missing(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.split('`').next()
}
