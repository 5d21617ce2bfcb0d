//! One listener and its handler, to serve recorded conversations in memory. Reads no certificate and no bans.

use switchboard::Registry;
use switchboard::registry::HandlerInstance;
use switchboard::server::ListenerSpec;

use super::Assembler;
use crate::config::{Config, Diagnostics};

/// A listener and its handler, which is built anew for each use.
pub(crate) struct OneListener<'a> {
    config: &'a Config,
    registry: &'a Registry,
    /// The name of the listener.
    name: &'a str,
}

impl<'a> OneListener<'a> {
    /// The listener must exist.
    pub(crate) fn new(config: &'a Config, registry: &'a Registry, name: &'a str) -> Self {
        Self { config, registry, name }
    }

    /// Builds the handler and the layers. Must be called inside a tokio runtime.
    pub(crate) fn build(&self) -> Result<(HandlerInstance, ListenerSpec), Diagnostics> {
        let mut assembler = Assembler::new(self.config, self.registry, None);
        let listener = &self.config.listeners[self.name];
        let handler = assembler.handler(&listener.handler);
        let mut spec = listener.spec.clone();
        spec.framing = listener.framing.clone();
        spec.layers = listener.layers.iter().filter_map(|name| assembler.layer(name)).collect();
        match handler {
            Some(handler) if assembler.diagnostics.is_empty() => Ok((handler, spec)),
            _ => Err(assembler.diagnostics),
        }
    }
}
