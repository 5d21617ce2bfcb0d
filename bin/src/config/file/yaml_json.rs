//! Reads YAML and JSON with the place of each key.

use std::fmt;
use std::ops::Range;

use figment::value::{Dict, Tag, Value};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Error as YamlError, Location, Spanned};
use switchboard::settings::text::quoted;

use super::contents::{Contents, SyntaxError};
use crate::config::marks::Marks;
use crate::config::source_text::Mark;
use crate::config::tree;

pub(super) fn parse_yaml(text: &str) -> Result<Contents, SyntaxError> {
    let node = yaml_node(text).map_err(|error| {
        let at = error.location().map(|location| yaml_error_place(text, location));
        SyntaxError { at, what: format!("this is not YAML: {}", yaml_problem(error.without_snippet())) }
    })?;
    contents(node)
}

/// The place of an error, which has no bytes if the scanner found it.
fn yaml_error_place(text: &str, location: Location) -> Range<usize> {
    let place = place(location);
    if place != (0..0) {
        return place;
    }
    let (line, column) = (location.line() as usize, location.column() as usize);
    let start = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum::<usize>();
    let rest = text[start..].split('\n').next().unwrap_or_default();
    let at = rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(at, _)| at);
    start + at..start + at
}

fn place(location: Location) -> Range<usize> {
    let span = location.span();
    match (span.byte_offset(), span.byte_len()) {
        (Some(start), length) => start as usize..(start + length.unwrap_or_default()) as usize,
        (None, _) => 0..0,
    }
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

pub(super) fn parse_json(text: &str) -> Result<Contents, SyntaxError> {
    let node: Node<false> = serde_json::from_str(text).map_err(|error| {
        // The column is the number of bytes that are read of the line.
        let start = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum::<usize>();
        let at = text.floor_char_boundary((start + error.column()).saturating_sub(1).min(text.len()));
        SyntaxError { at: Some(at..at), what: format!("this is not JSON: {}", json_problem(&error.to_string())) }
    })?;
    let json = contents(node)?;
    // The JSON reader keeps no places. Nearly every JSON text is YAML, so the YAML reader finds them; otherwise errors
    // name only the file.
    let yaml = yaml_node(text).ok().and_then(|node| contents(node).ok());
    Ok(yaml.filter(|yaml| yaml.tree == json.tree).unwrap_or(json))
}

/// The problem in plain words and without its position, which the caller knows.
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

fn contents<const PLACES: bool>(node: Node<PLACES>) -> Result<Contents, SyntaxError> {
    let mut contents = Contents::default();
    contents.tree = match value(node, &[], &mut contents.marks) {
        Value::Dict(_, tree) => tree,
        Value::Empty(..) => Dict::new(),
        _ => {
            let what = "a configuration file must be a table of keys and values".into();
            return Err(SyntaxError { at: None, what });
        }
    };
    Ok(contents)
}

fn value<const PLACES: bool>(node: Node<PLACES>, path: &[String], marks: &mut Marks) -> Value {
    let mut inner = |key: &str, mut mark: Mark, node: Node<PLACES>| {
        let path = tree::under(path, key);
        match (&node, &mut mark.value) {
            (Node::Table(_), value) => *value = None,
            // The reader gives only the start of a list.
            (Node::List(items), Some(value)) => {
                value.end = items
                    .iter()
                    .filter_map(|(mark, _)| mark.value.as_ref())
                    .fold(value.end, |end, item| end.max(item.end));
            }
            _ => {}
        }
        if PLACES {
            marks.note(&path, mark);
        }
        value(node, &path, marks)
    };
    match node {
        Node::Leaf(value) => value,
        Node::Table(entries) => {
            let entries = entries.into_iter().map(|(key, mark, node)| {
                let value = inner(&key, mark, node);
                (key, value)
            });
            Value::from(entries.collect::<Dict>())
        }
        Node::List(items) => {
            let items = items.into_iter().enumerate();
            Value::from(items.map(|(index, (mark, node))| inner(&index.to_string(), mark, node)).collect::<Vec<_>>())
        }
    }
}

/// A value of YAML or JSON; with `PLACES` each value has its place.
enum Node<const PLACES: bool> {
    Leaf(Value),
    List(Vec<(Mark, Node<PLACES>)>),
    Table(Vec<(String, Mark, Node<PLACES>)>),
}

impl<'de, const PLACES: bool> Deserialize<'de> for Node<PLACES> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader<const PLACES: bool>;

impl<'de, const PLACES: bool> Visitor<'de> for Reader<PLACES> {
    type Value = Node<PLACES>;

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
        if PLACES {
            while let Some(Spanned { value, referenced, .. }) = seq.next_element::<Spanned<Node<PLACES>>>()? {
                let place = place(referenced);
                items.push((Mark { key: place.clone(), value: Some(place) }, value));
            }
        } else {
            while let Some(value) = seq.next_element()? {
                items.push((Mark { key: 0..0, value: None }, value));
            }
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries: Vec<(String, Mark, Node<PLACES>)> = Vec::new();
        loop {
            let key = if PLACES {
                map.next_key::<Spanned<String>>()?.map(|key| (key.value, place(key.referenced)))
            } else {
                map.next_key::<String>()?.map(|key| (key, 0..0))
            };
            let Some((key, at)) = key else { return Ok(Node::Table(entries)) };
            // serde_json would silently use the last one.
            if entries.iter().any(|(known, ..)| *known == key) {
                return Err(de::Error::custom(format!("duplicate key {}", quoted(&key))));
            }
            let (value, of_value) = if PLACES {
                let Spanned { value, referenced, .. } = map.next_value::<Spanned<Node<PLACES>>>()?;
                (value, Some(place(referenced)))
            } else {
                (map.next_value()?, None)
            };
            entries.push((key, Mark { key: at, value: of_value }, value));
        }
    }
}
