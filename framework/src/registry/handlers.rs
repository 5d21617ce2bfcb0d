//! Handlers by name.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::Result;
use crate::framing::{AnyFraming, Framing};
use crate::handler::{Handler, Needs, StreamHandler};
use crate::layer::MessageStack;
use crate::pipeline::Pipeline;
use crate::registry::entry::Entry;
use crate::registry::layers::{Dynamic, LayerInstance};
use crate::registry::options::Options;
use crate::settings::{Limits, Rates, Timeouts};

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
    pub layers: Vec<LayerInstance>,
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

/// A handler with its options, ready to be served. What it remembers is shared by all its pipelines.
#[derive(Clone)]
pub struct HandlerInstance(Arc<dyn Fn(Setup) -> Pipeline + Send + Sync>);

impl HandlerInstance {
    fn new(pipeline: impl Fn(Setup) -> Pipeline + Send + Sync + 'static) -> Self {
        Self(Arc::new(pipeline))
    }

    /// The pipeline around it, for one listener.
    pub fn pipeline(&self, setup: Setup) -> Pipeline {
        (self.0)(setup)
    }
}

impl fmt::Debug for HandlerInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandlerInstance")
    }
}

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
    fn new(needs: Needs, own_framing: Option<&str>) -> Self {
        Self { needs, own_framing: own_framing.map(str::to_owned), framings: None }
    }
}

pub(super) fn bytes_entry<O, H, B>(name: &str, build: B) -> HandlerEntry
where
    O: Options,
    H: Handler<Bytes, Bytes>,
    B: Fn(O) -> Result<H> + Send + Sync + 'static,
{
    Entry::new(name, HandlerKind::new(H::NEEDS, None), move |options: O, _| {
        let handler = Arc::new(build(options)?);
        Ok(HandlerInstance::new(move |setup| assemble(handler.clone(), setup)))
    })
}

pub(super) fn typed_entry<O, H, F, M, B>(name: &str, framing_name: &str, framing: M, build: B) -> HandlerEntry
where
    O: Options,
    F: Framing,
    H: Handler<F::In, F::Out>,
    M: Fn(&O) -> F + Send + Sync + 'static,
    B: Fn(O) -> Result<H> + Send + Sync + 'static,
{
    Entry::new(name, HandlerKind::new(H::NEEDS, Some(framing_name)), move |options: O, _| {
        let framing = Arc::new(framing(&options));
        let handler = Arc::new(build(options)?);
        Ok(HandlerInstance::new(move |Setup { limits, timeouts, rates, .. }| {
            let stack = MessageStack::new(&timeouts, &rates);
            Pipeline::of_handler(handler.clone(), framing.clone(), stack, (), limits, timeouts)
        }))
    })
}

pub(super) fn stream_entry<O, H, B>(name: &str, build: B) -> HandlerEntry
where
    O: Options,
    H: StreamHandler,
    B: Fn(O) -> Result<H> + Send + Sync + 'static,
{
    Entry::new(name, HandlerKind::new(Needs::Stream, Some("its own")), move |options: O, _| {
        let handler = Arc::new(build(options)?);
        Ok(HandlerInstance::new(move |setup| Pipeline::of_stream_handler(handler.clone(), setup.timeouts)))
    })
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

    /// The framing that the handler provides itself; then none can be chosen.
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

/// The message path of a handler of bytes. Without layers by name it is static from driver to handler; with some, the
/// services between are boxed, once a connection, and each of those layers costs a box a message.
fn assemble<H: Handler<Bytes, Bytes>>(handler: Arc<H>, setup: Setup) -> Pipeline {
    let Setup { framing, limits, timeouts, rates, layers } = setup;
    let stack = MessageStack::new(&timeouts, &rates);
    if layers.is_empty() {
        Pipeline::of_handler(handler, Arc::new(framing), stack, (), limits, timeouts)
    } else {
        Pipeline::of_handler(handler, Arc::new(framing), stack, Dynamic::new(layers), limits, timeouts)
    }
}
