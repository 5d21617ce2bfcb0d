//! Makes the merged layers whole: every listener with all its keys, every handler with all its options.
//!
//! For a given key a listener's own value wins over the shared one, whichever layer either came from. The result is one
//! tree; what runs is made from it, and `switchboard config` prints it. It judges nothing.

use std::collections::BTreeSet;

use figment::value::{Dict, Tag, Value};
use serde_json::Value as Json;
use switchboard::{Endpoint, Registry};

use super::entry::Entry;
use super::source::{Merged, Source};
use super::tree::{self, under};
use super::typing::Schemas;

/// The groups that may stand at the top as shared defaults.
pub(crate) const SHARED: [&str; 5] = ["limits", "timeouts", "rate", "access", "socket"];

/// The names of the listeners: those that are declared, and `main` where none is or a short form names it.
pub(crate) fn listener_names(sources: &[Source]) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = sources.iter().flat_map(|source| sections(&source.tree, "listeners")).collect();
    if names.is_empty() {
        names.insert("main".into());
    }
    names
}

/// The names of the sections of a kind.
pub(crate) fn sections(dict: &Dict, kind: &str) -> Vec<String> {
    tree::get_table(dict, &tree::path(kind)).map(|table| table.keys().cloned().collect()).unwrap_or_default()
}

/// The whole tree. Values keep the tag of the source that they came from.
pub(crate) fn resolve(merged: &Merged, schemas: &Schemas<'_>, registry: &Registry) -> Dict {
    let mut whole = Dict::new();
    for key in ["log", "admin", "drain", "runtime"] {
        if let Some(value) = merged.tree.get(key) {
            whole.insert(key.into(), value.clone());
        }
    }
    let (mut handlers, mut layers) = (BTreeSet::new(), BTreeSet::new());
    handlers.extend(sections(&merged.tree, "handlers"));
    layers.extend(sections(&merged.tree, "layers"));
    for name in sections(&merged.tree, "listeners") {
        let at = ["listeners".to_owned(), name];
        let mut listener = tree::get_table(&merged.tree, &at).cloned().unwrap_or_default();
        for group in SHARED {
            // Printed as its own, it would be a fault: what is shared passes by a listener whose peers have no address.
            if group == "access" && has_no_peer_address(&listener) {
                continue;
            }
            let mut values = tree::get_table(&merged.tree, &[group.to_owned()]).cloned().unwrap_or_default();
            values.extend(tree::get_table(&merged.tree, &under(&at, group)).cloned().unwrap_or_default());
            listener.insert(group.into(), Value::Dict(Tag::Default, values));
        }
        let named = listener.get("handler").and_then(Value::as_str);
        handlers.extend(named.filter(|name| registry.handler_entry(name).is_some()).map(str::to_owned));
        let named = listener.get("layers").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        layers.extend(named.filter(|name| registry.layer_entry(name).is_some()).map(str::to_owned));
        tree::insert(&mut whole, &at, Value::Dict(Tag::Default, listener));
    }
    for (kind, names) in [("handlers", handlers), ("layers", layers)] {
        for name in names {
            let section = section(kind, &name, merged, schemas, registry);
            tree::insert(&mut whole, &[kind.to_owned(), name], Value::Dict(Tag::Default, section));
        }
    }
    whole
}

/// Whether nothing tells a network address of this listener's peers: neither its transport nor a proxy.
fn has_no_peer_address(listener: &Dict) -> bool {
    let endpoint = listener.get("listen").and_then(Value::as_str).and_then(|text| text.parse::<Endpoint>().ok());
    endpoint.is_some_and(|endpoint| !has_network(&endpoint)) && !listener.contains_key("proxy")
}

/// Whether the peers of a transport have network addresses. One that is not ours may well have.
pub(crate) fn has_network(endpoint: &Endpoint) -> bool {
    !matches!(endpoint, Endpoint::Unix(_) | Endpoint::Unixgram(_) | Endpoint::Memory(_))
}

/// A section with its type, and with the defaults that its type's schema tells.
fn section(kind: &str, name: &str, merged: &Merged, schemas: &Schemas<'_>, registry: &Registry) -> Dict {
    let written = tree::get_table(&merged.tree, &[kind.to_owned(), name.to_owned()]).cloned().unwrap_or_default();
    let kind_of = schemas.type_of(kind, name);
    let properties = schemas.options(kind, name).and_then(|schema| schema.get("properties")?.as_object());
    let defaults = properties.into_iter().flatten().filter_map(|(key, option)| {
        let default = option.get("default").filter(|default| !default.is_null())?;
        Some((key.clone(), tree::from_json(default)))
    });
    let plain = Dict::from([("type".to_owned(), Value::from(kind_of))]);
    let mut section = plain.clone();
    section.extend(defaults);
    section.extend(written.clone());
    let accepts = |section: &Dict| {
        let mut options = section.clone();
        options.remove("type");
        let options: Json = tree::to_json(&Value::Dict(Tag::Default, options));
        Entry::of(registry, kind, kind_of).is_none_or(|entry| entry.check(&options).is_ok())
    };
    // A schema can tell a default that its own type does not read; then only what was written is sure to be right.
    if accepts(&section) {
        section
    } else {
        let mut section = plain;
        section.extend(written);
        section
    }
}
