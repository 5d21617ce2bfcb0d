//! A layer by name.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use tower::util::BoxService;
use tower::{Layer, Service};

use crate::error::{BoxError, Result};
use crate::handler::{Reply, Request};
use crate::layer::{ConcurrencyOptions, LayerOptions, RateOptions, TimeoutOptions, TraceOptions};
use crate::registry::Registry;
use crate::registry::options::{OptionError, Options, read, schema};

/// The message seam, erased: what a layer by name is put around.
pub type BoxMessageService = BoxService<Request, Reply, BoxError>;

/// Any layer that can stand around an erased message service.
pub trait NamedLayer: Send + Sync + 'static {
    /// Puts itself around a service.
    fn wrap(&self, inner: BoxMessageService) -> BoxMessageService;
}

impl<L> NamedLayer for L
where
    L: Layer<BoxMessageService> + Send + Sync + 'static,
    L::Service: Service<Request, Response = Reply, Error = BoxError> + Send + 'static,
    <L::Service as Service<Request>>::Future: Send + 'static,
{
    fn wrap(&self, inner: BoxMessageService) -> BoxMessageService {
        BoxService::new(self.layer(inner))
    }
}

/// A layer that was chosen by name, ready for a listener.
#[derive(Clone)]
pub struct MessageLayer(Arc<dyn NamedLayer>);

impl MessageLayer {
    /// Any layer around messages of bytes.
    pub fn new(layer: impl NamedLayer) -> Self {
        Self(Arc::new(layer))
    }
}

impl fmt::Debug for MessageLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MessageLayer")
    }
}

/// Several layers by name as one, outermost first.
#[derive(Debug, Clone)]
pub(crate) struct Dynamic(Arc<[MessageLayer]>);

impl Dynamic {
    pub(crate) fn new(layers: Vec<MessageLayer>) -> Self {
        Self(layers.into())
    }
}

impl<S> Layer<S> for Dynamic
where
    S: Service<Request, Response = Reply, Error = BoxError> + Send + 'static,
    S::Future: Send + 'static,
{
    type Service = BoxMessageService;

    fn layer(&self, inner: S) -> BoxMessageService {
        self.0.iter().rev().fold(BoxService::new(inner), |inner, MessageLayer(layer)| layer.wrap(inner))
    }
}

type Build = Box<dyn Fn(Value) -> Result<MessageLayer> + Send + Sync>;

/// A layer that configuration can name.
pub struct LayerEntry {
    name: String,
    about: String,
    options: Value,
    check: fn(&Value) -> Result<(), OptionError>,
    build: Build,
}

impl LayerEntry {
    pub(crate) fn new<O, L, B>(name: &str, build: B) -> Self
    where
        O: Options,
        L: NamedLayer,
        B: Fn(O) -> Result<L> + Send + Sync + 'static,
    {
        let check = |options: &Value| read::<O>(options).map(drop);
        let build = move |options: Value| Ok(MessageLayer::new(build(read(&options)?)?));
        Self { name: name.to_owned(), about: String::new(), options: schema::<O>(), check, build: Box::new(build) }
    }

    /// Says in a few words what it does.
    pub fn summary(&mut self, about: &str) -> &mut Self {
        about.clone_into(&mut self.about);
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

    /// JSON Schema of its options.
    pub fn options(&self) -> &Value {
        &self.options
    }

    /// Reads the options and says the first thing that is wrong with them.
    pub fn check_options(&self, options: &Value) -> Result<(), OptionError> {
        (self.check)(options)
    }

    /// Makes the layer.
    pub fn build(&self, options: Value) -> Result<MessageLayer> {
        (self.build)(options)
    }
}

impl fmt::Debug for LayerEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerEntry").field("name", &self.name).finish_non_exhaustive()
    }
}

pub(super) fn add_built_in(registry: &mut Registry) {
    add::<ConcurrencyOptions>(registry);
    add::<RateOptions>(registry);
    add::<TimeoutOptions>(registry);
    add::<TraceOptions>(registry);
}

fn add<O: LayerOptions<Layer: NamedLayer>>(registry: &mut Registry) {
    registry.layer(O::NAME, O::build).summary(O::SUMMARY);
}
