//! Reads a configuration file (TOML, JSON or YAML) into a tree, and remembers the line of each key.
//!
//! It knows the formats and no key. What cannot be read at all is one sentence with the file and the line.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path as FilePath, PathBuf};

use figment::value::{Dict, Tag, Value};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::diagnostic::{Diagnostic, Origin, quoted};
use super::tree::{self, Path};

/// What stands in a file.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// The values.
    pub(crate) tree: Dict,
    /// The lines.
    pub(crate) lines: Lines,
    /// Values that no key can have, each with a sentence. They are not in the tree.
    pub(crate) strange: Vec<(Path, String)>,
}

/// The line of each key, and of each item of a list.
#[derive(Debug, Default, Clone)]
pub(crate) struct Lines(BTreeMap<Path, usize>);

impl Lines {
    /// The line of a key, or of the nearest table around it that has one.
    pub(crate) fn of(&self, path: &[String]) -> Option<usize> {
        (1..=path.len()).rev().find_map(|end| self.0.get(&path[..end]).copied())
    }

    /// Says that what stands at `from` counts as standing at `to`.
    pub(crate) fn rename(&mut self, from: &[String], to: &[String]) {
        let here = self.0.iter().filter(|(path, _)| path.starts_with(from));
        let moved: Vec<(Path, usize)> = here.map(|(path, line)| ([to, &path[from.len()..]].concat(), *line)).collect();
        // A key that stands there already keeps its line.
        for (path, line) in moved {
            self.0.entry(path).or_insert(line);
        }
    }

    fn note(&mut self, path: &[String], line: usize) {
        // A table can be written in parts, and a number that no format gives is none.
        if line > 0 {
            self.0.entry(path.to_vec()).or_insert(line);
        }
    }
}

/// The file to read: the one that was named, or else the first that exists.
pub(crate) fn choose(named: Option<&FilePath>, search: &[PathBuf]) -> Option<PathBuf> {
    // A file that is there and cannot be read is found here, and told when it is read.
    let there = |path: &&PathBuf| !matches!(fs::metadata(path), Err(error) if error.kind() == io::ErrorKind::NotFound);
    named.map(FilePath::to_owned).or_else(|| search.iter().find(there).cloned())
}

/// Reads a file; `why` says who named it, and stands in the sentence if it cannot be read.
pub(crate) fn read(path: &FilePath, why: Option<&Origin>) -> Result<Contents, Diagnostic> {
    let name = path.display();
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(Diagnostic::general(format!("{name} is not a text file in UTF-8")).from(why.cloned()));
        }
        Err(error) => {
            let error = error.to_string();
            let error = error.split(" (os error").next().unwrap_or_default();
            return Err(Diagnostic::general(format!("{name} cannot be read: {error}")).from(why.cloned()));
        }
    };
    understand(path, &text)
}

/// What a text says that stands in this file, or one sentence with the line.
pub(crate) fn understand(path: &FilePath, text: &str) -> Result<Contents, Diagnostic> {
    parse(path, text).map_err(|(line, what)| {
        let at = Origin::file(&path.display().to_string(), line);
        Diagnostic::general(format!("{at}: {}", what.trim().replace('\n', "; ")))
    })
}

/// What a text in the format of the file's extension says, or the line and a sentence.
pub(crate) fn parse(path: &FilePath, text: &str) -> Result<Contents, (Option<usize>, String)> {
    // An editor on another system may put a mark at the beginning.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase).as_deref() {
        Some("json") => parse_json(text),
        Some("yaml" | "yml") => parse_yaml(text),
        _ => parse_toml(text),
    }
}

fn parse_toml(text: &str) -> Result<Contents, (Option<usize>, String)> {
    let starts: Vec<usize> = text.match_indices('\n').map(|(at, _)| at + 1).collect();
    let line = |at: usize| starts.partition_point(|start| *start <= at) + 1;
    let table = DeTable::parse(text).map_err(|error| {
        (error.span().map(|span| line(span.start)), format!("this is not TOML: {}", error.message()))
    })?;
    let mut contents = Contents::default();
    contents.tree = toml_table(table.get_ref(), &[], &line, &mut contents);
    Ok(contents)
}

fn toml_table(table: &DeTable<'_>, at: &[String], line: &dyn Fn(usize) -> usize, contents: &mut Contents) -> Dict {
    let mut dict = Dict::new();
    for (key, value) in table {
        let path = tree::under(at, key.get_ref());
        contents.lines.note(&path, line(key.span().start));
        if let Some(value) = toml_value(value.get_ref(), &path, line, contents) {
            dict.insert(key.get_ref().to_string(), value);
        }
    }
    dict
}

