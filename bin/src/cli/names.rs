//! The names of the registry in the help and in the completion. Other values are accepted too, such as the name of a
//! section.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::error::Error;
use clap::{Arg, Command};
use switchboard::Registry;

pub(super) fn with_names(command: Command, registry: &Registry) -> Command {
    let schemes = list(registry.transports().map(|transport| transport.scheme));
    let handlers = list(registry.handlers().map(|handler| handler.name()));
    let framings = list(registry.framings().map(|framing| framing.name()));
    let help = [
        ("listen", format!("Address, such as tcp://127.0.0.1:9999 or unix:/run/app.sock; schemes: {schemes}")),
        ("handler", format!("Handler: {handlers}, or the NAME of a [handlers.NAME] section")),
        ("framing", format!("Message framing: {framings}, or a table such as {{ type = \"length\", width = 2 }}")),
    ];
    let values = [
        ("listen", registry.transports().map(|transport| transport.scheme.to_owned() + ":").collect()),
        ("handler", registry.handlers().map(|handler| handler.name().to_owned()).collect()),
        ("framing", registry.framings().map(|framing| framing.name().to_owned()).collect()),
        ("log_level", ["off", "error", "warn", "info", "debug", "trace"].map(str::to_owned).to_vec()),
        ("log_format", ["auto", "text", "json"].map(str::to_owned).to_vec()),
    ];
    set_values(set_help(command, &help), &values)
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(", ")
}

/// Sets the help of these options in every command.
fn set_help(command: Command, help: &[(&str, String); 3]) -> Command {
    let command = command.mut_args(|arg| match help.iter().find(|(id, _)| arg.get_id() == *id) {
        Some((_, help)) => arg.help(help),
        None => arg,
    });
    command.mut_subcommands(|subcommand| set_help(subcommand, help))
}

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
fn set_values(command: Command, values: &[(&str, Vec<String>)]) -> Command {
    let command = command.mut_args(|arg| match values.iter().find(|(id, _)| arg.get_id() == *id) {
        Some((_, values)) => arg.value_parser(Suggested(values.clone())).hide_possible_values(true),
        None => arg,
    });
    command.mut_subcommands(|subcommand| set_values(subcommand, values))
}
