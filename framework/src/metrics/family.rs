//! The metrics of all handlers of one server: their names, labels and series, and which of them can exist together.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::metrics::counts::{Counted, Counts};
use crate::metrics::series::{Counter, Gauge, Histogram, MetricKind, MetricValue};

/// Maximum bytes of the name of a metric or label.
const MAX_NAME: usize = 64;
/// Maximum bytes of a label value.
const MAX_VALUE: usize = 64;
/// Maximum bytes of the help text of a metric.
const MAX_HELP: usize = 512;
/// What the text format appends to the name of a histogram.
const HISTOGRAM_SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];

/// A snapshot of one metric of the handlers of a server.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct HandlerMetric {
    /// The name that the handler has chosen.
    pub name: String,
    /// The type.
    pub kind: MetricKind,
    /// The help text.
    pub help: String,
    /// The series of all handlers with this metric.
    pub samples: Vec<HandlerSample>,
}

/// A snapshot of one series.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct HandlerSample {
    /// The name of the handler.
    pub handler: String,
    /// The label of the handler with its value, if the metric has one.
    pub label: Option<(String, String)>,
    /// The value.
    pub value: MetricValue,
}

#[derive(Debug, Clone)]
pub(super) enum Series {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

/// A label with its values.
pub(super) type Label = (String, Vec<String>);

/// One metric of one handler.
#[derive(Debug)]
pub(super) struct Family {
    name: String,
    help: String,
    kind: MetricKind,
    bounds: Vec<f64>,
    /// Without a label, there is one series.
    label: Option<Label>,
    series: Vec<Series>,
}

impl Family {
    pub(super) fn new(
        name: &str,
        help: &str,
        kind: MetricKind,
        bounds: &[f64],
        label: Option<Label>,
        new: impl FnMut() -> Series,
    ) -> Self {
        let count = label.as_ref().map_or(1, |(_, values)| values.len());
        let series = std::iter::repeat_with(new).take(count).collect();
        Self { name: name.to_owned(), help: help.to_owned(), kind, bounds: bounds.to_vec(), label, series }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn series(&self) -> impl Iterator<Item = &Series> {
        self.series.iter()
    }

    fn label_name(&self) -> Option<&str> {
        self.label.as_ref().map(|(name, _)| &**name)
    }

    /// Every name of a sample in the text format.
    fn sample_names(&self) -> impl Iterator<Item = String> {
        let suffixes = if self.kind == MetricKind::Histogram { &HISTOGRAM_SUFFIXES[..] } else { &[] };
        std::iter::once("").chain(suffixes.iter().copied()).map(|suffix| format!("{}{suffix}", self.name))
    }

    /// The number of series in the text format.
    pub(super) fn size(&self) -> usize {
        let each = if self.kind == MetricKind::Histogram { self.bounds.len() + HISTOGRAM_SUFFIXES.len() } else { 1 };
        self.series.len().saturating_mul(each)
    }

    fn check(&self) -> Result<(), String> {
        check_name("the name", &self.name)?;
        if self.help.is_empty() || self.help.len() > MAX_HELP {
            return Err(format!("the help text has {} bytes; 1 to {MAX_HELP} are possible", self.help.len()));
        }
        let ascends = self.bounds.is_sorted_by(|one, next| one < next) && self.bounds.iter().all(|at| at.is_finite());
        if self.kind == MetricKind::Histogram && (self.bounds.is_empty() || !ascends) {
            return Err("the bounds of a histogram must be finite and ascending, and at least one".to_owned());
        }
        let Some((label, values)) = &self.label else { return Ok(()) };
        check_name("the label", label)?;
        if ["handler", "le"].contains(&&**label) {
            return Err(format!("the label {label} is reserved; choose another one"));
        }
        if values.is_empty() {
            return Err(format!("the label {label} has no values"));
        }
        for (place, value) in values.iter().enumerate() {
            if value.is_empty() || value.len() > MAX_VALUE {
                return Err(format!("a value of the label {label} has {} bytes; use 1 to {MAX_VALUE}", value.len()));
            }
            if values[..place].contains(value) {
                return Err(format!("the label {label} has the value {value:?} twice"));
            }
        }
        Ok(())
    }

    /// Whether both can be registered; the error is a sentence with the reason.
    fn check_beside(&self, known: &Self, handler: &str, is_same_handler: bool) -> Result<(), String> {
        if self.name != known.name {
            return match self.sample_names().find(|name| known.sample_names().any(|other| other == *name)) {
                Some(name) => Err(format!("the sample {name} belongs to the metric {} of {handler}", known.name)),
                None => Ok(()),
            };
        }
        let describe = |family: &Self| match family.label_name() {
            Some(label) => format!("a {} with the label {label}", family.kind.as_str()),
            None => format!("a {} without a label", family.kind.as_str()),
        };
        if self.kind != known.kind || self.label_name() != known.label_name() {
            let (new, old) = (describe(self), describe(known));
            return Err(format!("it is {new} here, and {old} in the handler {handler}; choose another name"));
        }
        if is_same_handler && (self.label != known.label || self.bounds != known.bounds) {
            return Err("it is registered with other label values or bounds; choose another name".to_owned());
        }
        Ok(())
    }

    fn samples(&self, handler: &str) -> impl Iterator<Item = HandlerSample> {
        self.series.iter().enumerate().map(move |(place, series)| HandlerSample {
            handler: handler.to_owned(),
            label: self.label.as_ref().map(|(name, values)| (name.clone(), values[place].clone())),
            value: match series {
                Series::Counter(counter) => MetricValue::Counter(counter.get()),
                Series::Gauge(gauge) => MetricValue::Gauge(gauge.get()),
                Series::Histogram(histogram) => histogram.read(),
            },
        })
    }
}

fn check_name(what: &str, name: &str) -> Result<(), String> {
    let is_valid = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if is_valid && name.len() <= MAX_NAME {
        return Ok(());
    }
    Err(format!("{what} {name:?} must be a-z, then a-z, 0-9 and _, and have at most {MAX_NAME} bytes"))
}

/// The metrics of all handlers of one server, by metric and handler. A metric is removed when the last handler
/// instance that registered it has stopped.
#[derive(Debug, Clone, Default)]
pub(crate) struct HandlerMetricStore(Arc<Mutex<Families>>);

type Families = BTreeMap<(String, Arc<str>), Weak<Family>>;

impl HandlerMetricStore {
    /// Adds a metric, or returns the same metric of an earlier handler of this name. The error is the name of the
    /// metric and a sentence with the reason.
    pub(super) fn add(&self, handler: &Arc<str>, wanted: Family) -> Result<Arc<Family>, (String, String)> {
        let mut families = self.0.lock();
        families.retain(|_, family| family.strong_count() > 0);
        let mut known = families.iter().filter_map(|((_, owner), family)| Some((owner, family.upgrade()?)));
        let checked = wanted
            .check()
            .and_then(|()| known.try_for_each(|(owner, known)| wanted.check_beside(&known, owner, owner == handler)));
        if let Err(problem) = checked {
            return Err((wanted.name, problem));
        }
        let key = (wanted.name.clone(), handler.clone());
        if let Some(known) = families.get(&key).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let family = Arc::new(wanted);
        families.insert(key, Arc::downgrade(&family));
        Ok(family)
    }

