//! The documentation of the options of a handler or layer, from their schema.

use serde_json::Value as Json;

use super::schemas::{Expected, listed};

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
