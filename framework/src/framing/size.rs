//! A size as an option: text with a unit.

use std::borrow::Cow;
use std::ops::Deref;

use bytesize::ByteSize;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error, Unexpected};

/// A size of 1 byte to 1 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(usize);

const EXPECTED: &str = "a size; write it like \"64KiB\"";

impl From<usize> for Size {
    fn from(bytes: usize) -> Self {
        Self(bytes)
    }
}

impl Deref for Size {
    type Target = usize;

    fn deref(&self) -> &usize {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let size: ByteSize = text.parse().map_err(|_| D::Error::invalid_value(Unexpected::Str(&text), &EXPECTED))?;
        match size.as_u64() {
            bytes @ 1..=0x4000_0000 => Ok(Self(usize::try_from(bytes).unwrap_or(usize::MAX))),
            _ => Err(D::Error::custom(format!("{text:?} is out of range; 1B to 1GiB are possible"))),
        }
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "examples": ["64KiB"] })
    }
}