fn toml_value(
    value: &DeValue<'_>,
    path: &[String],
    line: &dyn Fn(usize) -> usize,
    contents: &mut Contents,
) -> Option<Value> {
    let strange = |what: String, contents: &mut Contents| {
        contents.strange.push((path.to_vec(), what));
        None
    };
    match value {
        DeValue::String(text) => Some(Value::from(text.as_ref())),
        DeValue::Boolean(is) => Some(Value::from(*is)),
        DeValue::Integer(number) => match integer(number) {
            Some(value) => Some(value),
            None => strange(format!("{number} is too large a number"), contents),
        },
        DeValue::Float(number) => match number.as_str().parse::<f64>() {
            Ok(float) if float.is_finite() => Some(Value::from(float)),
            _ => strange(format!("{number} is not a number that a key can have"), contents),
        },
        DeValue::Datetime(date) => {
            strange(format!("{date} is a date, and no key takes one; write it in quotes if it is a text"), contents)
        }
        DeValue::Array(items) => {
            let items = items.iter().enumerate().map(|(index, item)| {
                let path = tree::under(path, &index.to_string());
                contents.lines.note(&path, line(item.span().start));
                // The others must keep their index.
                toml_value(item.get_ref(), &path, line, contents).unwrap_or_else(|| Value::from(""))
            });
            Some(Value::Array(Tag::Default, items.collect()))
        }
        DeValue::Table(table) => Some(Value::Dict(Tag::Default, toml_table(table, path, line, contents))),
    }
}

fn integer(number: &DeInteger<'_>) -> Option<Value> {
    let (digits, radix) = (number.as_str(), number.radix());
    let signed = i64::from_str_radix(digits, radix).map(Value::from);
    signed.or_else(|_| u64::from_str_radix(digits, radix).map(Value::from)).ok()
}

fn parse_yaml(text: &str) -> Result<Contents, (Option<usize>, String)> {
    let node = yaml_node(text).map_err(|error| {
        let line = error.location().and_then(|location| usize::try_from(location.line()).ok());
        let what = error.without_snippet().to_string();
        // The line stands in front already.
        let what = what.rsplit_once(" at line ").map_or(what.as_str(), |(what, _)| what);
        (line, format!("this is not YAML: {what}"))
    })?;
    let mut contents = Contents::default();
    contents.tree = whole(node, &mut contents.lines)?;
    Ok(contents)
}

fn parse_json(text: &str) -> Result<Contents, (Option<usize>, String)> {
    let node: Node<false> = serde_json::from_str(text).map_err(|error| {
        let what = error.to_string();
        let what = what.rsplit_once(" at line ").map_or(what.as_str(), |(what, _)| what);
        (Some(error.line()), format!("this is not JSON: {what}"))
    })?;
    let mut contents = Contents::default();
    contents.tree = whole(node, &mut contents.lines)?;
    // JSON's own reader keeps no lines. Nearly all of JSON is YAML, so that reader can tell them; where it cannot, the
    // faults name the file alone.
    if let Ok(node) = yaml_node(text) {
        let mut lines = Lines::default();
        if whole(node, &mut lines).is_ok_and(|tree| tree == contents.tree) {
            contents.lines = lines;
        }
    }
    Ok(contents)
}

fn yaml_node(text: &str) -> Result<Node<true>, serde_saphyr::Error> {
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options::<Spanned<Node<true>>>(text, options).map(|node| node.value)
}

/// The tree of a whole file: a table, or nothing at all.
fn whole<const LINES: bool>(node: Node<LINES>, lines: &mut Lines) -> Result<Dict, (Option<usize>, String)> {
    match node {
        Node::Table(entries) => Ok(dict(entries, &[], lines)),
        Node::Leaf(Value::Empty(..)) => Ok(Dict::new()),
        Node::Leaf(_) | Node::List(_) => Err((None, "a configuration is a table of keys and values".into())),
    }
}

fn dict<const LINES: bool>(entries: Vec<(String, u64, Node<LINES>)>, at: &[String], lines: &mut Lines) -> Dict {
    let entries = entries.into_iter().map(|(key, line, node)| {
        let path = tree::under(at, &key);
        lines.note(&path, usize::try_from(line).unwrap_or_default());
        let value = value(node, &path, lines);
        (key, value)
    });
    entries.collect()
}

fn value<const LINES: bool>(node: Node<LINES>, path: &[String], lines: &mut Lines) -> Value {
    match node {
        Node::Leaf(value) => value,
        Node::Table(entries) => Value::Dict(Tag::Default, dict(entries, path, lines)),
        Node::List(items) => {
            let items = items.into_iter().enumerate().map(|(index, (line, node))| {
                let path = tree::under(path, &index.to_string());
                lines.note(&path, usize::try_from(line).unwrap_or_default());
                value(node, &path, lines)
            });
            Value::Array(Tag::Default, items.collect())
        }
    }
}

/// A value of YAML or JSON; with `LINES`, the reader is asked for the line of each.
enum Node<const LINES: bool> {
    Leaf(Value),
    List(Vec<(u64, Node<LINES>)>),
    Table(Vec<(String, u64, Node<LINES>)>),
}

impl<'de, const LINES: bool> Deserialize<'de> for Node<LINES> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader<const LINES: bool>;

