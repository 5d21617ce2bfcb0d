//! Builds the framing of a listener from its configuration, or says why it is invalid.

use serde::Deserialize;
use serde_json::{Map, Value as Json};
use switchboard::Registry;
use switchboard::framing::AnyFraming;
use switchboard::registry::FramingEntry;

use super::diagnostic::{known, quoted};
use super::raw::{FramingTable, RawFraming};
use super::tree;
use super::typing::read_table;
use super::validate::sentence;
use super::value::FramingName;

/// An error of a framing: the invalid option, if it is about one option, and a sentence.
type Wrong = (Option<&'static str>, String);

/// Reads a framing from text: a name, or a table such as `{ type = "length", width = 2 }`.
pub(crate) fn of_text(text: &str) -> Result<AnyFraming, String> {
    let raw = if text.trim_start().starts_with('{') {
        let table = read_table(text).ok_or_else(|| format!("{} is not a table of TOML or JSON", quoted(text)))?;
        let dict = table.as_dict().cloned().unwrap_or_default();
        RawFraming::deserialize(&table)
            .map_err(|error| format!("{}: {}", tree::dotted(&error.path), sentence(&dict, &error.path, error.kind)))?
    } else {
        RawFraming::Name(text.parse::<FramingName>()?)
    };
    of_raw(&raw, &Registry::new()).map_err(|wrong| {
        let sentences = wrong.into_iter().map(|(key, what)| match key {
            Some(key) => format!("{key}: {what}"),
            None => what,
        });
        sentences.collect::<Vec<_>>().join("; ")
    })
}

/// Builds the framing.
pub(crate) fn of_raw(raw: &RawFraming, registry: &Registry) -> Result<AnyFraming, Vec<Wrong>> {
    let (name, options) = match raw {
        RawFraming::Name(name) => (name, Vec::new()),
        RawFraming::Table(table) => (table.r#type.as_ref().ok_or_else(|| no_type(registry))?, written(table)),
    };
    let entry = registry.framing_entry(&name.0).ok_or_else(|| no_type(registry))?;
    let wrong = unknown_options(entry, &options);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    if name.0 == "delimited" && !options.iter().any(|(key, _)| *key == "delimiter") {
        let what = "is missing; write the framing like { type = \"delimited\", delimiter = \"|\" }";
        return Err(vec![(Some("delimiter"), what.to_owned())]);
    }
    let options: Map<_, _> = options.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    entry.build(Json::Object(options)).map_err(|error| vec![(None, error.to_string())])
}

fn no_type(registry: &Registry) -> Vec<Wrong> {
    let names: Vec<_> = registry.framings().map(|entry| entry.name()).collect();
    vec![(Some("type"), format!("is missing; it is one of {}", names.join(", ")))]
}

/// The options that are set.
fn written(table: &FramingTable) -> Vec<(&'static str, Json)> {
    let FramingTable { max, width, order, offset, delimiter, .. } = table;
    let options = [
        ("max", max.map(|max| max.to_string().into())),
        ("width", width.map(|width| width.0.into())),
        ("order", order.map(|order| order.to_string().into())),
        ("offset", offset.map(|offset| offset.size().into())),
        ("delimiter", delimiter.as_ref().map(|delimiter| delimiter.0.as_str().into())),
    ];
    options.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

/// Options that are set, and that this framing does not have.
fn unknown_options(entry: &FramingEntry, options: &[(&'static str, Json)]) -> Vec<Wrong> {
    let properties = entry.options().get("properties").and_then(Json::as_object);
    let names: Vec<&str> = properties.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let unknown = options.iter().filter(|(key, _)| !names.contains(key));
    let sentence = || format!("is not an option of the framing {}. {}", entry.name(), known(names.iter().copied()));
    unknown.map(|(key, _)| (Some(*key), sentence())).collect()
}
