//! Trees of values and paths into them. The trees are figment's: each value has the tag of its source.

use std::collections::BTreeSet;

use figment::value::{Dict, Tag, Value};
use serde_json::Value as Json;

/// A key and its enclosing tables, the outermost first.
pub(crate) type Path = Vec<String>;

/// The segments of a key. A segment in double quotes can contain dots.
pub(crate) fn path(dotted: &str) -> Path {
    let mut is_quoted = false;
    let segments = dotted.split(|c| {
        is_quoted ^= c == '"';
        c == '.' && !is_quoted
    });
    let unquoted = |segment: &str| segment.strip_prefix('"')?.strip_suffix('"').map(str::to_owned);
    segments.map(|segment| unquoted(segment).unwrap_or_else(|| segment.to_owned())).collect()
}

pub(crate) fn under(table: &[String], key: &str) -> Path {
    let mut path = table.to_vec();
    path.push(key.to_owned());
    path
}

pub(crate) fn dotted(path: &[String]) -> String {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let segments = path.iter().map(|segment| match segment.chars().all(plain) && !segment.is_empty() {
        true => segment.clone(),
        false => format!("{segment:?}"),
    });
    segments.collect::<Vec<_>>().join(".")
}

pub(crate) fn table() -> Value {
    Value::Dict(Tag::Default, Dict::new())
}

/// The value at `path`. The segment of a list item is its index.
pub(crate) fn get<'v>(dict: &'v Dict, path: &[String]) -> Option<&'v Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(dict.get(first)?, |value, segment| match value {
        Value::Dict(_, dict) => dict.get(segment),
        Value::Array(_, items) => items.get(segment.parse::<usize>().ok()?),
        _ => None,
    })
}

pub(crate) fn get_table<'v>(dict: &'v Dict, path: &[String]) -> Option<&'v Dict> {
    get(dict, path).and_then(Value::as_dict)
}

pub(crate) fn get_text<'v>(dict: &'v Dict, path: &[String]) -> Option<&'v str> {
    get(dict, path).and_then(Value::as_str)
}

pub(crate) fn names(dict: &Dict, path: &[String]) -> Vec<String> {
    get_table(dict, path).into_iter().flat_map(Dict::keys).cloned().collect()
}

/// Inserts a value at `path` and creates the enclosing tables. An enclosing value that is not a table is replaced.
pub(crate) fn insert(dict: &mut Dict, path: &[String], value: Value) {
    match path {
        [] => {}
        [key] => {
            dict.insert(key.clone(), value);
        }
        [key, rest @ ..] => {
            let entry = dict.entry(key.clone()).or_insert_with(table);
            if entry.as_dict().is_none() {
                *entry = table();
            }
            if let Value::Dict(_, inner) = entry {
                insert(inner, rest, value);
            }
        }
    }
}

/// Removes the value at `path`; false if there is no value.
///
/// A list item is replaced by `placeholder`: the other items keep their index and thus their line.
pub(crate) fn remove(dict: &mut Dict, path: &[String], placeholder: Value) -> bool {
    fn remove_in(value: &mut Value, path: &[String], placeholder: Value) -> bool {
        match (value, path) {
            (Value::Dict(_, dict), _) => remove(dict, path, placeholder),
            (Value::Array(_, items), [index, rest @ ..]) => {
                match (index.parse().ok().and_then(|index: usize| items.get_mut(index)), rest) {
                    (Some(item), []) => {
                        *item = placeholder;
                        true
                    }
                    (Some(item), rest) => remove_in(item, rest, placeholder),
                    (None, _) => false,
                }
            }
            _ => false,
        }
    }
    match path {
        [] => false,
        [key] => dict.remove(key).is_some(),
        [key, rest @ ..] => dict.get_mut(key).is_some_and(|value| remove_in(value, rest, placeholder)),
    }
}

/// Every value that is not a table, with its path. A list is one value; so is an empty table.
pub(crate) fn leaves(dict: &Dict) -> Vec<(Path, &Value)> {
    fn walk<'v>(dict: &'v Dict, at: &[String], found: &mut Vec<(Path, &'v Value)>) {
        for (key, value) in dict {
            let path = under(at, key);
            match value {
                Value::Dict(_, inner) if !inner.is_empty() => walk(inner, &path, found),
                _ => found.push((path, value)),
            }
        }
    }
    let mut found = Vec::new();
    walk(dict, &[], &mut found);
    found
}

/// A key that differs between two configurations: its value before and after.
pub(crate) type Difference<'v> = (Path, Option<&'v Json>, Option<&'v Json>);

/// The keys that differ. A table that only one configuration has is one key.
pub(crate) fn differences<'v>(before: &'v Json, after: &'v Json) -> Vec<Difference<'v>> {
    fn walk<'v>(before: &'v Json, after: &'v Json, at: &[String], found: &mut Vec<Difference<'v>>) {
        let (Some(old), Some(new)) = (before.as_object(), after.as_object()) else {
            if before != after {
                found.push((at.to_vec(), Some(before), Some(after)));
            }
            return;
        };
        for key in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
            match (old.get(key), new.get(key)) {
                (Some(old), Some(new)) => walk(old, new, &under(at, key), found),
                (old, new) => found.push((under(at, key), old, new)),
            }
        }
    }
    let mut found = Vec::new();
    walk(before, after, &[], &mut found);
    found
}

pub(crate) fn to_json(value: &Value) -> Json {
    serde_json::to_value(value).unwrap_or_default()
}

pub(crate) fn from_json(json: &Json) -> Value {
    Value::serialize(json).unwrap_or_else(|_| table())
}

/// Maximum number of reported errors. Each one is found by another check of the tree, which is slow for a large tree.
pub(crate) const MAX_ERRORS: usize = 100;

/// Finds the errors of a tree, at most [`MAX_ERRORS`]. `check` returns the first error, and is repeated until no error
/// is left.
///
/// An invalid value is removed, and a missing value or invalid list item is replaced by `placeholder`, so that one
/// mistake is one error and hides no other.
pub(crate) fn every_error(
    dict: &mut Dict,
    check: impl Fn(&Dict) -> Result<(), (Path, String)>,
    placeholder: impl Fn(&[String]) -> Value,
) -> Vec<(Path, String)> {
    let (mut errors, mut replaced) = (Vec::<(Path, String)>::new(), BTreeSet::new());
    while let Err((path, what)) = check(dict) {
        let is_repeated = errors.iter().any(|(reported, _)| *reported == path);
        let goes_on = if get(dict, &path).is_none() {
            insert(dict, &path, placeholder(&path));
            replaced.insert(path.clone())
        } else {
            // If the placeholder is invalid too, the enclosing list is removed, so that the rest is still checked.
            let invalid = if is_repeated { &path[..path.len().saturating_sub(1)] } else { &path[..] };
            remove(dict, invalid, placeholder(invalid))
        };
        if !is_repeated {
            errors.push((path, what));
        }
        if !goes_on || errors.len() >= MAX_ERRORS {
            break;
        }
    }
    errors
}

#[cfg(test)]
mod tests;
