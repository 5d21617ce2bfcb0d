//! Layers by name.

use std::fmt;
use std::sync::Arc;

use tower::util::BoxService;
use tower::{Layer, Service};

use crate::error::{BoxError, Result};
use crate::handler::{Reply, Request};
use crate::layer::{ConcurrencyOptions, LayerOptions, RateOptions, TimeoutOptions, TraceOptions};
use crate::registry::entry::Entry;
use crate::registry::options::Options;

/// The boxed message service that a layer by name wraps.
pub type BoxMessageService = BoxService<Request, Reply, BoxError>;

/// A layer that can wrap a boxed message service.
pub trait NamedLayer: Send + Sync + 'static {
    /// Wraps a service.
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

/// A layer with its options. Clones are the same instance and share its counts.
#[derive(Clone)]
pub struct LayerInstance(Arc<dyn NamedLayer>);

impl LayerInstance {
    /// A layer around messages of bytes.
    pub fn new(layer: impl NamedLayer) -> Self {
        Self(Arc::new(layer))
    }
}

impl fmt::Debug for LayerInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LayerInstance")
    }
}

/// Several layers by name as one layer, outermost first.
#[derive(Debug, Clone)]
pub(crate) struct Dynamic(Arc<[LayerInstance]>);

impl Dynamic {
    pub(crate) fn new(layers: Vec<LayerInstance>) -> Self {
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
        self.0.iter().rev().fold(BoxService::new(inner), |inner, LayerInstance(layer)| layer.wrap(inner))
    }
}

/// A layer that the configuration can name.
pub type LayerEntry = Entry<LayerInstance>;

pub(super) fn entry<O, L, B>(name: &str, build: B) -> LayerEntry
where
    O: Options,
    L: NamedLayer,
    B: Fn(O) -> Result<L> + Send + Sync + 'static,
{
    Entry::new(name, (), move |options, _| Ok(LayerInstance::new(build(options)?)))
}

/// The entries of the built-in layers.
pub(super) fn built_in() -> [LayerEntry; 4] {
    [
        built_in_entry::<ConcurrencyOptions>(),
        built_in_entry::<RateOptions>(),
        built_in_entry::<TimeoutOptions>(),
        built_in_entry::<TraceOptions>(),
    ]
}

fn built_in_entry<O: LayerOptions<Layer: NamedLayer>>() -> LayerEntry {
    let mut entry = entry(O::NAME, O::build);
    entry.set_summary(O::SUMMARY);
    entry
}
