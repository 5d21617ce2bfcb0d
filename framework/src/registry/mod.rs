//! Handlers, layers and transports by name, each with its own documentation: what configuration can choose from.
//!
//! A registry is a table that you can see. Nothing registers itself behind your back; `switchboard list`, the check of a
//! configuration and the error for an unknown name all come from it.
//!
//! ```
//! use switchboard::prelude::*;
//! use serde::Deserialize;
//!
//! /// Options of the shout handler.
//! #[derive(Deserialize, schemars::JsonSchema)]
//! #[serde(default, deny_unknown_fields)]
//! struct ShoutOptions {
//!     /// What is put behind each answer.
//!     ending: String,
//! }
//!
//! impl Default for ShoutOptions {
//!     fn default() -> Self {
//!         Self { ending: "!".into() }
//!     }
//! }
//!
//! struct Shout(String);
//!
//! impl Handler for Shout {
//!     type State = ();
//!     async fn message(&self, _: &mut Context, message: Bytes) -> Result<Reply> {
//!         Ok(Reply::send(message.escape_ascii().to_string().to_uppercase() + &self.0))
//!     }
//! }
//!
//! let mut registry = Registry::new();
//! registry
//!     .handler("shout", |options: ShoutOptions| Ok(Shout(options.ending)))
//!     .summary("answers in capitals");
//! assert!(registry.handler_entry("shout").is_some());
//! ```

mod handlers;
mod layers;
mod options;

pub use crate::pipeline::Pipeline;
pub use handlers::{HandlerEntry, HandlerInstance, Setup};
pub use layers::{BoxMessageService, LayerEntry, MessageLayer, NamedLayer};
pub use options::{NoOptions, OptionError, Options};

use std::collections::BTreeMap;

use crate::connection::Kind;
use crate::error::Result;
use crate::framing::Framing;
use crate::handler::{Handler, StreamHandler};
use crate::transport::{Transport, Transports};
use bytes::Bytes;

/// What configuration can choose from. Starts with the built-in transports and layers, and no handler.
#[derive(Debug)]
pub struct Registry {
    handlers: BTreeMap<String, HandlerEntry>,
    layers: BTreeMap<String, LayerEntry>,
    transports: Transports,
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    /// The built-in transports and layers.
    pub fn new() -> Self {
        let mut registry =
            Self { handlers: BTreeMap::new(), layers: BTreeMap::new(), transports: Transports::default() };
        layers::add_built_in(&mut registry);
        registry
    }

    /// Adds a handler of bytes under a name: any of the built-in framings can be chosen for it. A second one of the same
    /// name replaces the first.
    ///
    /// `build` gets the options as configured and may refuse them with a sentence. [`NoOptions`] is for none.
    pub fn handler<O, H, B>(&mut self, name: &str, build: B) -> &mut HandlerEntry
    where
        O: Options,
        H: Handler<Bytes, Bytes>,
        B: Fn(O) -> Result<H> + Send + Sync + 'static,
    {
        self.add_handler(HandlerEntry::bytes(name, build))
    }

    /// Adds a handler of typed messages together with the framing that makes them.
    pub fn typed_handler<O, H, F, B>(
        &mut self,
        name: &str,
        framing_name: &str,
        framing: F,
        build: B,
    ) -> &mut HandlerEntry
    where
        O: Options,
        F: Framing + Clone,
        H: Handler<F::In, F::Out>,
        B: Fn(O) -> Result<H> + Send + Sync + 'static,
    {
        self.add_handler(HandlerEntry::typed(name, framing_name, framing, build))
    }

    /// Adds a handler that owns the bytes of its connections.
    pub fn stream_handler<O, H, B>(&mut self, name: &str, build: B) -> &mut HandlerEntry
    where
        O: Options,
        H: StreamHandler,
        B: Fn(O) -> Result<H> + Send + Sync + 'static,
    {
        self.add_handler(HandlerEntry::stream(name, build))
    }

    /// Adds a layer that configuration can put around the handler of bytes.
    ///
    /// `build` makes the layer once a listener; each connection gets a service of it.
    pub fn layer<O, L, B>(&mut self, name: &str, build: B) -> &mut LayerEntry
    where
        O: Options,
        L: NamedLayer,
        B: Fn(O) -> Result<L> + Send + Sync + 'static,
    {
        let entry = LayerEntry::new(name, build);
        self.layers.entry(name.to_owned()).insert_entry(entry).into_mut()
    }

    /// Adds a transport for the schemes that it names.
    pub fn transport(&mut self, transport: impl Transport) -> &mut Self {
        self.transports.add(transport);
        self
    }

    /// The handler of that name.
    pub fn handler_entry(&self, name: &str) -> Option<&HandlerEntry> {
        self.handlers.get(name)
    }

    /// All handlers, by name.
    pub fn handlers(&self) -> impl Iterator<Item = &HandlerEntry> {
        self.handlers.values()
    }

    /// The layer of that name.
    pub fn layer_entry(&self, name: &str) -> Option<&LayerEntry> {
        self.layers.get(name)
    }

    /// All layers, by name.
    pub fn layers(&self) -> impl Iterator<Item = &LayerEntry> {
        self.layers.values()
    }

    /// All transports: scheme, summary, and what it brings.
    pub fn transports(&self) -> impl Iterator<Item = (&'static str, &'static str, Kind)> {
        self.transports.list()
    }

    /// What the transport of a scheme brings; `None` if there is none.
    pub fn transport_kind(&self, scheme: &str) -> Option<Kind> {
        self.transports.list().find(|(known, ..)| *known == scheme).map(|(.., kind)| kind)
    }

    /// The transports, for a server.
    pub fn transport_table(&self) -> Transports {
        self.transports.clone()
    }

    fn add_handler(&mut self, entry: HandlerEntry) -> &mut HandlerEntry {
        self.handlers.entry(entry.name().to_owned()).insert_entry(entry).into_mut()
    }
}
