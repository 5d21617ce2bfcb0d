//! Limits the lines per second of each event and listener, so that clients cannot fill the disk.

use std::collections::HashMap;
use std::fmt::{Debug, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use switchboard::settings::Rate;
use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Maximum counted pairs of an event and a listener. Further listeners share one count per event.
const MAX_WINDOWS: usize = 4096;
/// Longest event name in a report.
const MAX_NAME: usize = 100;

/// Drops the lines above a rate and counts them. Levels debug and trace have no limit, because operators choose them
/// for a short time.
#[derive(Debug, Clone, Default)]
pub(super) struct LineLimit(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    rate: Rate,
    windows: HashMap<(Identifier, String), Window>,
}

/// The lines of one event and listener in one period of the rate.
#[derive(Debug)]
struct Window {
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
        let suppressed = state.windows.iter_mut().filter(|(_, window)| window.suppressed > 0);
        let reports: Vec<_> = suppressed
            .map(|((_, listener), window)| {
                let count = std::mem::take(&mut window.suppressed);
                (listener.clone(), window.event.clone(), window.is_error, count)
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
        if !state.windows.contains_key(&key) {
            if state.windows.len() >= MAX_WINDOWS {
                state.windows.retain(|_, window| !window.is_over(now, period) || window.suppressed > 0);
            }
            if state.windows.len() >= MAX_WINDOWS {
                key.1.clear();
            }
        }
        let window = state.windows.entry(key).or_insert_with(|| {
            let mut message = Text::of("message");
            event.record(&mut message);
            Window::new(message.value, *event.metadata().level() == Level::ERROR, now)
        });
        if window.is_over(now, period) {
            (window.begin, window.lines) = (now, 0);
        }
        if window.lines < most {
            window.lines += 1;
            return true;
        }
        window.suppressed += 1;
        false
    }
}

impl Window {
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
