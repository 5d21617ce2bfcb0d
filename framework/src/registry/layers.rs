//! Layers by name.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use tower::util::BoxService;
use tower::{Layer, Service};

use crate::error::{BoxError, Result};
use crate::handler::{Reply, Request};
use crate::layer::{Concurrency, RatePerSource, Timeout, Trace};
use crate::registry::entry::Entry;
use crate::registry::options::{NoOptions, Options};
use crate::settings::Rate;

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

/// Options of the `concurrency` layer.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct ConcurrencyOptions {
    /// Handler calls that run at once, over all connections of the listener. Further calls wait.
    limit: u32,
}

impl Default for ConcurrencyOptions {
    fn default() -> Self {
        Self { limit: 1024 }
    }
}

/// Options of the `rate` layer.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct RateOptions {
    /// Messages of each source (an IPv4 address, or the /64 of an IPv6 address); 0/s: no limit.
    #[schemars(with = "String")]
    rate: Rate,
    /// Messages above the rate that are accepted at once; 0: as many as the rate allows in one second.
    burst: u32,
}

impl Default for RateOptions {
    fn default() -> Self {
        Self { rate: Rate::per_second(1000), burst: 0 }
    }
}

/// Options of the `timeout` layer.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct TimeoutOptions {
    /// How long one handler call may take; 0s: no limit.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    time: Duration,
}

impl Default for TimeoutOptions {
    fn default() -> Self {
        Self { time: Duration::from_secs(30) }
    }
}

/// The entries of the built-in layers.
pub(super) fn built_in() -> [LayerEntry; 4] {
    let mut concurrency = entry("concurrency", |options: ConcurrencyOptions| match options.limit {
        0 => Err("limit: 0 would allow no calls; give at least 1".into()),
        limit => Ok(Concurrency::new(limit as usize)),
    });
    concurrency.set_summary("limits concurrent handler calls; further calls queue");
    let mut rate = entry("rate", |options: RateOptions| Ok(RatePerSource::new(options.rate, options.burst)));
    rate.set_summary(
        "limits messages per second per source; excess stream messages wait, excess datagrams are dropped",
    );
    let mut timeout = entry("timeout", |options: TimeoutOptions| Ok(Timeout::new(options.time)));
    timeout.set_summary("limits how long one handler call may take; on timeout the connection closes");
    let mut trace = entry("trace", |_: NoOptions| Ok(Trace::messages()));
    trace.set_summary("logs each handler call at level debug");
    [concurrency, rate, timeout, trace]
}
