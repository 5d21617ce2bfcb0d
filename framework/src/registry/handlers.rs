//! Handlers by name.

use crate::framing::AnyFraming;
use crate::handler::Needs;
use crate::pipeline::HandlerInstance;
use crate::registry::entry::Entry;

/// A handler that the configuration can name.
pub type HandlerEntry = Entry<HandlerInstance, HandlerKind>;

/// The properties of a handler entry that framings and layers do not have.
#[derive(Debug)]
pub struct HandlerKind {
    needs: Needs,
    own_framing: Option<String>,
    framings: Option<&'static [&'static str]>,
}

impl HandlerKind {
    pub(super) fn new(needs: Needs, own_framing: Option<&str>) -> Self {
        Self { needs, own_framing: own_framing.map(str::to_owned), framings: None }
    }
}

impl HandlerEntry {
    /// Restricts the framings that can be chosen for it; without a call, all can.
    pub fn set_framings(&mut self, names: &'static [&'static str]) -> &mut Self {
        self.kind.framings = Some(names);
        self
    }

    /// The kind of listener that it needs.
    pub fn needs(&self) -> Needs {
        self.kind.needs
    }

    /// The name of the framing that the handler provides itself; then none can be chosen.
    pub fn own_framing(&self) -> Option<&str> {
        self.kind.own_framing.as_deref()
    }

    /// Whether a framing can be chosen for it; the error is a sentence with the reason.
    pub fn check_framing(&self, framing: &AnyFraming) -> Result<(), String> {
        let name = framing.name();
        match (&self.kind.own_framing, self.kind.framings) {
            (Some(own), _) => Err(format!("the handler {} has its own framing ({own}); remove framing", self.name())),
            (None, Some(framings)) if !framings.contains(&name) => Err(format!(
                "the handler {} does not support the framing {name}; it supports {}",
                self.name(),
                framings.join(", ")
            )),
            (None, _) => Ok(()),
        }
    }
}
