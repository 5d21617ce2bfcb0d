//! A registered type that a section can have: a handler or a layer.

use serde_json::Value as Json;
use switchboard::Registry;
use switchboard::registry::{HandlerEntry, LayerEntry, OptionError};

/// The tables of sections that have a type.
pub(crate) const KINDS: [&str; 2] = ["handlers", "layers"];

/// An entry of the registry.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Entry<'r> {
    Handler(&'r HandlerEntry),
    Layer(&'r LayerEntry),
}

impl<'r> Entry<'r> {
    /// The entry of a type, for sections of that table.
    pub(crate) fn of(registry: &'r Registry, table: &str, kind: &str) -> Option<Self> {
        match table {
            "handlers" => registry.handler_entry(kind).map(Self::Handler),
            "layers" => registry.layer_entry(kind).map(Self::Layer),
            _ => None,
        }
    }

    /// The types that sections of a table can have.
    pub(crate) fn names(registry: &Registry, table: &str) -> Vec<String> {
        match table {
            "handlers" => registry.handlers().map(|entry| entry.name().to_owned()).collect(),
            "layers" => registry.layers().map(|entry| entry.name().to_owned()).collect(),
            _ => Vec::new(),
        }
    }

    /// JSON Schema of its options.
    pub(crate) fn options(self) -> &'r Json {
        match self {
            Self::Handler(entry) => entry.options(),
            Self::Layer(entry) => entry.options(),
        }
    }

    /// The first error of the options.
    pub(crate) fn check(self, options: &Json) -> Result<(), OptionError> {
        match self {
            Self::Handler(entry) => entry.check_options(options),
            Self::Layer(entry) => entry.check_options(options),
        }
    }
}
