//! The values that shell completions offer for an option that accepts others, too.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};

#[derive(Debug, Clone, Default)]
pub(super) struct Suggestions(pub(super) Vec<String>);

impl TypedValueParser for Suggestions {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let names = self.0.iter().map(PossibleValue::new);
        (!self.0.is_empty()).then(|| Box::new(names) as Box<dyn Iterator<Item = PossibleValue>>)
    }
}
