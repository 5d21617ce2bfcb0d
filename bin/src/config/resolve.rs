//! The defaults of every key, and the complete tree: every listener has all keys, every handler and layer has all
//! options.
//!
//! The key of a listener overrides the shared key, from any source. `switchboard config` prints this
//! tree.

use std::collections::BTreeSet;

use figment::value::{Dict, Tag, Value};
use serde_json::Value as Json;
use switchboard::framing::AnyFraming;
use switchboard::{Endpoint, Registry};

use super::applies::{self, Traits, has_network};
use super::expected::{Expected, KINDS, Schemas, SectionKind, file_schema, shared_keys};
use super::origin::Origin;
use super::source::{Merged, Source};
use super::tree::{self, names, path, under};

/// The names of the listeners: the declared ones, or `main` if there are none.
pub(crate) fn listener_names(sources: &[Source]) -> BTreeSet<String> {
    let listeners: BTreeSet<_> = sources.iter().flat_map(|source| names(&source.tree, &path("listeners"))).collect();
    if listeners.is_empty() { BTreeSet::from(["main".to_owned()]) } else { listeners }
}

/// The complete tree. Values keep the tag of their source.
pub(crate) fn resolve(merged: &Merged, schemas: &Schemas<'_>, registry: &Registry) -> Dict {
    let mut whole = merged.tree.clone();
    let shared = &shared_keys().sections;
    whole.retain(|key, _| key != "listeners" && !KINDS.contains(&key.as_str()) && !shared.contains(key));
    let [mut handlers, mut layers] = KINDS.map(|kind| BTreeSet::from_iter(names(&merged.tree, &path(kind))));
    for name in names(&merged.tree, &path("listeners")) {
        let at = ["listeners".to_owned(), name];
        let mut listener = tree::get_table(&merged.tree, &at).cloned().unwrap_or_default();
        let traits = Traits::of(&listener, registry);
        for group in shared {
            // The shared access lists do not apply to peers without a network address.
            if group == "access" && has_no_peer_address(&listener) {
                continue;
            }
            let mut values = tree::get_table(&merged.tree, std::slice::from_ref(group)).cloned().unwrap_or_default();
            // A shared value without effect on this listener is not inherited: the printed configuration must be valid.
            if let Some(traits) = &traits {
                values = values
                    .into_iter()
                    .filter_map(|(key, value)| match traits.without_effect(group, &key) {
                        Some(_) => applies::default(group, &key).map(|default| (key, default)),
                        None => Some((key, value)),
                    })
                    .collect();
            }
            values.extend(tree::get_table(&merged.tree, &under(&at, group)).cloned().unwrap_or_default());
            listener.insert(group.clone(), Value::Dict(Tag::Default, values));
        }
        share_access(&mut listener, &at, merged, &mut whole);
        let named = listener.get("handler").and_then(Value::as_str);
        handlers.extend(named.filter(|name| registry.handler_entry(name).is_some()).map(str::to_owned));
        let named = listener.get("layers").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        layers.extend(named.filter(|name| registry.layer_entry(name).is_some()).map(str::to_owned));
        tree::insert(&mut whole, &at, Value::Dict(Tag::Default, listener));
    }
    for (kind, sections) in KINDS.into_iter().zip([handlers, layers]) {
        for name in sections {
            let section = section(kind, &name, merged, schemas, registry);
            tree::insert(&mut whole, &[kind.to_owned(), name], Value::Dict(Tag::Default, section));
        }
    }
    whole
}

/// Moves the access lists that a listener inherits to the top level. They can have thousands of networks, and a copy
/// for each listener would need gigabytes.
fn share_access(listener: &mut Dict, at: &[String], merged: &Merged, whole: &mut Dict) {
    let Some(Value::Dict(_, lists)) = listener.get_mut("access") else { return };
    let own = tree::get_table(&merged.tree, &under(at, "access"));
    for key in lists.keys().cloned().collect::<Vec<_>>() {
        let is_own = own.is_some_and(|own| own.contains_key(&key));
        if !is_own && lists[&key].as_array().is_some_and(|networks| !networks.is_empty()) {
            let shared = under(&path("access"), &key);
            if let Some(list) = lists.remove(&key)
                && tree::get(whole, &shared).is_none()
            {
                tree::insert(whole, &shared, list);
            }
        }
    }
}

