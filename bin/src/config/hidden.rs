//! What error messages do not show of the text of a source: secrets, and what may be a misspelled secret.

use std::collections::BTreeSet;
use std::ops::Range;

use figment::value::{Dict, Value};

use super::expected::Schemas;
use super::marks::Marks;
use super::tree::{Path, under};

/// Whether the value of a key is not shown: a secret, the value of an unknown key, or a text that should be a table.
pub(crate) fn is_hidden(path: &[String], schemas: &Schemas<'_>) -> bool {
    !schemas.expected(path).is_value() || schemas.is_secret(path)
}

/// The same for the text of a value. A table can contain a secret, and an address a password.
pub(crate) fn is_hidden_text(path: &[String], text: &str, schemas: &Schemas<'_>) -> bool {
    text.contains('{') || (text.contains("://") && text.contains('@')) || is_hidden(path, schemas)
}

/// The values of a file that are not shown, from the end of the key on: YAML can have a tag or an anchor there.
pub(crate) fn in_file(tree: &Dict, marks: &Marks, text: &str, schemas: &Schemas<'_>) -> Vec<Range<usize>> {
    let mut hidden = Vec::new();
    let mut visit = |path: &Path| {
        let Some((mark, value)) = marks.exactly(path).and_then(|mark| Some((mark, mark.value.as_ref()?))) else {
            return true;
        };
        if !is_hidden_text(path, text.get(value.clone()).unwrap_or_default(), schemas) {
            return false;
        }
        let after_key = text.get(mark.key.end..value.end).filter(|_| mark.key.end <= value.start).unwrap_or_default();
        let separators = after_key.len() - after_key.trim_start_matches(['"', '\'', ' ', '\t', '=', ':']).len();
        let start = if after_key.is_empty() { value.start } else { (mark.key.end + separators).min(value.start) };
        // A block of YAML ends at the next key.
        let blanks = text.get(start..value.end).map_or(0, |shown| shown.len() - shown.trim_end().len());
        hidden.push(start..value.end - blanks);
        true
    };
    walk(tree, &[], &mut visit);
    hidden
}

/// Visits every value that is not a table, and every list. `visit` returns whether the items of a list matter.
fn walk(dict: &Dict, at: &[String], visit: &mut impl FnMut(&Path) -> bool) {
    for (key, value) in dict {
        walk_value(value, &under(at, key), visit);
    }
}

fn walk_value(value: &Value, path: &Path, visit: &mut impl FnMut(&Path) -> bool) {
    match value {
        Value::Dict(_, dict) => walk(dict, path, visit),
        Value::Array(_, items) => {
            let is_hidden = visit(path);
            // A list of texts is as secret as its key; it can have thousands of items.
            if is_hidden || items.iter().any(|item| matches!(item, Value::Dict(..) | Value::Array(..))) {
                for (index, item) in items.iter().enumerate() {
                    walk_value(item, &under(path, &index.to_string()), visit);
                }
            }
        }
        _ => {
            visit(path);
        }
    }
}

/// What is not shown of a line that cannot be parsed. A line is shown if it begins with a known key and has no name of
/// a secret key.
pub(crate) fn in_unreadable_line(text: &str, at: usize, schemas: &Schemas<'_>) -> Option<Range<usize>> {
    let at = text.floor_char_boundary(at.min(text.len()));
    let start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let end = text[at..].find('\n').map_or(text.len(), |next| at + next);
    let line = &text[start..end];
    let (known, secret) = names(schemas);
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let first = line.trim_start_matches([' ', '\t', '[', '{', '"', '\'']).split(|c| !is_part(c)).next();
    let is_known = first.is_some_and(|first| known.contains(first) && !secret.contains(first));
    let lower = line.to_ascii_lowercase();
    if line.trim().is_empty() || (is_known && !secret.iter().any(|name| lower.contains(name))) {
        return None;
    }
    let value = line.find(['=', ':']).map_or(line.len() - line.trim_start().len(), |separator| {
        let after = &line[separator + 1..];
        separator + 1 + (after.len() - after.trim_start().len())
    });
    Some(start + value..end)
}

/// The names of all keys, and those of secret keys.
fn names(schemas: &Schemas<'_>) -> (BTreeSet<String>, BTreeSet<String>) {
    fn collect(schema: &serde_json::Value, known: &mut BTreeSet<String>, secret: &mut BTreeSet<String>) {
        for (name, property) in schema.get("properties").and_then(|all| all.as_object()).into_iter().flatten() {
            known.insert(name.clone());
            if property.to_string().contains("x-secret") {
                secret.insert(name.to_ascii_lowercase());
            }
        }
        match schema {
            serde_json::Value::Object(map) => map.values().for_each(|inner| collect(inner, known, secret)),
            serde_json::Value::Array(items) => items.iter().for_each(|inner| collect(inner, known, secret)),
            _ => {}
        }
    }
    let (mut known, mut secret) = (BTreeSet::new(), BTreeSet::new());
    schemas.every().for_each(|schema| collect(schema, &mut known, &mut secret));
    (known, secret)
}
