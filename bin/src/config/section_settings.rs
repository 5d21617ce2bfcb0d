//! The settings of a section whose options are defined by its type.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value as Json};

/// `[handlers.NAME]`, `[layers.NAME]` or a framing.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct SectionSettings {
    /// Type of the section. Default: the name of the section.
    pub(crate) r#type: Option<String>,
    /// The options. Flattening into a plain map keeps the path of errors.
    #[serde(flatten)]
    pub(crate) options: Map<String, Json>,
}
