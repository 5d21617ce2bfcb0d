//! The framing of a listener: a name, or a table with the options of a built-in framing.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use switchboard::framing::{AnyFraming, BUILT_IN, ByteOrder, Delimited, FramingOption, JsonLines, Length, Lines, Raw};
use switchboard::settings::Size;
use switchboard::settings::units::deserialize_text;

use super::coerce::read_table;
use super::constraints::message;
use super::diagnostic::{known, quoted, unknown};
use super::schemas::Expected;
use super::tree;

/// An invalid framing: the option, if the error is about one, and the message.
type Wrong = (Option<&'static str>, String);

/// The setting, before the options are checked against the framing.
#[derive(Debug)]
pub(crate) enum FramingSetting {
    /// `framing = "lines"`
    Name(FramingName),
    /// `framing = { type = "length", width = 2 }`
    Table(FramingTable),
}

/// A framing with options.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FramingTable {
    /// raw, lines, length, delimited or json-lines.
    #[schemars(with = "Option<String>", example = &"lines")]
    r#type: Option<FramingName>,
    /// Largest message. Replaces limits.frame.
    max: Option<Size>,
    /// length: bytes of the length field.
    #[schemars(extend("enum" = [1, 2, 3, 4, 8]))]
    width: Option<usize>,
    /// length: byte order of the length field.
    order: Option<Order>,
    /// length: bytes of the message before the length field.
    #[schemars(range(max = 255))]
    offset: Option<usize>,
    /// delimited: the text that ends a message.
    #[serde(deserialize_with = "delimiter")]
    #[schemars(example = "|")]
    delimiter: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
enum Order {
    Big,
    Little,
}

fn delimiter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    deserialize_text(deserializer, "a delimiter; write it as text, like \"|\"", |text| match text.len() {
        0 => Err("a delimiter cannot be empty; write it like \"|\"".to_owned()),
        1..=255 => Ok(Some(text.to_owned())),
        long => Err(format!("a delimiter of {long} bytes is too long; 1 to 255 bytes are possible")),
    })
}

/// The name of a built-in framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FramingName(&'static str);

impl FramingName {
    fn parse(text: &str) -> Result<Self, String> {
        let names = || BUILT_IN.iter().map(|entry| entry.name);
        let found = names().find(|name| *name == text).map(Self);
        found.ok_or_else(|| format!("{} {}", quoted(text), unknown("is not a framing", text, names())))
    }
}

impl<'de> Deserialize<'de> for FramingName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer, "the name of a framing; write it like \"lines\"", Self::parse)
    }
}

impl<'de> Deserialize<'de> for FramingSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = FramingSetting;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a framing; write its name, like \"lines\", or a table, like { type = \"length\", width = 2 }",
                )
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<FramingSetting, E> {
                FramingName::parse(name).map(FramingSetting::Name).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FramingSetting, A::Error> {
                // Reading from the same map keeps the path of errors.
                FramingTable::deserialize(MapAccessDeserializer::new(map)).map(FramingSetting::Table)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl JsonSchema for FramingSetting {
    fn schema_name() -> Cow<'static, str> {
        "Framing".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let names: Vec<_> = BUILT_IN.iter().map(|entry| entry.name).collect();
        let table = generator.subschema_for::<FramingTable>();
        json_schema!({ "anyOf": [{ "type": "string", "enum": names }, table] })
    }
}

/// The framing in a text: a name, or a table such as `{ type = "length", width = 2 }`.
pub(crate) fn read_framing(text: &str) -> Result<AnyFraming, String> {
    let setting = if text.trim_start().starts_with('{') {
        let table = read_table(text).ok_or_else(|| format!("{} is not a table of TOML or JSON", quoted(text)))?;
        let dict = table.as_dict().cloned().unwrap_or_default();
        FramingSetting::deserialize(&table).map_err(|error| {
            let what = message(&dict, &error.path, error.kind, &Expected::default());
            format!("{}: {what}", tree::dotted(&error.path))
        })?
    } else {
        FramingSetting::Name(FramingName::parse(text)?)
    };
    build(&setting).map_err(|wrong| {
        let sentences = wrong.into_iter().map(|(key, what)| match key {
            Some(key) => format!("{key}: {what}"),
            None => what,
        });
        sentences.collect::<Vec<_>>().join("; ")
    })
}

/// The configured framing.
pub(crate) fn build(setting: &FramingSetting) -> Result<AnyFraming, Vec<Wrong>> {
    let plain = FramingTable::default();
    let (name, table) = match setting {
        FramingSetting::Name(name) => (name.0, &plain),
        FramingSetting::Table(table) => (table.r#type.ok_or_else(no_type)?.0, table),
    };
    let options = BUILT_IN.iter().find(|entry| entry.name == name).map_or(&[][..], |entry| entry.options);
    let wrong = unknown_options(name, table, options);
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let max = table.max.map(|size| *size);
    Ok(match name {
        "lines" => AnyFraming::Lines(with_max(Lines::default(), Lines::max, max)),
        "json-lines" => AnyFraming::JsonLines(with_max(JsonLines::default(), JsonLines::max, max)),
        "length" => AnyFraming::Length(with_max(length(table)?, Length::max, max)),
        "delimited" => AnyFraming::Delimited(with_max(delimited(table)?, Delimited::max, max)),
        _ => AnyFraming::Raw(with_max(Raw::default(), Raw::max, max)),
    })
}

fn with_max<F>(framing: F, set: fn(F, usize) -> F, max: Option<usize>) -> F {
    match max {
        Some(max) => set(framing, max),
        None => framing,
    }
}

fn no_type() -> Vec<Wrong> {
    let names: Vec<_> = BUILT_IN.iter().map(|entry| entry.name).collect();
    vec![(Some("type"), format!("is missing; it is one of {}", names.join(", ")))]
}

/// Options that this framing does not have.
fn unknown_options(name: &str, table: &FramingTable, options: &[FramingOption]) -> Vec<Wrong> {
    let set = [
        ("max", table.max.is_some()),
        ("width", table.width.is_some()),
        ("order", table.order.is_some()),
        ("offset", table.offset.is_some()),
        ("delimiter", table.delimiter.is_some()),
    ];
    let is_unknown = |key: &str| !options.iter().any(|option| option.name == key);
    let unknown = set.into_iter().filter(|(key, is_set)| *is_set && is_unknown(key));
    let known = || known(options.iter().map(|option| option.name));
    unknown.map(|(key, _)| (Some(key), format!("is not an option of the framing {name}. {}", known()))).collect()
}

fn length(table: &FramingTable) -> Result<Length, Vec<Wrong>> {
    let order = match table.order {
        Some(Order::Little) => ByteOrder::Little,
        Some(Order::Big) | None => ByteOrder::Big,
    };
    let length = Length::new(table.width.unwrap_or(4), order, table.offset.unwrap_or(0));
    length.map_err(|error| vec![(None, error.to_string())])
}

fn delimited(table: &FramingTable) -> Result<Delimited, Vec<Wrong>> {
    let delimiter = table.delimiter.as_ref().and_then(Delimited::new);
    let what = "is missing; write the framing like { type = \"delimited\", delimiter = \"|\" }";
    delimiter.ok_or_else(|| vec![(Some("delimiter"), what.to_owned())])
}