impl<'de, const LINES: bool> Visitor<'de> for Reader<LINES> {
    type Value = Node<LINES>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, is: bool) -> Result<Self::Value, E> {
        Ok(Node::Leaf(Value::from(is)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Node::Leaf(Value::from(number)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        // One number is one kind of value, whichever reader brought it.
        Ok(Node::Leaf(i64::try_from(number).map_or_else(|_| Value::from(number), Value::from)))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        match number.is_finite() {
            true => Ok(Node::Leaf(Value::from(number))),
            false => Err(E::custom(format!("{number} is not a number that a key can have"))),
        }
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Node::Leaf(Value::from(text)))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Node::Leaf(Value::Empty(Tag::Default, figment::value::Empty::Unit)))
    }

    fn visit_none<E: de::Error>(self) -> Result<Self::Value, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        if LINES {
            while let Some(Spanned { value, referenced, .. }) = seq.next_element::<Spanned<Node<LINES>>>()? {
                items.push((referenced.line(), value));
            }
        } else {
            while let Some(value) = seq.next_element()? {
                items.push((0, value));
            }
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries: Vec<(String, u64, Node<LINES>)> = Vec::new();
        loop {
            let key: Option<(Cow<'_, str>, u64)> = if LINES {
                map.next_key::<Spanned<String>>()?.map(|key| (key.value.into(), key.referenced.line()))
            } else {
                map.next_key::<String>()?.map(|key| (key.into(), 0))
            };
            let Some((key, line)) = key else { return Ok(Node::Table(entries)) };
            // JSON's reader would let the last one win without a word.
            if entries.iter().any(|(known, ..)| *known == key) {
                return Err(de::Error::custom(format!("the key {} stands twice", quoted(&key))));
            }
            let value = map.next_value()?;
            entries.push((key.into_owned(), line, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tree::path;
    use serde_json::json;

    fn parsed(name: &str, text: &str) -> Contents {
        parse(FilePath::new(name), text).unwrap_or_else(|error| panic!("{error:?}"))
    }

    fn refused(name: &str, text: &str) -> (Option<usize>, String) {
        parse(FilePath::new(name), text).expect_err(text)
    }

    #[test]
    fn the_three_formats_say_the_same_with_lines() {
        let files = [
            (
                "a.toml",
                "listen = 'x'\n[log]\nlevel = 'info'\n[listeners.main]\nlayers = ['a',\n 'b']\nn = 0x10\nf = 1.5\n",
            ),
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
            assert_eq!(contents.lines.of(&path("listen")), Some(1), "{name}");
            assert_eq!(contents.lines.of(&path("log.level")), Some(3), "{name}");
            assert_eq!(contents.lines.of(&path("listeners.main.layers.1")), Some(6), "{name}");
            assert_eq!(
                contents.lines.of(&path("listeners.main.unknown")),
                Some(if name == "a.toml" { 4 } else { 5 }),
                "{name}"
            );
        }
    }

    #[test]
    fn a_file_that_is_not_its_format_is_one_sentence_with_the_line() {
        for (name, text, line, part) in [
            ("a.toml", "a = 1\nb = \n", Some(2), "this is not TOML"),
            ("a.toml", "a = 1\na = 2\n", Some(2), "duplicate key"),
            ("a.json", "{\"a\": 1,\n}", Some(2), "this is not JSON"),
            ("a.json", "{\"a\": 1,\n\"a\": 2}", Some(2), "stands twice"),
            ("a.json", "[1]", None, "a table of keys"),
            ("a.yaml", "a: 1\na: 2\n", Some(2), "duplicate"),
            ("a.yaml", "a: [1\nb: 2", Some(2), "this is not YAML"),
            ("a.yaml", "- a\n", None, "a table of keys"),
        ] {
            let (found, what) = refused(name, text);
            assert!(found == line && what.contains(part), "{name} {text:?}: {found:?} {what}");
        }
    }

    #[test]
    fn an_empty_file_says_nothing() {
        for name in ["a.toml", "a.yaml"] {
            assert!(parsed(name, "# only a remark\n").tree.is_empty(), "{name}");
        }
        assert!(parsed("a.toml", "\u{feff}").tree.is_empty());
    }

    #[test]
    fn a_yaml_word_is_a_text_unless_it_is_true_or_false() {
        let tree = parsed("a.yml", "a: no\nb: on\nc: true\nd: \"5\"\ne:\n").tree;
        let expected = json!({"a": "no", "b": "on", "c": true, "d": "5", "e": null});
        assert_eq!(tree::to_json(&Value::Dict(Tag::Default, tree)), expected);
    }

    #[test]
    fn dates_and_endless_numbers_are_told_with_their_key() {
        let contents = parsed("a.toml", "a = 2020-01-01\nb = inf\nc = [99999999999999999999]\n");
        let keys: Vec<String> = contents.strange.iter().map(|(path, _)| tree::dotted(path)).collect();
        assert_eq!(keys, ["a", "b", "c.0"]);
    }
}
