//! The options of an entry: any type that serde reads and schemars describes.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Options of a handler or layer. Doc comments become descriptions, `#[serde(default)]` gives defaults; use
/// `#[serde(deny_unknown_fields)]`, so that a slip of the pen is told and not ignored.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be used as options: derive `serde::Deserialize` and `schemars::JsonSchema` for it",
    label = "add `#[derive(Deserialize, JsonSchema)]` to this type; use `NoOptions` for no options"
)]
pub trait Options: DeserializeOwned + JsonSchema + 'static {}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + JsonSchema + 'static> Options for T {}

/// For what has no options: any is an error.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoOptions {}

/// The first thing that is wrong with some options.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", path.join("."))]
pub struct OptionError {
    /// Where: keys (and list indexes) from the outside in.
    pub path: Vec<String>,
    /// What.
    pub message: String,
}

pub(crate) fn read<O: Options>(options: &Value) -> Result<O, OptionError> {
    use serde_path_to_error::Segment;
    serde_path_to_error::deserialize(options).map_err(|error| {
        let path = error.path().iter().filter_map(|segment| match segment {
            Segment::Map { key } => Some(key.clone()),
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Enum { variant } => Some(variant.clone()),
            Segment::Unknown => None,
        });
        OptionError { path: path.collect(), message: error.inner().to_string() }
    })
}

pub(crate) fn schema<O: Options>() -> Value {
    schemars::schema_for!(O).to_value()
}
