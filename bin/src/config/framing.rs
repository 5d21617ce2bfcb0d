//! The framing of a listener: a name, or a table with a type and its options.

use std::borrow::Cow;
use std::fmt;

use figment::value::Dict;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use switchboard::Registry;
use switchboard::framing::AnyFraming;

use super::coerce::read_table;
use super::diagnostic::{quoted, unknown};
use super::options::OptionCheck;
use super::section_settings::SectionSettings;
use super::tree;

/// The type and options of a framing. A name is a framing without options.
#[derive(Debug)]
pub(crate) struct FramingSetting(pub(crate) SectionSettings);

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
                Ok(FramingSetting(SectionSettings { r#type: Some(name.to_owned()), ..SectionSettings::default() }))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FramingSetting, A::Error> {
                SectionSettings::deserialize(MapAccessDeserializer::new(map)).map(FramingSetting)
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
        let table = generator.subschema_for::<SectionSettings>();
        json_schema!({ "anyOf": [{ "type": "string", "examples": ["lines"] }, table] })
    }
}

/// Builds a framing from text: a name, or a table such as `{ type = "length", width = 2 }`.
pub(crate) fn read_framing(text: &str) -> Result<AnyFraming, String> {
    let registry = Registry::new();
    let mut options = if text.trim_start().starts_with('{') {
        let table = read_table(text).and_then(|table| table.into_dict());
        table.ok_or_else(|| format!("{} is not a table of TOML or JSON", quoted(text)))?
    } else {
        Dict::from([("type".to_owned(), text.into())])
    };
    let name = options.remove("type").and_then(|name| name.into_string()).unwrap_or_default();
    let names: Vec<_> = registry.framings().map(|entry| entry.name()).collect();
    let entry = registry.framing_entry(&name);
    let entry = entry.ok_or_else(|| format!("{} {}", quoted(&name), unknown("is not a framing", &name, names)))?;
    let mut errors = Vec::new();
    let check = OptionCheck { at: &[], entry: entry.info() };
    check.errors(options.clone(), |path, what| errors.push(format!("{}: {what}", tree::dotted(path))));
    if errors.is_empty() {
        entry.build(tree::to_json(&options.into())).map_err(|error| error.to_string())
    } else {
        Err(errors.join("; "))
    }
}
