//! `switchboard schema`: the JSON Schema of the configuration file, for editors.
//!
//! It is made of the types that a configuration is read with, the defaults that hold where nothing is said, and the options of
//! the handlers and layers of this build; so it says what is accepted, and no more.

use serde_json::{Map, Value as Json, json};
use switchboard::Registry;

use super::entry::{Entry, KINDS};
use super::raw::Raw;
use super::{defaults, tree};

/// The schema, as text.
pub(crate) fn schema(registry: &Registry) -> String {
    let mut schema = schemars::schema_for!(Raw).to_value();
    let defaults = tree::to_json(&defaults::source(std::iter::once(&"main".to_owned()), registry).tree.into());
    schema["title"] = "The configuration of switchboard".into();
    without_null(&mut schema);
    let mut definitions = schema["$defs"].as_object().cloned().unwrap_or_default();
    give_defaults(&mut schema, &defaults, &mut definitions);
    for kind in KINDS {
        schema["properties"][kind] = sections(kind, registry, &mut definitions, &schema["properties"][kind]);
    }
    schema["$defs"] = Json::Object(definitions);
    format!("{schema:#}\n")
}

/// A key that is not said is left out; there is no null to write.
fn without_null(schema: &mut Json) {
    if let Some(kinds) = schema.get_mut("type").and_then(Json::as_array_mut) {
        kinds.retain(|kind| kind != "null");
        if let [only] = &kinds[..] {
            schema["type"] = only.clone();
        }
    }
    if let Some(forms) = schema.get_mut("anyOf").and_then(Json::as_array_mut) {
        forms.retain(|form| *form != json!({ "type": "null" }));
        if forms.len() == 1
            && let Some(only) = forms.pop().as_ref().and_then(Json::as_object)
            && let Some(schema) = schema.as_object_mut()
        {
            schema.remove("anyOf");
            schema.extend(only.clone());
        }
    }
    match schema {
        Json::Object(map) => map.values_mut().for_each(without_null),
        Json::Array(items) => items.iter_mut().for_each(without_null),
        _ => {}
    }
}

/// Writes the default of each key beside it, in the definition where it stands.
fn give_defaults(schema: &mut Json, defaults: &Json, definitions: &mut Map<String, Json>) {
    let Some(defaults) = defaults.as_object() else {
        schema["default"] = defaults.clone();
        return;
    };
    if let Some(name) = definition(schema) {
        if let Some(mut inner) = definitions.remove(&name) {
            give_defaults(&mut inner, &Json::Object(defaults.clone()), definitions);
            definitions.insert(name, inner);
        }
        return;
    }
    for (key, default) in defaults {
        // A table of names has one form for all of them; what only main has by default, the others have not.
        let is_for_all = |inner: &&String| !matches!(inner.as_str(), "listen");
        if let Some(of_all) = schema.get_mut("additionalProperties").filter(|schema| schema.is_object()) {
            let default = default.as_object().into_iter().flatten().filter(|(inner, _)| is_for_all(inner));
            give_defaults(of_all, &default.map(|(key, value)| (key.clone(), value.clone())).collect(), definitions);
        } else if let Some(inner) = schema.get_mut("properties").and_then(|all| all.get_mut(key)) {
            give_defaults(inner, default, definitions);
        }
    }
}

fn definition(schema: &Json) -> Option<String> {
    schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/").map(str::to_owned)
}

/// The table of handlers, or of layers: a section is of the type that it says, or else of that of its name.
fn sections(kind: &str, registry: &Registry, definitions: &mut Map<String, Json>, before: &Json) -> Json {
    let names = Entry::names(registry, kind);
    let options = |name: &String| {
        let entry = Entry::of(registry, kind, name).map(Entry::options).cloned().unwrap_or_default();
        moved(entry, &format!("{kind}.{name}"))
    };
    let mut known = Map::new();
    for name in &names {
        let (mut options, inner) = options(name);
        options["properties"]["type"] = json!({});
        known.insert(name.clone(), options);
        definitions.extend(inner);
    }
    let section = |own: Option<&String>| {
        let each = known.iter().map(|(name, options)| {
            let is = json!({ "properties": { "type": { "const": name } } });
            let mut condition = is;
            if own != Some(name) {
                condition["required"] = json!(["type"]);
            }
            json!({ "if": condition, "then": options })
        });
        let mut section = json!({
            "type": "object",
            "properties": { "type": { "enum": names, "description": "What it is; its own name where nothing is said." } },
            "allOf": each.collect::<Vec<_>>(),
        });
        if own.is_none() {
            section["required"] = json!(["type"]);
        }
        section
    };
    let properties: Map<_, _> = names.iter().map(|name| (name.clone(), section(Some(name)))).collect();
    json!({
        "type": "object",
        "description": before.get("description").cloned().unwrap_or_default(),
        "properties": properties,
        "additionalProperties": section(None),
    })
}

/// A schema that was a document of its own, and its definitions under names that nobody else has.
fn moved(mut schema: Json, prefix: &str) -> (Json, Map<String, Json>) {
    fn rename(schema: &mut Json, prefix: &str) {
        if let Some(name) = definition(schema) {
            schema["$ref"] = format!("#/$defs/{prefix}.{name}").into();
        }
        match schema {
            Json::Object(map) => map.values_mut().for_each(|inner| rename(inner, prefix)),
            Json::Array(items) => items.iter_mut().for_each(|inner| rename(inner, prefix)),
            _ => {}
        }
    }
    without_null(&mut schema);
    rename(&mut schema, prefix);
    let mut inner = Map::new();
    if let Some(map) = schema.as_object_mut() {
        map.remove("$schema");
        if let Some(Json::Object(definitions)) = map.remove("$defs") {
            inner = definitions.into_iter().map(|(name, schema)| (format!("{prefix}.{name}"), schema)).collect();
        }
    }
    (schema, inner)
}
