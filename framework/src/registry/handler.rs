//! A handler by name, and the pipeline that it becomes for one listener.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service};

use crate::connection::{DatagramDriver, OwnedDriver, ServeDatagrams, StreamDriver};
use crate::error::{BoxError, Result};
use crate::framing::{AnyFraming, Framing};
use crate::handler::{Handler, HandlerLayer, Needs, StreamHandler};
use crate::io::Incoming;
use crate::layer::MessageStack;
use crate::registry::layer::{Dynamic, MessageLayer};
use crate::registry::options::{OptionError, Options, read, schema};
use crate::roster::Kind;
use crate::spec::{Limits, Rates, Timeouts};

/// Everything around the handler of one listener.
#[derive(Debug)]
#[non_exhaustive]
pub struct Setup {
    /// How bytes are cut, for handlers that bring no framing of their own.
    pub framing: AnyFraming,
    /// How much.
    pub limits: Limits,
    /// How long.
    pub timeouts: Timeouts,
    /// How fast.
    pub rates: Rates,
    /// Layers by name, outermost first.
    pub layers: Vec<MessageLayer>,
}

impl Setup {
    /// Raw, with all defaults and no layers; set the fields you want otherwise.
    pub fn new() -> Self {
        Self {
            framing: AnyFraming::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            rates: Rates::default(),
            layers: Vec::new(),
        }
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self::new()
    }
}

/// The connection seam, erased: one call a connection.
pub(crate) type ConnectionService = BoxCloneSyncService<Incoming, (), BoxError>;

/// What a listener does with what comes: handler, framing and layers in one piece.
#[derive(Clone)]
pub struct Pipeline {
    pub(crate) stream: Option<ConnectionService>,
    pub(crate) datagram: Option<Arc<dyn ServeDatagrams>>,
}

impl Pipeline {
    pub(crate) fn of_handler<H, F, L>(
        handler: H,
        framing: F,
        stack: MessageStack,
        layer: L,
        limits: Limits,
        timeouts: Timeouts,
    ) -> Self
    where
        F: Framing,
        H: Handler<F::In, F::Out>,
        L: HandlerLayer<H, F::In, F::Out>,
    {
        let (handler, framing, stack) = (Arc::new(handler), Arc::new(framing), Arc::new(stack));
        let datagram = DatagramDriver {
            handler: handler.clone(),
            framing: framing.clone(),
            stack: stack.clone(),
            layer: layer.clone(),
            limits,
        };
        let stream = StreamDriver { handler, framing, stack, layer, limits, timeouts: Arc::new(timeouts) };
        Self {
            stream: H::NEEDS.takes(Kind::Stream).then(|| BoxCloneSyncService::new(stream)),
            datagram: H::NEEDS.takes(Kind::Datagram).then(|| Arc::new(datagram) as Arc<dyn ServeDatagrams>),
        }
    }

    pub(crate) fn of_stream_handler<H: StreamHandler>(handler: H, timeouts: Timeouts) -> Self {
        let driver = OwnedDriver { handler: Arc::new(handler), timeouts };
        Self { stream: Some(BoxCloneSyncService::new(driver)), datagram: None }
    }

    /// Puts a layer around the whole connection.
    pub(crate) fn around<L>(self, layer: &L) -> Self
    where
        L: Layer<ConnectionService>,
        L::Service: Service<Incoming, Response = (), Error = BoxError> + Clone + Send + Sync + 'static,
        <L::Service as Service<Incoming>>::Future: Send + 'static,
    {
        let stream = self.stream.map(|service| BoxCloneSyncService::new(layer.layer(service)));
        Self { stream, datagram: self.datagram }
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("stream", &self.stream.is_some())
            .field("datagram", &self.datagram.is_some())
            .finish()
    }
}

type Build = Box<dyn Fn(Value, Setup) -> Result<Pipeline> + Send + Sync>;

/// A handler that configuration can name.
pub struct HandlerEntry {
    name: String,
    about: String,
    needs: Needs,
    own_framing: Option<String>,
    framings: Option<&'static [&'static str]>,
    options: Value,
    check: fn(&Value) -> Result<(), OptionError>,
    build: Build,
}

