//! Limits the lines per second of each event and listener, so that clients cannot fill the disk.

use std::collections::HashMap;
use std::fmt::{Debug, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::settings::Rate;
use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Maximum counted pairs of an event and a listener. Further listeners share one count per event.
const MAX_COUNTS: usize = 4096;
/// Longest event name in a report.
const MAX_NAME: usize = 100;

/// Drops the lines above a rate and counts them. Levels debug and trace have no limit, because operators choose them
/// for a short time.
#[derive(Debug, Clone, Default)]
pub(super) struct LineLimit(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    rate: Rate,
    counts: HashMap<(Identifier, String), LineCount>,
}

/// The lines of one event and listener in one period of the rate.
#[derive(Debug)]
struct LineCount {
    /// The message of the first event.
    event: String,
    is_error: bool,
    begin: Instant,
    lines: u32,
    suppressed: u64,
}

impl LineLimit {
    pub(super) fn set_rate(&self, rate: Rate) {
        self.0.lock().rate = rate;
    }

    /// Logs how many lines of each event were suppressed since the last report.
    pub(super) fn report(&self) {
        let mut state = self.0.lock();
        let suppressed = state.counts.iter_mut().filter(|(_, entry)| entry.suppressed > 0);
        let reports: Vec<_> = suppressed
            .map(|((_, listener), entry)| {
                let count = std::mem::take(&mut entry.suppressed);
                (listener.clone(), entry.event.clone(), entry.is_error, count)
            })
            .collect();
        drop(state);
        for (listener, event, is_error, count) in reports {
            let listener = Some(&*listener).filter(|name| !name.is_empty());
            // At the level that made the suppressed lines visible.
            if is_error {
                tracing::error!(target: "switchboard", event, listener, count, "log lines suppressed");
            } else {
                tracing::warn!(target: "switchboard", event, listener, count, "log lines suppressed");
            }
        }
    }

    fn allows(&self, event: &Event<'_>) -> bool {
        if *event.metadata().level() > Level::INFO {
            return true;
        }
        let mut listener = Text::of("listener");
        event.record(&mut listener);
        let (mut key, now) = ((event.metadata().callsite(), listener.value), Instant::now());
        let mut state = self.0.lock();
        let (most, period) = (state.rate.count(), state.rate.per());
        if state.rate.is_off() {
            return true;
        }
        if !state.counts.contains_key(&key) {
            if state.counts.len() >= MAX_COUNTS {
                state.counts.retain(|_, entry| !entry.is_over(now, period) || entry.suppressed > 0);
            }
            if state.counts.len() >= MAX_COUNTS {
                key.1.clear();
            }
        }
        let entry = state.counts.entry(key).or_insert_with(|| {
            let mut message = Text::of("message");
            event.record(&mut message);
            LineCount::new(message.value, *event.metadata().level() == Level::ERROR, now)
        });
        if entry.is_over(now, period) {
            (entry.begin, entry.lines) = (now, 0);
        }
        if entry.lines < most {
            entry.lines += 1;
            return true;
        }
        entry.suppressed += 1;
        false
    }
}

impl LineCount {
    fn new(event: String, is_error: bool, begin: Instant) -> Self {
        Self { event, is_error, begin, lines: 0, suppressed: 0 }
    }

    fn is_over(&self, now: Instant, period: Duration) -> bool {
        now.saturating_duration_since(self.begin) >= period
    }
}

impl<S: Subscriber> Layer<S> for LineLimit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.allows(event)
    }
}

/// The text of one field; empty if the event does not have it.
struct Text {
    field: &'static str,
    value: String,
}

impl Text {
    fn of(field: &'static str) -> Self {
        Self { field, value: String::new() }
    }
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == self.field {
            self.value.extend(value.chars().take(MAX_NAME));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == self.field {
            let mut text = String::new();
            let _ = write!(text, "{value:?}"); // writing to a string does not fail
            self.record_str(field, &text);
        }
    }
}

#[cfg(test)]
mod tests;
