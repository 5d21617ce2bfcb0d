//! Tests of `config/tree.rs`.

use super::*;
use serde_json::json;

fn dict(json: &Json) -> Dict {
    from_json(json).into_dict().unwrap()
}

#[test]
fn values_are_read_inserted_and_removed_by_path() {
    let mut tree = dict(&json!({"a": {"b": 1, "c": ["x", "y"]}, "d": {}}));
    assert_eq!(get(&tree, &path("a.c.1")).unwrap().as_str(), Some("y"));
    assert!(get(&tree, &path("a.b.z")).is_none());
    insert(&mut tree, &path("a.b.z"), Value::from("deep"));
    assert_eq!(get_text(&tree, &path("a.b.z")), Some("deep"));
    assert!(remove(&mut tree, &path("a.c.0"), Value::from("gone")));
    assert_eq!(get_text(&tree, &path("a.c.0")), Some("gone"));
    assert_eq!(get_text(&tree, &path("a.c.1")), Some("y"));
    assert!(remove(&mut tree, &path("a.b"), table()));
    assert!(!remove(&mut tree, &path("a.b"), table()));
    let leaves: Vec<String> = leaves(&tree).iter().map(|(path, _)| dotted(path)).collect();
    assert_eq!(leaves, ["a.c", "d"]);
}

#[test]
fn differences_are_listed_by_key_and_an_added_or_removed_table_as_one() {
    let one = json!({"a": {"b": 1, "c": ["x"], "same": true}, "gone": {"e": 1, "f": 2}});
    let other = json!({"a": {"b": 2, "c": ["x", "y"], "same": true}, "new": {"e": 1}});
    let found: Vec<String> = differences(&one, &other).iter().map(|(path, ..)| dotted(path)).collect();
    assert_eq!(found, ["a.b", "a.c", "gone", "new"]);
}

#[test]
fn odd_keys_are_quoted() {
    let odd = ["a".into(), "b.c".into(), String::new()];
    assert_eq!(dotted(&odd), "a.\"b.c\".\"\"");
    assert_eq!(path(&dotted(&odd)), odd);
}

#[test]
fn numbers_survive_a_round_trip() {
    let json = json!({"a": [1, -1, 1.5, true, "x", u64::MAX], "b": {}});
    assert_eq!(to_json(&from_json(&json)), json);
}
