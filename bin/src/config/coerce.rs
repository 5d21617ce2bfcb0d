//! Converts the text of a variable or flag to the type of its key.
//!
//! `007` stays text for a key that accepts text, and is the number 7 for a key that accepts a number. A text that fits
//! no accepted type stays text; deserialization then reports the error.

use figment::value::{Tag, Value};
use serde_json::Value as Json;

use super::expected::Expected;
use super::tree;

pub(crate) fn coerce(expected: &Expected<'_>, text: &str) -> Value {
    let accepts = |kind| expected.accepts(kind).then_some(());
    let table = || accepts("object").and_then(|()| read_table(text));
    let written_list = || accepts("array").and_then(|()| read_list(text));
    let list = || accepts("array").and_then(|()| split_list(&expected.child("0"), text));
    let whole = || text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<u64>().map(Value::from)).ok();
    let whole = || accepts("integer").or_else(|| accepts("number")).and_then(|()| whole());
    let float = || text.parse::<f64>().ok().filter(|number| number.is_finite()).map(Value::from);
    let float = || accepts("number").and_then(|()| float());
    let boolean = || accepts("boolean").and_then(|()| text.parse::<bool>().ok().map(Value::from));
    let text = || Value::from(text);
    match accepts("string") {
        Some(()) => table().or_else(written_list).unwrap_or_else(text),
        None => table()
            .or_else(written_list)
            .or_else(whole)
            .or_else(float)
            .or_else(boolean)
            .or_else(list)
            .unwrap_or_else(text),
    }
}

/// A valid value that replaces an invalid one, so that deserialization finds the next error.
pub(crate) fn placeholder(expected: &Expected<'_>) -> Value {
    let example = expected.forms().find_map(|form| {
        let first = |key| form.get(key).and_then(|list| list.get(0));
        form.get("default").or_else(|| first("enum")).or_else(|| first("examples"))
    });
    match example {
        Some(example) => tree::from_json(example),
        None if expected.accepts("string") => Value::from(""),
        None if expected.accepts("integer") || expected.accepts("number") => {
            let minimum = expected.forms().find_map(|form| form.get("minimum")?.as_i64());
            Value::from(minimum.unwrap_or_default())
        }
        None if expected.accepts("boolean") => Value::from(false),
        None if expected.accepts("array") => Value::Array(Tag::Default, Vec::new()),
        None => tree::table(),
    }
}

/// Reads `{ type = "length", width = 2 }` as TOML or JSON.
pub(crate) fn read_table(text: &str) -> Option<Value> {
    read_brackets(text, '{').filter(Json::is_object).map(|json| tree::from_json(&json))
}

/// Reads `["a", "b"]` as TOML or JSON.
fn read_list(text: &str) -> Option<Value> {
    read_brackets(text, '[').filter(Json::is_array).map(|json| tree::from_json(&json))
}

fn read_brackets(text: &str, open: char) -> Option<Json> {
    let text = text.trim();
    if !text.starts_with(open) {
        return None;
    }
    let json = serde_json::from_str::<Json>(text).ok();
    json.or_else(|| toml::from_str::<Json>(&format!("it = {text}")).ok()?.get_mut("it").map(Json::take))
}

/// The items between commas. A shell removes the quotes of `["a", "b"]`, so brackets around the list are optional.
/// A list with unbalanced quotes or brackets stays text.
fn split_list(items: &Expected<'_>, text: &str) -> Option<Value> {
    let text = text.trim();
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    // The brackets of [::1]:80,[::2]:80 belong to the items.
    let inner = inner.filter(|inner| !inner.contains(['[', ']']));
    if text.starts_with('[') && (inner.is_none() && !text.contains("]:") || text.contains(['"', '\''])) {
        return None;
    }
    let inner = inner.unwrap_or(text).trim();
    let split = inner.split(',').filter(|_| !inner.is_empty());
    Some(Value::from(split.map(|item| coerce(items, item.trim())).collect::<Vec<_>>()))
}
