//! Handlers, framings, layers and transports by name, with their documentation: everything that a configuration can
//! choose.
//!
//! Nothing registers itself. `switchboard list`, the check of a configuration and the error for an unknown name all
//! read the registry.
//!
//! ```
//! use switchboard::prelude::*;
//! use serde::Deserialize;
//!
//! /// Options of the shout handler.
//! #[derive(Deserialize, schemars::JsonSchema)]
//! #[serde(default, deny_unknown_fields)]
//! struct ShoutOptions {
//!     /// Appended to each reply.
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
//!     .set_summary("answers in capitals");
//! assert!(registry.handler_entry("shout").is_some());
//! ```

mod entry;
mod framings;
mod handlers;
mod layers;
mod options;

pub use crate::layer::{BoxMessageService, LayerInstance, NamedLayer};
pub use crate::pipeline::HandlerInstance;
pub use entry::{Entry, EntryInfo};
pub use framings::FramingEntry;
pub use handlers::{HandlerEntry, HandlerKind};
pub use layers::LayerEntry;
pub use options::{NoOptions, OptionError, Options};

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::connection::Kind;
use crate::error::Result;
use crate::framing::Framing;
use crate::handler::{Handler, StreamHandler};
use crate::transport::{SchemeInfo, Transport, Transports};

/// The handlers, framings, layers and transports that a configuration can choose.
#[derive(Debug)]
pub struct Registry {
    handlers: BTreeMap<String, HandlerEntry>,
    framings: Vec<FramingEntry>,
    layers: BTreeMap<String, LayerEntry>,
    transports: Transports,
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    /// The built-in framings, layers and transports; no handlers.
    pub fn new() -> Self {
        Self {
            handlers: BTreeMap::new(),
            framings: framings::built_in(),
            layers: layers::built_in().map(|entry| (entry.name().to_owned(), entry)).into(),
            transports: Transports::default(),
        }
    }

    /// Adds a handler of bytes. Any framing can be chosen for it. It replaces a handler of the same name.
    ///
    /// `build` gets the options from the configuration and may reject them with an error. Use [`NoOptions`] for a
    /// handler without options.
    pub fn handler<O, H, B>(&mut self, name: &str, build: B) -> &mut HandlerEntry
    where
        O: Options,
        H: Handler<Bytes, Bytes>,
        B: Fn(O) -> Result<H> + Send + Sync + 'static,
    {
        self.add_handler(handlers::bytes_entry(name, build))
    }

    /// Adds a handler of typed messages with its framing, which may depend on the options.
    ///
    /// ```
    /// use switchboard::prelude::*;
    /// use tokio_util::codec::LinesCodec;
    ///
    /// # let mut registry = Registry::new();
    /// let text = |_: &NoOptions| framing::custom(LinesCodec::new_with_max_length);
    /// registry.typed_handler("shout", "text lines", text, |_| {
    ///     Ok(handler_fn(|_: Context<(), String>, line: String| async move { Ok(Reply::send(line.to_uppercase())) }))
    /// });
    /// ```
    pub fn typed_handler<O, H, F, M, B>(
        &mut self,
        name: &str,
        framing_name: &str,
        framing: M,
        build: B,
    ) -> &mut HandlerEntry
    where
        O: Options,
        F: Framing,
        H: Handler<F::In, F::Out>,
        M: Fn(&O) -> F + Send + Sync + 'static,
        B: Fn(O) -> Result<H> + Send + Sync + 'static,
    {
        self.add_handler(handlers::typed_entry(name, framing_name, framing, build))
    }

    /// Adds a handler that reads and writes the bytes of its connections itself.
    pub fn stream_handler<O, H, B>(&mut self, name: &str, build: B) -> &mut HandlerEntry
    where
        O: Options,
        H: StreamHandler,
        B: Fn(O) -> Result<H> + Send + Sync + 'static,
    {
        self.add_handler(handlers::stream_entry(name, build))
    }

    /// Adds a framing of bytes. It replaces a framing of the same name.
    ///
    /// ```
    /// use switchboard::prelude::*;
    /// # struct Netstring(usize);
    /// # impl Netstring { fn new(max: usize) -> Self { Self(max) } }
    /// # impl Framing for Netstring {
    /// #     type In = Bytes;
    /// #     type Out = Bytes;
    /// #     type Codec = <Lines as Framing>::Codec;
    /// #     fn codec(&self, max: usize) -> Self::Codec { Lines::default().codec(max) }
    /// # }
    ///
    /// #[derive(serde::Deserialize, schemars::JsonSchema)]
    /// #[serde(deny_unknown_fields)]
    /// struct NetstringOptions {
    ///     /// The largest message in bytes.
    ///     max: usize,
    /// }
    ///
    /// let mut registry = Registry::new();
    /// registry.framing("netstring", |options: NetstringOptions| Ok(Netstring::new(options.max)));
    /// ```
    pub fn framing<O, F, B>(&mut self, name: &str, build: B) -> &mut FramingEntry
    where
        O: Options,
        F: Framing<In = Bytes, Out = Bytes>,
        B: Fn(O) -> Result<F> + Send + Sync + 'static,
    {
        self.framings.retain(|entry| entry.name() != name);
        self.framings.push(framings::entry(name, build));
        self.framings.last_mut().expect("it was just added")
    }

    /// Adds a layer around the messages of handlers of bytes. It replaces a layer of the same name.
    ///
    /// `build` is called once per listener. The layer creates a service per connection.
    pub fn layer<O, L, B>(&mut self, name: &str, build: B) -> &mut LayerEntry
    where
        O: Options,
        L: NamedLayer,
        B: Fn(O) -> Result<L> + Send + Sync + 'static,
    {
        self.layers.entry(name.to_owned()).insert_entry(layers::entry(name, build)).into_mut()
    }

    /// Adds a transport for its schemes.
    pub fn transport(&mut self, transport: impl Transport) -> &mut Self {
        self.transports.add(transport);
        self
    }

    /// The handler with this name.
    pub fn handler_entry(&self, name: &str) -> Option<&HandlerEntry> {
        self.handlers.get(name)
    }

    /// All handlers, sorted by name.
    pub fn handlers(&self) -> impl Iterator<Item = &HandlerEntry> {
        self.handlers.values()
    }

    /// The framing with this name.
    pub fn framing_entry(&self, name: &str) -> Option<&FramingEntry> {
        self.framings.iter().find(|entry| entry.name() == name)
    }

    /// All framings, the built-in ones first.
    pub fn framings(&self) -> impl Iterator<Item = &FramingEntry> {
        self.framings.iter()
    }

    /// The layer with this name.
    pub fn layer_entry(&self, name: &str) -> Option<&LayerEntry> {
        self.layers.get(name)
    }

    /// All layers, sorted by name.
    pub fn layers(&self) -> impl Iterator<Item = &LayerEntry> {
        self.layers.values()
    }

    /// The schemes of all transports.
    pub fn transports(&self) -> impl Iterator<Item = &SchemeInfo> {
        self.transports.list()
    }

    /// What the transport of a scheme accepts: connections or datagrams.
    pub fn transport_kind(&self, scheme: &str) -> Option<Kind> {
        self.transports.list().find(|known| known.scheme == scheme).map(|known| known.kind)
    }

    /// The transports, for a server.
    pub fn transport_table(&self) -> Transports {
        self.transports.clone()
    }

    fn add_handler(&mut self, entry: HandlerEntry) -> &mut HandlerEntry {
        self.handlers.entry(entry.name().to_owned()).insert_entry(entry).into_mut()
    }
}
