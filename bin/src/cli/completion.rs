//! Values that a shell completes. Other values are accepted too, such as the name of a section.

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::error::Error;
use clap::{Arg, Command};
use std::ffi::OsStr;

/// A parser of texts with suggestions.
#[derive(Clone)]
struct Suggested(Vec<String>);

impl TypedValueParser for Suggested {
    type Value = String;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<String, Error> {
        StringValueParser::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().map(|value| PossibleValue::new(value.clone()))))
    }
}

/// Sets the suggestions for these options in every command. The help has its own list.
pub(super) fn set_values(command: Command, values: &[(&str, Vec<String>)]) -> Command {
    let command = command.mut_args(|arg| match values.iter().find(|(id, _)| arg.get_id() == *id) {
        Some((_, values)) => arg.value_parser(Suggested(values.clone())).hide_possible_values(true),
        None => arg,
    });
    command.mut_subcommands(|subcommand| set_values(subcommand, values))
}
