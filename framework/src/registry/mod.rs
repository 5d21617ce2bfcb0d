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
mod handlers;
mod options;

pub use crate::layer::{BoxMessageService, LayerInstance, NamedLayer};
pub use crate::pipeline::HandlerInstance;
pub use entry::{Entry, EntryInfo};
pub use handlers::{HandlerEntry, HandlerKind};
pub use options::{NoOptions, OptionError, Options};

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::connection::Kind;
use crate::error::Result;
use crate::framing::{AnyFraming, BuiltInFraming, Delimited, Framing, JsonLines, Length, Lines, Raw};
use crate::handler::{Handler, Needs, StreamHandler};
use crate::layer::{ConcurrencyOptions, LayerOptions, RateOptions, TimeoutOptions, TraceOptions};
use crate::transport::{SchemeInfo, Transport, Transports};

/// A framing that the configuration can name.
pub type FramingEntry = Entry<AnyFraming>;

/// A layer that the configuration can name.
pub type LayerEntry = Entry<LayerInstance>;

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
        let (handlers, framings, layers) = Default::default();
        let mut registry = Self { handlers, framings, layers, transports: Transports::default() };
        registry.built_in_framing::<Raw>();
        registry.built_in_framing::<Lines>();
        registry.built_in_framing::<Length>();
        registry.built_in_framing::<Delimited>();
        registry.built_in_framing::<JsonLines>();
        registry.built_in_layer::<ConcurrencyOptions>();
        registry.built_in_layer::<RateOptions>();
        registry.built_in_layer::<TimeoutOptions>();
        registry.built_in_layer::<TraceOptions>();
        registry
    }

    /// Adds a handler of bytes. Any framing can be chosen for it. It replaces a handler of the same name.
    ///
    /// `build` gets the options from the configuration and may reject them with an error. Use [`NoOptions`] for a
    /// handler without options.
    ///
    /// `build` also runs in a check of the configuration (`switchboard check`), and in every reload that changes the
    /// options. It should only check them: open files and databases in [`Handler::start`], which a check never calls.
    pub fn handler<O, H, B>(&mut self, name: &str, build: B) -> &mut HandlerEntry
    where
        O: Options,
        H: Handler<Bytes, Bytes>,
        B: Fn(O) -> Result<H> + Send + Sync + 'static,
    {
        self.add_handler(name, H::NEEDS, None, move |options| Ok(HandlerInstance::new(build(options)?)))
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
        self.add_handler(name, H::NEEDS, Some(framing_name), move |options| {
            let framing = framing(&options);
            Ok(HandlerInstance::typed(build(options)?, framing))
        })
    }

    /// Adds a handler that reads and writes the bytes of its connections itself.
    pub fn stream_handler<O, H, B>(&mut self, name: &str, build: B) -> &mut HandlerEntry
    where
        O: Options,
        H: StreamHandler,
        B: Fn(O) -> Result<H> + Send + Sync + 'static,
    {
        self.add_handler(name, Needs::Stream, Some("byte stream"), move |options| {
            Ok(HandlerInstance::stream(build(options)?))
        })
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
        let own_name = name.to_owned();
        let build = move |parsed: O, options| Ok(AnyFraming::new(build(parsed)?).with_id(&own_name, options));
        self.framings.push(Entry::new(name, (), build));
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
        let own_name = name.to_owned();
        let build = move |parsed: O, options| Ok(LayerInstance::new(build(parsed)?).with_id(&own_name, options));
        self.layers.entry(name.to_owned()).insert_entry(Entry::new(name, (), build)).into_mut()
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

    fn add_handler<O: Options>(
        &mut self,
        name: &str,
        needs: Needs,
        own_framing: Option<&str>,
        build: impl Fn(O) -> Result<HandlerInstance> + Send + Sync + 'static,
    ) -> &mut HandlerEntry {
        let entry = Entry::new(name, HandlerKind::new(needs, own_framing), move |options, _| build(options));
        self.handlers.entry(name.to_owned()).insert_entry(entry).into_mut()
    }

    fn built_in_framing<F: BuiltInFraming>(&mut self) {
        self.framing(F::NAME, |framing: F| Ok(framing)).set_summary(F::SUMMARY);
    }

    fn built_in_layer<O: LayerOptions<Layer: NamedLayer>>(&mut self) {
        self.layer(O::NAME, O::build).set_summary(O::SUMMARY);
    }
}
