//! The last intervals of one length, for the whole server and for each listener.

use std::collections::{BTreeMap, VecDeque};

use super::sample::{NO_VALUES, Row, Sample};

/// Rows that a series allocates at a time.
const GROWTH: usize = 300;

/// Rows of all series. The last row of each series is that of the interval `last`.
#[derive(Debug)]
pub(super) struct Ring {
    capacity: usize,
    max_listeners: usize,
    last: u64,
    total: Series,
    listeners: BTreeMap<String, Series>,
}

#[derive(Debug, Default)]
struct Series {
    rows: VecDeque<Row>,
    /// The counters at the end of an interval.
    before: Option<(Sample, u64)>,
    /// The interval of the last row with values.
    recorded: u64,
}

impl Ring {
    /// A ring that begins with the process: all counters were zero at the end of interval 0.
    pub(super) fn new(capacity: usize, max_listeners: usize) -> Self {
        let total = Series { before: Some((Sample::default(), 0)), ..Series::default() };
        Self { capacity, max_listeners, last: 0, total, listeners: BTreeMap::new() }
    }

    /// Sets the counters at the end of an interval, of the whole server or of a listener.
    pub(super) fn begin_with(&mut self, listener: Option<&str>, sample: &Sample, interval: u64) {
        if let Some(series) = self.series_or_new(listener) {
            series.before = Some((sample.clone(), interval));
        }
    }

    /// Adds rows that another process has recorded, the last ones for the interval `last`.
    pub(super) fn continue_from(&mut self, listener: Option<&str>, rows: Vec<Row>, last: u64) {
        let capacity = self.capacity;
        if let Some(series) = self.series_or_new(listener) {
            rows.into_iter().for_each(|row| series.push(row, capacity));
            series.recorded = last;
        }
        self.last = last;
    }

    /// The last interval.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// The names and rows of all series.
    pub(super) fn all(&self) -> impl Iterator<Item = (Option<&str>, &VecDeque<Row>)> {
        let listeners = self.listeners.iter().map(|(name, series)| (Some(&**name), &series.rows));
        [(None, &self.total.rows)].into_iter().chain(listeners)
    }

    /// `None` if there is no room for the listener.
    fn series_or_new(&mut self, listener: Option<&str>) -> Option<&mut Series> {
        let Some(name) = listener else { return Some(&mut self.total) };
        let has_room = self.listeners.len() < self.max_listeners || self.listeners.contains_key(name);
        has_room.then(|| self.listeners.entry(name.to_owned()).or_default())
    }

    /// Adds the row of an interval, after rows without values for the intervals that were missed. `listeners` is sorted
    /// by name. `open` returns the open connections of the whole server or of a listener.
    pub(super) fn add(
        &mut self,
        interval: u64,
        total: &Sample,
        listeners: &[(String, Sample)],
        open: impl Fn(Option<&str>, &Sample) -> u64,
    ) {
        if interval <= self.last {
            return; // this interval has its row
        }
        let missed = interval - self.last - 1;
        let is_next = missed == 0;
        let missed = usize::try_from(missed).unwrap_or(usize::MAX).min(self.capacity);
        for series in self.listeners.values_mut().chain([&mut self.total]) {
            (0..missed).for_each(|_| series.push(NO_VALUES, self.capacity));
        }
        self.total.record(interval, total, open(None, total), self.capacity);
        let listens = |name: &str| listeners.binary_search_by(|(listener, _)| (**listener).cmp(name)).is_ok();
        for (_, series) in self.listeners.iter_mut().filter(|(name, _)| !listens(name)) {
            series.push(NO_VALUES, self.capacity);
            // A listener that comes back counts from zero.
            series.before = Some((Sample::default(), interval));
        }
        for (name, sample) in listeners {
            if !self.listeners.contains_key(name) && !self.make_room(listens) {
                continue;
            }
            let series = self.listeners.entry(name.clone()).or_default();
            if series.before.is_none() && is_next {
                // The listener has started in this interval, so its counters were zero.
                series.before = Some((Sample::default(), interval - 1));
            }
            series.record(interval, sample, open(Some(name), sample), self.capacity);
        }
        self.last = interval;
    }

    /// Whether another listener has room. Removes the listener that has been gone for longest, if one is gone.
    fn make_room(&mut self, listens: impl Fn(&str) -> bool) -> bool {
        if self.listeners.len() < self.max_listeners {
            return true;
        }
        let gone = self.listeners.iter().filter(|(name, _)| !listens(name));
        let oldest = gone.min_by_key(|(_, series)| series.recorded);
        let oldest = oldest.map(|(name, _)| name.clone());
        oldest.is_some_and(|name| self.listeners.remove(&name).is_some())
    }

    /// The last interval and its rows, at most `limit`, of the whole server or of a listener.
    pub(super) fn read(&self, listener: Option<&str>, limit: usize) -> Option<(u64, Vec<Row>)> {
        let rows = &self.series(listener)?.rows;
        let rows = rows.range(rows.len().saturating_sub(limit)..).copied().collect();
        Some((self.last, rows))
    }

    /// The most open connections in the last rows.
    pub(super) fn peak(&self, listener: Option<&str>, rows: usize) -> u64 {
        let last = self.series(listener).into_iter().flat_map(|series| series.rows.iter().rev().take(rows));
        last.filter_map(|row| row[0].get()).max().unwrap_or_default()
    }

    fn series(&self, listener: Option<&str>) -> Option<&Series> {
        match listener {
            None => Some(&self.total),
            Some(name) => self.listeners.get(name),
        }
    }
}

impl Series {
    fn record(&mut self, interval: u64, sample: &Sample, open: u64, capacity: usize) {
        if let Some((before, at)) = &self.before {
            let row = sample.since(before, open, interval.saturating_sub(*at));
            self.push(row, capacity);
        }
        (self.before, self.recorded) = (Some((sample.clone(), interval)), interval);
    }

    fn push(&mut self, row: Row, capacity: usize) {
        if self.rows.len() == capacity {
            self.rows.pop_front();
        } else if self.rows.len() == self.rows.capacity() {
            self.rows.reserve_exact(GROWTH.min(capacity - self.rows.len()));
        }
        self.rows.push_back(row);
    }
}
