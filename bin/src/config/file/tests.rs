//! Tests of `config/file/mod.rs`.

use figment::value::{Tag, Value};

use super::*;
use crate::config::tree;
use serde_json::json;

fn parsed(name: &str, text: &str) -> Contents {
    parse(FilePath::new(name), text).unwrap_or_else(|error| panic!("{error:?}"))
}

fn rejected(name: &str, text: &str) -> (Option<usize>, String) {
    let SyntaxError { at, what } = parse(FilePath::new(name), text).expect_err(text);
    (at.map(|at| line_at(text, at.start)), what)
}

fn line_at(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

#[test]
fn the_three_formats_give_the_same_values_and_lines() {
    let files = [
        ("a.toml", "listen = 'x'\n[log]\nlevel = 'info'\n[listeners.main]\nlayers = ['a',\n 'b']\nn = 0x10\nf = 1.5\n"),
        ("a.yaml", "listen: x\nlog:\n  level: info\nlisteners:\n  main: {f: 1.5, n: 16,\n    layers: [a, b]}\n"),
        (
            "a.json",
            "{\"listen\":\"x\",\n\"log\":{\n\"level\":\"info\"},\n\"listeners\":{\n\"main\":{\"f\":1.5,\"n\":16,\"layers\":[\"a\",\n\"b\"]}}}",
        ),
    ];
    let expected = json!({
        "listen": "x", "log": {"level": "info"}, "listeners": {"main": {"layers": ["a", "b"], "n": 16, "f": 1.5}}
    });
    for (name, text) in files {
        let contents = parsed(name, text);
        assert_eq!(tree::to_json(&Value::Dict(Tag::Default, contents.tree)), expected, "{name}");
        let line = |key| contents.marks.of(&tree::path(key)).map(|mark| line_at(text, mark.key.start));
        assert_eq!(line("listen"), Some(1), "{name}");
        assert_eq!(line("log.level"), Some(3), "{name}");
        assert_eq!(line("listeners.main.layers.1"), Some(6), "{name}");
        assert_eq!(line("listeners.main.unknown"), Some(if name == "a.toml" { 4 } else { 5 }), "{name}");
        let value = |key| contents.marks.exactly(&tree::path(key)).and_then(|mark| text.get(mark.value.clone()?));
        let quoted = |text: &str| text.trim_matches(['\'', '"']).to_owned();
        assert_eq!(value("listen").map(quoted).as_deref(), Some("x"), "{name}");
        assert_eq!(value("listeners.main.f"), Some("1.5"), "{name}");
        assert_eq!(value("listeners.main.layers.1").map(quoted).as_deref(), Some("b"), "{name}");
        assert_eq!(value("listeners.main"), None, "{name}");
    }
}

#[test]
fn a_syntax_error_is_one_sentence_with_the_line() {
    for (name, text, line, part) in [
        ("a.toml", "a = 1\nb = \n", Some(2), "this is not TOML"),
        ("a.toml", "a = 1\na = 2\n", Some(2), "duplicate key"),
        ("a.json", "{\"a\": 1,\n}", Some(2), "this is not JSON"),
        ("a.json", "{\"a\": 1,\n\"a\": 2}", Some(2), "duplicate key"),
        ("a.json", "[1]", None, "a table of keys"),
        ("a.yaml", "a: 1\na: 2\n", Some(2), "duplicate"),
        ("a.yaml", "a: [1\nb: 2", Some(2), "this is not YAML"),
        ("a.yaml", "- a\n", None, "a table of keys"),
    ] {
        let (found, what) = rejected(name, text);
        assert!(found == line && what.contains(part), "{name} {text:?}: {found:?} {what}");
    }
}

#[test]
fn an_empty_file_sets_nothing() {
    for name in ["a.toml", "a.yaml"] {
        assert!(parsed(name, "# only a remark\n").tree.is_empty(), "{name}");
    }
    assert!(parsed("a.toml", "\u{feff}").tree.is_empty());
}

#[test]
fn an_unquoted_yaml_word_is_a_string_unless_it_is_true_or_false() {
    let tree = parsed("a.yml", "a: no\nb: on\nc: true\nd: \"5\"\ne:\n").tree;
    let expected = json!({"a": "no", "b": "on", "c": true, "d": "5", "e": null});
    assert_eq!(tree::to_json(&Value::Dict(Tag::Default, tree)), expected);
}

#[test]
fn dates_and_infinite_numbers_are_reported_with_their_key() {
    let contents = parsed("a.toml", "a = 2020-01-01\nb = inf\nc = [99999999999999999999]\n");
    let keys: Vec<String> = contents.unsupported.iter().map(|(path, _)| tree::dotted(path)).collect();
    assert_eq!(keys, ["a", "b", "c.0"]);
}
