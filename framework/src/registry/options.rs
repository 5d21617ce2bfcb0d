//! The options of an entry: any type with serde's `Deserialize` and schemars' `JsonSchema`.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::debug_as_display;

/// Options of a handler, framing or layer. Doc comments become the help text, `#[serde(default)]` provides the
/// defaults. Use `#[serde(deny_unknown_fields)]`, so that a misspelled option is an error.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be used as options: derive `serde::Deserialize` and `schemars::JsonSchema` for it",
    label = "add `#[derive(Deserialize, JsonSchema)]` to this type; use `NoOptions` for no options"
)]
pub trait Options: DeserializeOwned + JsonSchema + 'static {}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + JsonSchema + 'static> Options for T {}

/// No options: any option is an error.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoOptions {}

/// An invalid option.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{message}", path.join("."), if path.is_empty() { "" } else { ": " })]
pub struct OptionError {
    /// The keys and list indexes that lead to the option, outermost first.
    pub path: Vec<String>,
    /// The reason why it is invalid.
    pub message: String,
}

debug_as_display!(OptionError);

pub(super) fn read<O: Options>(options: &Value) -> Result<O, OptionError> {
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

pub(super) fn schema<O: Options>() -> Value {
    schemars::schema_for!(O).to_value()
}
