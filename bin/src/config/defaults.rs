//! The lowest layer: the default of every key, from the schema.

use figment::value::{Dict, Value};
use serde_json::Value as Json;
use switchboard::Registry;
use switchboard::framing::AnyFraming;

use super::diagnostic::Origin;
use super::schemas::file_schema;
use super::source::Source;
use super::tree;

/// The default address of `main`.
const LISTEN: &str = "tcp://127.0.0.1:9999";

/// The default handler, if it is registered.
const HANDLER: &str = "hello";

/// The defaults of every key, for listeners with these names.
pub(crate) fn source<'n>(names: impl Iterator<Item = &'n String>, registry: &Registry) -> Source {
    let sections = properties(file_schema()).filter(|(_, default)| default.is_object());
    let mut tree: Dict = sections.map(|(key, default)| (key, table(default))).collect();
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
