//! `switchboard schema`: the JSON Schema of the configuration file, including the options of the handlers and layers of this
//! build.

use serde_json::{Map, Value as Json, json};
use switchboard::Registry;

use super::entry::{Entry, KINDS};
use super::schemas::{file_schema, without_null};
use super::{defaults, tree};

/// The schema as text.
pub(crate) fn schema(registry: &Registry) -> String {
    let mut schema = file_schema().clone();
    without_section_defaults(&mut schema);
    schema["title"] = "The configuration of switchboard".into();
    let mut definitions = schema["$defs"].as_object().cloned().unwrap_or_default();
    for (key, default) in defaults::listener(registry) {
        definitions["ListenerSettings"]["properties"][key.as_str()]["default"] = tree::to_json(&default);
    }
    for kind in KINDS {
        schema["properties"][kind] = sections(kind, registry, &mut definitions, &schema["properties"][kind]);
    }
    definitions.shift_remove("SectionSettings");
    schema["$defs"] = Json::Object(definitions);
    format!("{schema:#}\n")
}

/// Removes the defaults of whole sections: each key of a section has its own.
fn without_section_defaults(schema: &mut Json) {
    if schema.get("default").is_some_and(Json::is_object)
        && let Some(map) = schema.as_object_mut()
    {
        map.shift_remove("default");
    }
    match schema {
        Json::Object(map) => map.values_mut().for_each(without_section_defaults),
        Json::Array(items) => items.iter_mut().for_each(without_section_defaults),
        _ => {}
    }
}

fn definition(schema: &Json) -> Option<String> {
    schema.get("$ref")?.as_str()?.strip_prefix("#/$defs/").map(str::to_owned)
}

/// The table of handlers or layers. The type of a section is its `type` or its name.
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
            "properties": { "type": { "enum": names, "description": "Type of the section. Default: the name of the section." } },
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

/// A standalone schema, and its definitions under unique names.
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
    schema = without_null(schema);
    rename(&mut schema, prefix);
    let mut inner = Map::new();
    if let Some(map) = schema.as_object_mut() {
        map.shift_remove("$schema");
        if let Some(Json::Object(definitions)) = map.shift_remove("$defs") {
            inner = definitions.into_iter().map(|(name, schema)| (format!("{prefix}.{name}"), schema)).collect();
        }
    }
    (schema, inner)
}
