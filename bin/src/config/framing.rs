//! The framing of a listener: a name, or a table with a type and its options.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::section_settings::SectionSettings;

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
