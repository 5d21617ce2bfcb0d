//! Trees of values and paths into them. The trees are figment's: each value has the tag of its source.

use std::collections::BTreeSet;

use figment::value::{Dict, Tag, Value};
use serde_json::Value as Json;

/// A key and its enclosing tables, the outermost first.
pub(crate) type Path = Vec<String>;

/// The path of a key in dotted form.
pub(crate) fn path(dotted: &str) -> Path {
    dotted.split('.').map(str::to_owned).collect()
}

/// The path of `key` in the table at `table`.
pub(crate) fn under(table: &[String], key: &str) -> Path {
    let mut path = table.to_vec();
    path.push(key.to_owned());
    path
}

/// A path in dotted form.
pub(crate) fn dotted(path: &[String]) -> String {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let segments = path.iter().map(|segment| match segment.chars().all(plain) && !segment.is_empty() {
        true => segment.clone(),
        false => format!("{segment:?}"),
    });
    segments.collect::<Vec<_>>().join(".")
}

/// An empty table.
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

/// The table at `path`.
pub(crate) fn get_table<'v>(dict: &'v Dict, path: &[String]) -> Option<&'v Dict> {
    get(dict, path).and_then(Value::as_dict)
}

/// The text at `path`.
pub(crate) fn get_text<'v>(dict: &'v Dict, path: &[String]) -> Option<&'v str> {
    get(dict, path).and_then(Value::as_str)
}

/// The keys of the table at `path`.
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
pub(crate) fn remove(dict: &mut Dict, path: &[String], placeholder: impl FnOnce() -> Value) -> bool {
    let Some((last, parent)) = path.split_last() else { return false };
    let Some((first, rest)) = parent.split_first() else { return dict.remove(last).is_some() };
    let Some(mut at) = dict.get_mut(first) else { return false };
    for segment in rest {
        let next = match at {
            Value::Dict(_, dict) => dict.get_mut(segment),
            Value::Array(_, items) => segment.parse::<usize>().ok().and_then(|index| items.get_mut(index)),
            _ => None,
        };
        let Some(next) = next else { return false };
        at = next;
    }
    match at {
        Value::Dict(_, dict) => dict.remove(last).is_some(),
        Value::Array(_, items) => match last.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
            Some(item) => {
                *item = placeholder();
                true
            }
            None => false,
        },
        _ => false,
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

/// The paths at which two trees differ. A table that only one tree has is one path.
pub(crate) fn differences(one: &Dict, other: &Dict, at: &[String], found: &mut Vec<Path>) {
    let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
    for key in keys {
        match (one.get(key), other.get(key)) {
            (Some(Value::Dict(_, one)), Some(Value::Dict(_, other))) => differences(one, other, &under(at, key), found),
            (Some(one), Some(other)) if to_json(one) == to_json(other) => {}
            _ => found.push(under(at, key)),
        }
    }
}

/// The same value without tags.
pub(crate) fn to_json(value: &Value) -> Json {
    match value {
        Value::String(_, text) => Json::String(text.clone()),
        Value::Bool(_, is) => Json::Bool(*is),
        Value::Dict(_, dict) => Json::Object(dict.iter().map(|(key, value)| (key.clone(), to_json(value))).collect()),
        Value::Array(_, items) => Json::Array(items.iter().map(to_json).collect()),
        Value::Char(..) | Value::Num(..) | Value::Empty(..) => serde_json::to_value(value).unwrap_or(Json::Null),
    }
}

/// The same value, without a source.
pub(crate) fn from_json(json: &Json) -> Value {
    match json {
        Json::Null => Value::Empty(Tag::Default, figment::value::Empty::Unit),
        Json::Bool(is) => Value::from(*is),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::from(number),
            (None, Some(number)) => Value::from(number),
            (None, None) => Value::from(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => Value::Array(Tag::Default, items.iter().map(from_json).collect()),
        Json::Object(map) => {
            Value::Dict(Tag::Default, map.iter().map(|(key, value)| (key.clone(), from_json(value))).collect())
        }
    }
}

/// Finds every error of a tree, one per round: each is reported and removed.
///
/// `check` returns the first error. `placeholder` replaces an invalid list item.
pub(crate) fn every_error<E>(
    dict: &mut Dict,
    mut check: impl FnMut(&Dict) -> Result<(), (Path, E)>,
    mut tell: impl FnMut(&Dict, &[String], E),
    placeholder: impl Fn(&[String]) -> Value,
) {
    let mut seen: Vec<Path> = Vec::new();
    while let Err((path, error)) = check(dict) {
        let is_repeated = seen.contains(&path);
        if !is_repeated {
            tell(dict, &path, error);
        }
        // If the placeholder is invalid too, the enclosing list is removed, so that the rest is still checked.
        let invalid = if is_repeated { &path[..path.len().saturating_sub(1)] } else { &path[..] };
        if !remove(dict, invalid, || placeholder(invalid)) {
            return;
        }
        seen.push(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn dict(json: &Json) -> Dict {
        from_json(json).into_dict().unwrap()
    }

    #[test]
    fn values_are_found_put_and_taken_by_path() {
        let mut tree = dict(&json!({"a": {"b": 1, "c": ["x", "y"]}, "d": {}}));
        assert_eq!(get(&tree, &path("a.c.1")).unwrap().as_str(), Some("y"));
        assert!(get(&tree, &path("a.b.z")).is_none());
        insert(&mut tree, &path("a.b.z"), Value::from("deep"));
        assert_eq!(get_text(&tree, &path("a.b.z")), Some("deep"));
        assert!(remove(&mut tree, &path("a.c.0"), || Value::from("gone")));
        assert_eq!(get_text(&tree, &path("a.c.0")), Some("gone"));
        assert_eq!(get_text(&tree, &path("a.c.1")), Some("y"));
        assert!(remove(&mut tree, &path("a.b"), table));
        assert!(!remove(&mut tree, &path("a.b"), table));
        let leaves: Vec<String> = leaves(&tree).iter().map(|(path, _)| dotted(path)).collect();
        assert_eq!(leaves, ["a.c", "d"]);
    }

    #[test]
    fn differences_are_named_by_their_keys_and_a_lone_table_by_its_own() {
        let one = dict(&json!({"a": {"b": 1, "c": ["x"], "same": true}, "gone": {"e": 1, "f": 2}}));
        let other = dict(&json!({"a": {"b": 2, "c": ["x", "y"], "same": true}, "new": {"e": 1}}));
        let mut found = Vec::new();
        differences(&one, &other, &[], &mut found);
        let found: Vec<String> = found.iter().map(|path| dotted(path)).collect();
        assert_eq!(found, ["a.b", "a.c", "gone", "new"]);
    }

    #[test]
    fn odd_keys_are_quoted() {
        assert_eq!(dotted(&["a".into(), "b.c".into(), String::new()]), "a.\"b.c\".\"\"");
    }

    #[test]
    fn numbers_survive_the_way_there_and_back() {
        let json = json!({"a": [1, -1, 1.5, true, "x", u64::MAX], "b": {}});
        assert_eq!(to_json(&from_json(&json)), json);
    }
}
