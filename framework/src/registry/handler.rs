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
        handler: Arc<H>,
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
        let (framing, stack) = (Arc::new(framing), Arc::new(stack));
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

    pub(crate) fn of_stream_handler<H: StreamHandler>(handler: Arc<H>, timeouts: Timeouts) -> Self {
        let driver = OwnedDriver { handler, timeouts };
        Self { stream: Some(BoxCloneSyncService::new(driver)), datagram: None }
    }

    /// Whether it serves what a listener of this kind brings; else a sentence that says why not.
    pub(crate) fn fits(&self, kind: Kind) -> Result<(), BoxError> {
        let serves = match kind {
            Kind::Stream => self.stream.is_some(),
            Kind::Datagram => self.datagram.is_some(),
        };
        if serves { Ok(()) } else { Err(misfit(kind)) }
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

/// Why a handler does not go with a listener of this kind.
pub(crate) fn misfit(kind: Kind) -> BoxError {
    match kind {
        Kind::Stream => "it brings connections, and the handler wants datagrams".into(),
        Kind::Datagram => "it brings datagrams, and the handler wants connections".into(),
    }
}

type Make = Box<dyn Fn(Value) -> Result<MadeHandler> + Send + Sync>;

/// A handler with its options, ready to be served. What it remembers is shared by all its pipelines.
#[derive(Clone)]
pub struct MadeHandler(Arc<dyn Fn(Setup) -> Pipeline + Send + Sync>);

impl MadeHandler {
    fn new(pipeline: impl Fn(Setup) -> Pipeline + Send + Sync + 'static) -> Self {
        Self(Arc::new(pipeline))
    }

    /// The pipeline around it, for one listener.
    pub fn pipeline(&self, setup: Setup) -> Pipeline {
        (self.0)(setup)
    }
}

impl fmt::Debug for MadeHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MadeHandler")
    }
}

/// A handler that configuration can name.
pub struct HandlerEntry {
    name: String,
    about: String,
    needs: Needs,
    own_framing: Option<String>,
    framings: Option<&'static [&'static str]>,
    options: Value,
    check: fn(&Value) -> Result<(), OptionError>,
    make: Make,
}

impl HandlerEntry {
    pub(crate) fn bytes<O, H, B>(name: &str, build: B) -> Self
    where
        O: Options,
        H: Handler<Bytes, Bytes>,
        B: Fn(O) -> Result<H> + Send + Sync + 'static,
    {
        let make = move |options: Value| {
            let handler = Arc::new(build(read(&options)?)?);
            Ok(MadeHandler::new(move |setup| assemble(handler.clone(), setup)))
        };
        Self::new::<O>(name, H::NEEDS, None, Box::new(make))
    }

    pub(crate) fn typed<O, H, F, B>(name: &str, framing_name: &str, framing: F, build: B) -> Self
    where
        O: Options,
        F: Framing + Clone,
        H: Handler<F::In, F::Out>,
        B: Fn(O) -> Result<H> + Send + Sync + 'static,
    {
        let make = move |options: Value| {
            let (handler, framing) = (Arc::new(build(read(&options)?)?), framing.clone());
            Ok(MadeHandler::new(move |Setup { limits, timeouts, rates, .. }| {
                let stack = MessageStack::new(&timeouts, &rates);
                Pipeline::of_handler(handler.clone(), framing.clone(), stack, (), limits, timeouts)
            }))
        };
        Self::new::<O>(name, H::NEEDS, Some(framing_name.to_owned()), Box::new(make))
    }

    pub(crate) fn stream<O, H, B>(name: &str, build: B) -> Self
    where
        O: Options,
        H: StreamHandler,
        B: Fn(O) -> Result<H> + Send + Sync + 'static,
    {
        let make = move |options: Value| {
            let handler = Arc::new(build(read(&options)?)?);
            Ok(MadeHandler::new(move |setup| Pipeline::of_stream_handler(handler.clone(), setup.timeouts)))
        };
        Self::new::<O>(name, Needs::Stream, Some("its own".to_owned()), Box::new(make))
    }

    fn new<O: Options>(name: &str, needs: Needs, own_framing: Option<String>, make: Make) -> Self {
        let check = |options: &Value| read::<O>(options).map(drop);
        let (name, about, options) = (name.to_owned(), String::new(), schema::<O>());
        Self { name, about, needs, own_framing, framings: None, options, check, make }
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

    /// Makes the handler.
    pub fn make(&self, options: Value) -> Result<MadeHandler> {
        (self.make)(options)
    }
}

/// The message path of a handler of bytes. Without layers by name it is static from driver to handler; with some, the
/// services between are boxed, once a connection, and each of those layers costs a box a message.
fn assemble<H: Handler<Bytes, Bytes>>(handler: Arc<H>, setup: Setup) -> Pipeline {
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