    /// Adds the counts of another process. False if there is no such counter or histogram.
    pub(crate) fn add_counts(&self, counts: &Counts) -> bool {
        let Counted::Handler { metric, handler, label } = &counts.of else { return false };
        let key = (metric.clone(), handler.as_str().into());
        let Some(family) = self.0.lock().get(&key).and_then(Weak::upgrade) else { return false };
        let place = match (&family.label, label) {
            (None, None) => Some(0),
            (Some((_, values)), Some(label)) => values.iter().position(|value| value == label),
            _ => None,
        };
        match place.and_then(|place| family.series.get(place)) {
            Some(Series::Counter(counter)) => counter.add(counts.counter()),
            Some(Series::Histogram(histogram)) => histogram.add_counts(counts.buckets(), counts.sum),
            Some(Series::Gauge(_)) | None => return false,
        }
        true
    }

    pub(crate) fn read(&self) -> Vec<HandlerMetric> {
        let families = self.0.lock();
        let mut metrics: Vec<HandlerMetric> = Vec::new();
        for ((_, handler), family) in &*families {
            let Some(family) = family.upgrade() else { continue };
            let samples = family.samples(handler);
            match metrics.last_mut().filter(|metric| metric.name == family.name) {
                Some(metric) => metric.samples.extend(samples),
                None => metrics.push(HandlerMetric {
                    name: family.name.clone(),
                    kind: family.kind,
                    help: family.help.clone(),
                    samples: samples.collect(),
                }),
            }
        }
        metrics
    }
}
