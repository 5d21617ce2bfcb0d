//! The kinds of sections whose options are defined by a registered type.

use switchboard::Registry;
use switchboard::registry::EntryInfo;

/// The tables of named sections.
pub(crate) const KINDS: [&str; 2] = ["handlers", "layers"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SectionKind {
    Handler,
    Layer,
    /// `listeners.NAME.framing`
    Framing,
}

impl SectionKind {
    /// The kind of the section that contains a key, and the path of the section.
    pub(crate) fn of(path: &[String]) -> Option<(Self, &[String])> {
        match path {
            [table, _, ..] if table == "handlers" => Some((Self::Handler, &path[..2])),
            [table, _, ..] if table == "layers" => Some((Self::Layer, &path[..2])),
            [table, _, key, ..] if table == "listeners" && key == "framing" => Some((Self::Framing, &path[..3])),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Handler => "a handler",
            Self::Layer => "a layer",
            Self::Framing => "a framing",
        }
    }

    pub(crate) fn entry<'r>(self, registry: &'r Registry, name: &str) -> Option<&'r EntryInfo> {
        self.entries(registry).into_iter().find(|entry| entry.name() == name)
    }

    pub(crate) fn entries(self, registry: &Registry) -> Vec<&EntryInfo> {
        match self {
            Self::Handler => registry.handlers().map(|entry| entry.info()).collect(),
            Self::Layer => registry.layers().map(|entry| entry.info()).collect(),
            Self::Framing => registry.framings().map(|entry| entry.info()).collect(),
        }
    }
}
