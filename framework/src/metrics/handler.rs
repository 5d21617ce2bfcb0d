//! Metrics that a handler registers when it starts: counters, gauges and histograms. The set of series is fixed by the
//! registration, so that no client can add one.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::debug_as_display;
use crate::metrics::family::{Family, HandlerMetricStore, Label, Series};
use crate::metrics::series::{Counter, Gauge, Histogram, MetricKind};

/// Maximum metrics of one handler.
const MAX_METRICS: usize = 64;
/// Maximum series of all metrics of one handler. A histogram has one series per bound, and three more.
const MAX_SERIES: usize = 1_000;

/// A metric cannot be registered.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("metric {name:?}: {problem}")]
pub struct MetricError {
    name: String,
    problem: String,
}

debug_as_display!(MetricError);

/// Registers the metrics of a handler. The admin endpoint shows them as `switchboard_handler_NAME{handler="…"}`.
///
/// A metric is registered in [`Handler::start`](crate::Handler::start), and its values change at any time. Names and
/// labels consist of a-z, 0-9 and `_`. A handler can have 64 metrics with 1,000 series. Handlers of one server can
/// register the same metric if it has the same type and label.
///
/// After a reload, a handler with the same name continues the values. After an upgrade of the program `switchboard`, it
/// continues those of counters and histograms. A metric disappears when no running handler has registered it.
///
/// ```
/// use std::sync::OnceLock;
/// use switchboard::metrics::Counter;
/// use switchboard::prelude::*;
///
/// #[derive(Default)]
/// struct Store {
///     lookups: OnceLock<Vec<Counter>>,
/// }
///
/// impl Handler for Store {
///     type State = ();
///
///     async fn start(&self, cx: &StartContext) -> Result<()> {
///         let results = ["hit", "miss"];
///         let lookups = cx.metrics().counter_with("lookups_total", "Lookups, by result.", "result", &results)?;
///         let _ = self.lookups.set(lookups); // `start` is called once
///         Ok(())
///     }
///
///     async fn message(&self, _: &mut Context, _: Bytes) -> Result<Reply> {
///         if let Some(lookups) = self.lookups.get() {
///             lookups[1].add(1); // a miss
///         }
///         Ok(Reply::send("not found"))
///     }
/// }
/// ```
pub struct HandlerMetrics {
    handler: Arc<str>,
    store: HandlerMetricStore,
    /// Keeps the metrics in the store.
    registered: Mutex<Vec<Arc<Family>>>,
}

impl HandlerMetrics {
    pub(crate) fn new(handler: Arc<str>, store: HandlerMetricStore) -> Self {
        Self { handler, store, registered: Mutex::default() }
    }

    /// Registers a counter. By convention its name ends in `_total`.
    pub fn counter(&self, name: &str, help: &str) -> Result<Counter, MetricError> {
        Ok(self.counters(name, help, None)?.remove(0))
    }

    /// Registers a gauge.
    pub fn gauge(&self, name: &str, help: &str) -> Result<Gauge, MetricError> {
        Ok(self.gauges(name, help, None)?.remove(0))
    }

    /// Registers a histogram with ascending upper bounds.
    pub fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Result<Histogram, MetricError> {
        Ok(self.histograms(name, help, bounds, None)?.remove(0))
    }

    /// Registers a counter for each value of a label, in the order of the values.
    pub fn counter_with(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: &[impl AsRef<str>],
    ) -> Result<Vec<Counter>, MetricError> {
        self.counters(name, help, label_of(label, values))
    }

    /// Registers a gauge for each value of a label, in the order of the values.
    pub fn gauge_with(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: &[impl AsRef<str>],
    ) -> Result<Vec<Gauge>, MetricError> {
        self.gauges(name, help, label_of(label, values))
    }

    /// Registers a histogram for each value of a label, in the order of the values.
    pub fn histogram_with(
        &self,
        name: &str,
        help: &str,
        bounds: &[f64],
        label: &str,
        values: &[impl AsRef<str>],
    ) -> Result<Vec<Histogram>, MetricError> {
        self.histograms(name, help, bounds, label_of(label, values))
    }

    fn counters(&self, name: &str, help: &str, label: Option<Label>) -> Result<Vec<Counter>, MetricError> {
        let new = || Series::Counter(Counter::default());
        let family = Family::new(name, help, MetricKind::Counter, &[], label, new);
        self.series(family, |one| if let Series::Counter(one) = one { Some(one) } else { None })
    }

    fn gauges(&self, name: &str, help: &str, label: Option<Label>) -> Result<Vec<Gauge>, MetricError> {
        let new = || Series::Gauge(Gauge::default());
        let family = Family::new(name, help, MetricKind::Gauge, &[], label, new);
        self.series(family, |one| if let Series::Gauge(one) = one { Some(one) } else { None })
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        bounds: &[f64],
        label: Option<Label>,
    ) -> Result<Vec<Histogram>, MetricError> {
        let new = || Series::Histogram(Histogram::new(bounds));
        let family = Family::new(name, help, MetricKind::Histogram, bounds, label, new);
        self.series(family, |one| if let Series::Histogram(one) = one { Some(one) } else { None })
    }

    /// Registers a metric, and returns its series, which have the type that `of` selects.
    fn series<T: Clone>(&self, family: Family, of: fn(&Series) -> Option<&T>) -> Result<Vec<T>, MetricError> {
        Ok(self.register(family)?.series().filter_map(of).cloned().collect())
    }

    /// Returns the existing metric if the handler, or an earlier handler with its name, has registered the same.
    fn register(&self, wanted: Family) -> Result<Arc<Family>, MetricError> {
        let mut registered = self.registered.lock();
        let is_known = registered.iter().any(|known| known.name() == wanted.name());
        let series = registered.iter().map(|known| known.size()).sum::<usize>().saturating_add(wanted.size());
        let too_many = match (is_known, registered.len()) {
            (false, MAX_METRICS..) => Some(format!("a handler can have {MAX_METRICS} metrics")),
            (false, _) if series > MAX_SERIES => {
                Some(format!("a handler can have {MAX_SERIES} series, and would have {series}"))
            }
            _ => None,
        };
        let added = match too_many {
            Some(problem) => Err((wanted.name().to_owned(), problem)),
            None => self.store.add(&self.handler, wanted),
        };
        let family = added.map_err(|(name, problem)| MetricError { name, problem })?;
        if !is_known {
            registered.push(family.clone());
        }
        Ok(family)
    }
}

fn label_of(label: &str, values: &[impl AsRef<str>]) -> Option<Label> {
    Some((label.to_owned(), values.iter().map(|value| value.as_ref().to_owned()).collect()))
}

impl std::fmt::Debug for HandlerMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HandlerMetrics").field("handler", &self.handler).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
