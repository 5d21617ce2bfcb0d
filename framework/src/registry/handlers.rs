//! A handler by name, and the pipeline that it becomes for one listener.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use crate::error::Result;
use crate::framing::{AnyFraming, Framing};
use crate::handler::{Handler, Needs, StreamHandler};
use crate::layer::MessageStack;
use crate::pipeline::Pipeline;
use crate::registry::layers::{Dynamic, MessageLayer};
use crate::registry::options::{OptionError, Options, read, schema};
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

type Make = Box<dyn Fn(Value) -> Result<HandlerInstance> + Send + Sync>;

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
            Ok(HandlerInstance::new(move |setup| assemble(handler.clone(), setup)))
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
            Ok(HandlerInstance::new(move |Setup { limits, timeouts, rates, .. }| {
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
            Ok(HandlerInstance::new(move |setup| Pipeline::of_stream_handler(handler.clone(), setup.timeouts)))
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
    pub fn make(&self, options: Value) -> Result<HandlerInstance> {
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
