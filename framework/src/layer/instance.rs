//! A layer with its options, and several of them as one layer.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use tower::util::BoxService;
use tower::{Layer, Service};

use crate::error::BoxError;
use crate::handler::{Reply, Request};

/// The boxed message service that a layer by name wraps.
pub type BoxMessageService = BoxService<Request, Reply, BoxError>;

/// A layer that can wrap a boxed message service.
pub trait NamedLayer: Send + Sync + 'static {
    /// Wraps a service.
    fn wrap_boxed(&self, inner: BoxMessageService) -> BoxMessageService;
}

impl<L> NamedLayer for L
where
    L: Layer<BoxMessageService> + Send + Sync + 'static,
    L::Service: Service<Request, Response = Reply, Error = BoxError> + Send + 'static,
    <L::Service as Service<Request>>::Future: Send + 'static,
{
    fn wrap_boxed(&self, inner: BoxMessageService) -> BoxMessageService {
        BoxService::new(self.layer(inner))
    }
}

/// A layer with its options. Clones are the same instance and share its counts.
///
/// Two instances are equal if a registry built both by the same name from equal options. An instance that no registry
/// has built is equal to its clones.
#[derive(Clone)]
pub struct LayerInstance {
    layer: Arc<dyn NamedLayer>,
    /// The name and the options in the configuration.
    id: Option<Arc<(String, Value)>>,
}

impl LayerInstance {
    /// A layer around messages of bytes.
    pub fn new(layer: impl NamedLayer) -> Self {
        Self { layer: Arc::new(layer), id: None }
    }

    /// Sets the name and the options that it was built from.
    pub(crate) fn with_id(self, name: &str, options: Value) -> Self {
        Self { id: Some(Arc::new((name.to_owned(), options))), ..self }
    }
}

impl PartialEq for LayerInstance {
    fn eq(&self, other: &Self) -> bool {
        match (&self.id, &other.id) {
            (Some(one), Some(two)) => one == two,
            (None, None) => Arc::ptr_eq(&self.layer, &other.layer),
            _ => false,
        }
    }
}

impl Eq for LayerInstance {}

impl fmt::Debug for LayerInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayerInstance").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Several layers by name as one layer, outermost first.
#[derive(Debug, Clone)]
pub(crate) struct LayerChain(Arc<[LayerInstance]>);

impl LayerChain {
    pub(crate) fn new(layers: &[LayerInstance]) -> Self {
        Self(layers.into())
    }
}

impl<S> Layer<S> for LayerChain
where
    S: Service<Request, Response = Reply, Error = BoxError> + Send + 'static,
    S::Future: Send + 'static,
{
    type Service = BoxMessageService;

    fn layer(&self, inner: S) -> BoxMessageService {
        self.0.iter().rev().fold(BoxService::new(inner), |inner, instance| instance.layer.wrap_boxed(inner))
    }
}