/// Whether neither the transport nor a proxy provides the network address of a peer.
fn has_no_peer_address(listener: &Dict) -> bool {
    let endpoint = listener.get("listen").and_then(Value::as_str).and_then(|text| text.parse::<Endpoint>().ok());
    endpoint.is_some_and(|endpoint| !has_network(&endpoint)) && !listener.contains_key("proxy")
}

/// A section with its type and the defaults from the schema of its type.
fn section(kind: &str, name: &str, merged: &Merged, schemas: &Schemas<'_>, registry: &Registry) -> Dict {
    let at = [kind.to_owned(), name.to_owned()];
    let configured = tree::get_table(&merged.tree, &at).cloned().unwrap_or_default();
    let kind_of = schemas.type_of(&at).unwrap_or(name);
    let properties = schemas.options(&at).and_then(|schema| schema.get("properties")?.as_object());
    let defaults = properties.into_iter().flatten().filter_map(|(key, option)| {
        let default = option.get("default").filter(|default| !default.is_null())?;
        Some((key.clone(), tree::from_json(default)))
    });
    let mut section: Dict = defaults.chain(configured.clone()).collect();
    let entry = SectionKind::of(&at).and_then(|(kind, _)| kind.entry(registry, kind_of));
    let configured_type = section.remove("type");
    // A schema can contain a default that its type does not accept. Then only the configured options are used.
    if entry.is_some_and(|entry| entry.check_options(&tree::to_json(&section.clone().into())).is_err()) {
        section = configured;
    }
    section.insert("type".to_owned(), configured_type.unwrap_or_else(|| Value::from(kind_of)));
    section
}

/// The default address of `main`.
const LISTEN: &str = "tcp://127.0.0.1:9999";

/// The default handler, if it is registered.
const HANDLER: &str = "hello";

/// The defaults of every key, for listeners with these names, and for the optional sections that a source has.
pub(crate) fn defaults<'n>(names: impl Iterator<Item = &'n String>, sources: &[Source], registry: &Registry) -> Source {
    let sections = properties(file_schema()).filter(|(_, default)| default.is_object());
    let mut tree: Dict = sections.map(|(key, default)| (key, table(default))).collect();
    for key in sources.iter().flat_map(|source| source.tree.keys()) {
        if let Some(section) = optional(key) {
            tree.insert(key.clone(), section);
        }
    }
    for name in names {
        let mut listener = listener(registry);
        if name == "main" {
            listener.insert("listen".into(), Value::from(LISTEN));
        }
        tree::insert(&mut tree, &["listeners".into(), name.clone()], listener.into());
    }
    Source::plain(tree, Origin::DEFAULT)
}

/// The defaults of a listener that are not shared keys.
pub(crate) fn listener(registry: &Registry) -> Dict {
    let own = properties(&file_schema()["$defs"]["ListenerSettings"]).filter(|(_, default)| !default.is_object());
    let mut listener: Dict = own.map(|(key, default)| (key, tree::from_json(&default))).collect();
    listener.insert("framing".into(), Value::from(AnyFraming::default().name()));
    if let Some(handler) = handler(registry) {
        listener.insert("handler".into(), Value::from(handler));
    }
    listener
}

/// The defaults of a section that is absent by default. `None` for any other key.
pub(crate) fn optional(section: &str) -> Option<Value> {
    let schema = Expected::at(file_schema(), &[section.to_owned()]);
    let is_present = file_schema()["properties"][section]["default"].is_object();
    if is_present || schema.is_value() || schema.keys().is_empty() {
        return None;
    }
    let default = |key: String| {
        let default = schema.child(&key).forms().find_map(|form| form.get("default").cloned())?;
        Some((key, default))
    };
    Some(table(schema.keys().into_iter().filter_map(default).collect()))
}

/// The defaults of a section. A key without a default is absent.
fn table(mut default: Json) -> Value {
    if let Some(keys) = default.as_object_mut() {
        keys.retain(|_, default| !default.is_null());
    }
    tree::from_json(&default)
}

fn properties(schema: &Json) -> impl Iterator<Item = (String, Json)> {
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties.filter_map(|(key, property)| Some((key.clone(), property.get("default")?.clone())))
}

/// `hello`, or the only registered handler.
fn handler(registry: &Registry) -> Option<&str> {
    let mut handlers = registry.handlers().map(|entry| entry.name());
    match (registry.handler_entry(HANDLER), handlers.next(), handlers.next()) {
        (Some(_), ..) => Some(HANDLER),
        (None, Some(only), None) => Some(only),
        (None, ..) => None,
    }
}