impl HandlerEntry {
    pub(crate) fn bytes<O, H, B>(name: &str, build: B) -> Self
    where
        O: Options,
        H: Handler<Bytes, Bytes>,
        B: Fn(O) -> Result<H> + Send + Sync + 'static,
    {
        let build = move |options: Value, setup: Setup| {
            let handler = build(read(&options)?)?;
            Ok(assemble(handler, setup))
        };
        Self::new::<O>(name, H::NEEDS, None, Box::new(build))
    }

    pub(crate) fn typed<O, H, F, B>(name: &str, framing_name: &str, framing: F, build: B) -> Self
    where
        O: Options,
        F: Framing + Clone,
        H: Handler<F::In, F::Out>,
        B: Fn(O) -> Result<H> + Send + Sync + 'static,
    {
        let build = move |options: Value, setup: Setup| {
            let handler = build(read(&options)?)?;
            let Setup { limits, timeouts, rates, .. } = setup;
            let stack = MessageStack::new(&timeouts, &rates);
            Ok(Pipeline::of_handler(handler, framing.clone(), stack, (), limits, timeouts))
        };
        Self::new::<O>(name, H::NEEDS, Some(framing_name.to_owned()), Box::new(build))
    }

    pub(crate) fn stream<O, H, B>(name: &str, build: B) -> Self
    where
        O: Options,
        H: StreamHandler,
        B: Fn(O) -> Result<H> + Send + Sync + 'static,
    {
        let build = move |options: Value, setup: Setup| {
            Ok(Pipeline::of_stream_handler(build(read(&options)?)?, setup.timeouts))
        };
        Self::new::<O>(name, Needs::Stream, Some("its own".to_owned()), Box::new(build))
    }

    fn new<O: Options>(name: &str, needs: Needs, own_framing: Option<String>, build: Build) -> Self {
        let check = |options: &Value| read::<O>(options).map(drop);
        let (name, about, options) = (name.to_owned(), String::new(), schema::<O>());
        Self { name, about, needs, own_framing, framings: None, options, check, build }
    }

    /// Says in a few words what it does.
    pub fn summary(&mut self, about: &str) -> &mut Self {
        about.clone_into(&mut self.about);
        self
    }

    /// Says which of the built-in framings make sense for it; the default is all.
    pub fn framings(&mut self, names: &'static [&'static str]) -> &mut Self {
        self.framings = Some(names);
        self
    }

    /// Its name in configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it does.
    pub fn about(&self) -> &str {
        &self.about
    }

    /// What it can be served on.
    pub fn need(&self) -> Needs {
        self.needs
    }

    /// The framing that it brings, if it does; then none can be chosen for it.
    pub fn own_framing(&self) -> Option<&str> {
        self.own_framing.as_deref()
    }

    /// JSON Schema of its options.
    pub fn options(&self) -> &Value {
        &self.options
    }

    /// Whether a framing can be chosen for it; else a sentence that says why not.
    pub fn fits_framing(&self, framing: &AnyFraming) -> Result<(), String> {
        let name = framing.name();
        match (&self.own_framing, self.framings) {
            (Some(own), _) => {
                Err(format!("the handler {} has a framing of its own ({own}); leave framing out", self.name))
            }
            (None, Some(fit)) if !fit.contains(&name) => {
                Err(format!("the handler {} does not fit the framing {name}; it fits {}", self.name, fit.join(", ")))
            }
            (None, _) => Ok(()),
        }
    }

    /// Reads the options and says the first thing that is wrong with them.
    pub fn check_options(&self, options: &Value) -> Result<(), OptionError> {
        (self.check)(options)
    }

    /// Makes the handler, and the pipeline around it.
    pub fn build(&self, options: Value, setup: Setup) -> Result<Pipeline> {
        (self.build)(options, setup)
    }
}

/// The message path of a handler of bytes. Without layers by name it is static from driver to handler; with some, the
/// services between are boxed, once a connection, and each of those layers costs a box a message.
fn assemble<H: Handler<Bytes, Bytes>>(handler: H, setup: Setup) -> Pipeline {
    let Setup { framing, limits, timeouts, rates, layers } = setup;
    let stack = MessageStack::new(&timeouts, &rates);
    if layers.is_empty() {
        Pipeline::of_handler(handler, framing, stack, (), limits, timeouts)
    } else {
        Pipeline::of_handler(handler, framing, stack, Dynamic::new(layers), limits, timeouts)
    }
}

impl fmt::Debug for HandlerEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerEntry").field("name", &self.name).field("needs", &self.needs).finish_non_exhaustive()
    }
}
