//! Reads YAML and JSON with the line of each key.

use std::fmt;

use figment::value::{Dict, Tag, Value};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Error as YamlError, Spanned};

use super::contents::{Contents, Lines};
use crate::config::diagnostic::quoted;
use crate::config::tree;

pub(super) fn parse_yaml(text: &str) -> Result<Contents, (Option<usize>, String)> {
    let node = yaml_node(text).map_err(|error| {
        let line = error.location().and_then(|location| usize::try_from(location.line()).ok());
        (line, format!("this is not YAML: {}", yaml_problem(error.without_snippet())))
    })?;
    contents(node)
}

/// The problem without advice for programmers, and without text of the file, which may be a secret.
fn yaml_problem(error: &YamlError) -> &str {
    match error {
        YamlError::DuplicateMappingKey { .. } => "duplicate key",
        YamlError::MultipleDocuments { .. } => "the file contains more than one document; keep one",
        YamlError::Eof { .. } => "the text ends too early",
        YamlError::UnknownAnchor { .. } => "an alias refers to an unknown anchor",
        YamlError::MergeValueNotMapOrSeqOfMaps { .. } | YamlError::MergeKeyNotAllowed { .. } => {
            "the value of a merge key (<<) is not a table"
        }
        YamlError::Budget { .. }
        | YamlError::AliasReplayCounterOverflow { .. }
        | YamlError::AliasReplayLimitExceeded { .. }
        | YamlError::AliasExpansionLimitExceeded { .. }
        | YamlError::AliasReplayStackDepthExceeded { .. }
        | YamlError::RecursiveReferencesRequireWeakTypes { .. } => "it has too many values, aliases or nested tables",
        YamlError::InvalidUtf8Input | YamlError::IOError { .. } => "it is not UTF-8 text",
        // The messages of the visitor below.
        YamlError::Message { msg, .. } => msg,
        // The messages of the scanner are fixed texts, such as "unclosed quote".
        YamlError::ExternalMessage { msg, .. } if !msg.contains("include") => match &**msg {
            "recursion limit exceeded" => "tables or lists are nested too deeply",
            msg => msg,
        },
        YamlError::AliasError { .. } => "the value of an alias cannot be used here",
        _ => "a value has a tag, or a form that a configuration cannot have; use texts, numbers, lists and tables",
    }
}

pub(super) fn parse_json(text: &str) -> Result<Contents, (Option<usize>, String)> {
    let node: Node<false> = serde_json::from_str(text)
        .map_err(|error| (Some(error.line()), format!("this is not JSON: {}", json_problem(&error.to_string()))))?;
    let json = contents(node)?;
    // The JSON reader keeps no lines. Nearly every JSON text is YAML, so the YAML reader finds them; otherwise errors
    // name only the file.
    let yaml = yaml_node(text).ok().and_then(|node| contents(node).ok());
    Ok(yaml.filter(|yaml| yaml.tree == json.tree).unwrap_or(json))
}

/// The problem in plain words and without its position: the caller prefixes the line.
fn json_problem(error: &str) -> &str {
    match error.rsplit_once(" at line ").map_or(error, |(what, _)| what) {
        what if what.starts_with("EOF while parsing") => "the text ends too early",
        "expected ident" | "expected value" => "a value is expected: a text in quotes, a number, true, false, [ or {",
        "key must be a string" => "a key in quotes is expected",
        "recursion limit exceeded" => "tables or lists are nested too deeply",
        "trailing characters" => "there is more text after the end of the table",
        what => what,
    }
}

fn yaml_node(text: &str) -> Result<Node<true>, YamlError> {
    let options = serde_saphyr::options! { strict_booleans: true };
    serde_saphyr::from_str_with_options::<Spanned<Node<true>>>(text, options).map(|node| node.value)
}

fn contents<const LINES: bool>(node: Node<LINES>) -> Result<Contents, (Option<usize>, String)> {
    let mut contents = Contents::default();
    contents.tree = match value(node, &[], &mut contents.lines) {
        Value::Dict(_, tree) => tree,
        Value::Empty(..) => Dict::new(),
        _ => return Err((None, "a configuration file must be a table of keys and values".into())),
    };
    Ok(contents)
}

fn value<const LINES: bool>(node: Node<LINES>, path: &[String], lines: &mut Lines) -> Value {
    let mut inner = |key: &str, line, node| {
        let path = tree::under(path, key);
        lines.note(&path, line);
        value(node, &path, lines)
    };
    match node {
        Node::Leaf(value) => value,
        Node::Table(entries) => {
            let entries = entries.into_iter().map(|(key, line, node)| {
                let value = inner(&key, line, node);
                (key, value)
            });
            Value::from(entries.collect::<Dict>())
        }
        Node::List(items) => {
            let items = items.into_iter().enumerate();
            Value::from(items.map(|(index, (line, node))| inner(&index.to_string(), line, node)).collect::<Vec<_>>())
        }
    }
}

/// A value of YAML or JSON; with `LINES` each value has its line.
enum Node<const LINES: bool> {
    Leaf(Value),
    List(Vec<(usize, Node<LINES>)>),
    Table(Vec<(String, usize, Node<LINES>)>),
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
        // Both readers must produce the same kind of value.
        Ok(Node::Leaf(i64::try_from(number).map_or_else(|_| Value::from(number), Value::from)))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        match number.is_finite() {
            true => Ok(Node::Leaf(Value::from(number))),
            false => Err(E::custom(format!("{number} is not a finite number"))),
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
                items.push((referenced.line() as usize, value));
            }
        } else {
            while let Some(value) = seq.next_element()? {
                items.push((0, value));
            }
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries: Vec<(String, usize, Node<LINES>)> = Vec::new();
        loop {
            let key = if LINES {
                map.next_key::<Spanned<String>>()?.map(|key| (key.value, key.referenced.line() as usize))
            } else {
                map.next_key::<String>()?.map(|key| (key, 0))
            };
            let Some((key, line)) = key else { return Ok(Node::Table(entries)) };
            // serde_json would silently use the last one.
            if entries.iter().any(|(known, ..)| *known == key) {
                return Err(de::Error::custom(format!("duplicate key {}", quoted(&key))));
            }
            let value = map.next_value()?;
            entries.push((key, line, value));
        }
    }
}
