//! `switchboard schema`: the JSON Schema of the configuration file, including the options of the handlers and layers of
//! this build.

use serde_json::{Map, Value as Json, json};
use switchboard::Registry;

use super::expected::{Expected, SectionKind, file_schema, listed, without_null};
use super::resolve::listener;
use super::tree;

pub(crate) fn schema(registry: &Registry) -> String {
    let mut schema = file_schema().clone();
    without_implied_defaults(&mut schema);
    schema["title"] = "The configuration of switchboard".into();
    let mut definitions = schema["$defs"].as_object().cloned().unwrap_or_default();
    for (key, default) in listener(registry) {
        definitions["ListenerSettings"]["properties"][key.as_str()]["default"] = tree::to_json(&default);
    }
    let schemes: Vec<_> = registry.transports().map(|known| known.scheme).collect();
    let listen = &mut definitions["ListenerSettings"]["properties"]["listen"]["description"];
    *listen = format!("{} Schemes: {}.", listen.as_str().unwrap_or_default(), schemes.join(", ")).into();
    for (table, kind) in [("handlers", SectionKind::Handler), ("layers", SectionKind::Layer)] {
        let mut sections = sections(table, kind, registry, &mut definitions);
        sections["description"] = schema["properties"][table]["description"].take();
        schema["properties"][table] = sections;
    }
    definitions["Framing"] = framing(registry, &mut definitions);
    definitions.shift_remove("SectionSettings");
    schema["$defs"] = Json::Object(definitions);
    format!("{schema:#}\n")
}

/// Removes the defaults of whole sections, because each key has its own, and the empty path of a required file.
fn without_implied_defaults(schema: &mut Json) {
    if schema.get("default").is_some_and(|default| default.is_object() || default == "")
        && let Some(map) = schema.as_object_mut()
    {
        map.shift_remove("default");
    }
    match schema {
        Json::Object(map) => map.values_mut().for_each(without_implied_defaults),
        Json::Array(items) => items.iter_mut().for_each(without_implied_defaults),
        _ => {}
    }
}

/// A framing is a name, or a table with a type and its options.
fn framing(registry: &Registry, definitions: &mut Map<String, Json>) -> Json {
    let entries = SectionKind::Framing.entries(registry);
    let names: Vec<_> = entries.iter().map(|entry| entry.name()).collect();
    let mut forms = vec![json!({ "type": "string", "enum": names })];
    for entry in entries {
        let (mut options, inner) = moved(entry.options().clone(), &format!("framing.{}", entry.name()));
        options["properties"]["type"] = json!({ "const": entry.name(), "description": "Name of the framing." });
        let required = options["required"].as_array().cloned().unwrap_or_default();
        options["required"] = [vec![json!("type")], required].concat().into();
        definitions.extend(inner);
        forms.push(options);
    }
    json!({ "anyOf": forms })
}

/// The table of handlers or layers. The type of a section is its `type` or its name.
fn sections(table: &str, kind: SectionKind, registry: &Registry, definitions: &mut Map<String, Json>) -> Json {
    let mut known = Map::new();
    for entry in kind.entries(registry) {
        let (mut options, inner) = moved(entry.options().clone(), &format!("{table}.{}", entry.name()));
        options["properties"]["type"] = json!({});
        known.insert(entry.name().to_owned(), options);
        definitions.extend(inner);
    }
    let names: Vec<&String> = known.keys().collect();
    let section = |own: Option<&String>| {
        let each = known.iter().map(|(name, options)| {
            let mut condition = json!({ "properties": { "type": { "const": name } } });
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
    let properties: Map<_, _> = names.iter().map(|name| ((*name).clone(), section(Some(name)))).collect();
    json!({
        "type": "object",
        "description": null,
        "properties": properties,
        "additionalProperties": section(None),
    })
}

/// A standalone schema, and its definitions under unique names.
fn moved(mut schema: Json, prefix: &str) -> (Json, Map<String, Json>) {
    fn rename(schema: &mut Json, prefix: &str) {
        if let Some(Json::String(target)) = schema.get_mut("$ref") {
            *target = target.replace("#/$defs/", &format!("#/$defs/{prefix}."));
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

#[derive(Debug)]
pub(crate) struct OptionDoc {
    pub(crate) name: String,
    /// `text`, `whole number`, `list of text` …
    pub(crate) kind: String,
    pub(crate) default: Option<Json>,
    pub(crate) required: bool,
    pub(crate) help: String,
}

pub(crate) fn documented(schema: &Json) -> Vec<OptionDoc> {
    let required = |name: &str| {
        let names = schema.get("required").and_then(Json::as_array).into_iter().flatten();
        names.into_iter().any(|required| required == name)
    };
    let properties = schema.get("properties").and_then(Json::as_object).into_iter().flatten();
    let options = properties.map(|(name, option)| OptionDoc {
        name: name.clone(),
        kind: describe(&Expected::of(schema, option)),
        default: option.get("default").filter(|default| !default.is_null()).cloned(),
        required: required(name),
        help: option.get("description").and_then(Json::as_str).unwrap_or_default().replace('\n', " "),
    });
    options.collect()
}

fn describe(expected: &Expected<'_>) -> String {
    let words: Vec<&str> = expected.forms().flat_map(listed).filter_map(Json::as_str).collect();
    let kinds = [
        ("string", if words.is_empty() { "text".to_owned() } else { words.join(" | ") }),
        ("integer", "whole number".to_owned()),
        ("number", "number".to_owned()),
        ("boolean", "true or false".to_owned()),
        ("object", "table".to_owned()),
    ];
    let found = kinds.into_iter().filter(|(kind, _)| expected.accepts(kind)).map(|(_, word)| word);
    let list = expected.accepts("array").then(|| format!("list of {}", describe(&expected.child("0"))));
    let found: Vec<String> = found.chain(list).collect();
    if found.is_empty() { "anything".into() } else { found.join(" or ") }
}
