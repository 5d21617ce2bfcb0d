//! The log: events on standard error, as text or JSON.
//!
//! Logging never blocks the server. Lines go through a bounded queue to a thread. If standard error stalls or is
//! closed, lines are dropped and counted, and the count is logged later. Lines above a rate are counted too.

mod line_limit;
mod writer;

use std::convert::Infallible;
use std::env;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal};
use std::os::fd::AsFd;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::{self, Format};
use crate::log::line_limit::LineLimit;
use crate::log::writer::{LineWriter, WriterState};

/// Lines in the queue; a few megabytes at most.
const QUEUED_LINES: usize = 8192;
/// Maximum wait for space in a full pipe or on a full disk, before lines are dropped.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// Timeout of the final flush. Dropping the guard of the queue waits one second.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(1500);

pub(crate) struct Log {
    guard: Mutex<Option<WorkerGuard>>,
    queue: NonBlocking,
    writer: Arc<WriterState>,
    limit: LineLimit,
    /// The level or filter as it was configured.
    level: Mutex<String>,
    filter: reload::Handle<EnvFilter, Layered<reload::Layer<BoxLayer, Registry>, Registry>>,
    format: reload::Handle<BoxLayer, Registry>,
}

type BoxLayer = Box<dyn Layer<Registry> + Send + Sync>;

impl Log {
    /// Installs the global subscriber and a panic hook that logs panics.
    pub(crate) fn start(log: &config::Log) -> Self {
        let (state, limit) = (Arc::new(WriterState::default()), LineLimit::default());
        limit.set_rate(log.lines);
        // A duplicate of standard error bypasses the lock of std, because the log thread may block while it writes.
        let stderr = io::stderr().as_fd().try_clone_to_owned().ok().map(File::from);
        let writer = BufWriter::new(LineWriter::new(stderr, MAX_WAIT, state.clone()));
        let queue = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUED_LINES).thread_name("log");
        let (queue, guard) = queue.finish(writer);
        let (format_layer, format) = reload::Layer::new(stderr_layer(log.format, queue.clone()));
        let (filter_layer, filter) = reload::Layer::new(filter(&log.level));
        // Fails only if a subscriber is installed already, which then stays in use.
        let _ = tracing_subscriber::registry().with(format_layer).with(filter_layer).with(limit.clone()).try_init();
        panic::set_hook(Box::new(log_panic));
        let (guard, level) = (Mutex::new(Some(guard)), Mutex::new(log.level.clone()));
        Self { guard, queue, writer: state, limit, level, filter, format }
    }

    pub(crate) fn level(&self) -> String {
        self.level.lock().clone()
    }

    /// Changes the level or filter until the next restart or a reload.
    pub(crate) fn set_level(&self, level: &str) -> Result<(), String> {
        config::check_level(level)?;
        let mut current = self.level.lock();
        level.clone_into(&mut current);
        // Fails only after the subscriber was dropped.
        let _ = self.filter.reload(filter(level));
        Ok(())
    }

    pub(crate) fn apply(&self, log: &config::Log) {
        let _ = self.set_level(&log.level); // validated before
        self.limit.set_rate(log.lines);
        let _ = self.format.reload(stderr_layer(log.format, self.queue.clone()));
    }

    /// Logs the numbers of suppressed and dropped lines, at most once in each interval.
    pub(crate) async fn report(&self, interval: Duration) -> Infallible {
        let errors = self.queue.error_counter();
        let dropped = || errors.dropped_lines().saturating_add(self.writer.dropped.load(Relaxed));
        let mut reported = 0;
        loop {
            tokio::time::sleep(interval).await;
            self.limit.report();
            let total = dropped();
            if total == reported {
                continue;
            }
            // The total stays correct if this line is dropped after it was queued.
            tracing::warn!(target: "switchboard", count = total - reported, total, "log lines dropped");
            // If this line was dropped at once, report the count again.
            if dropped() == total {
                reported = total;
            }
        }
    }

    /// Writes the queued lines, unless standard error stalls.
    pub(crate) fn flush(&self) {
        self.limit.report();
        self.writer.is_closing.store(true, Relaxed);
        // When the queue is full, the guard prints a warning to standard output, which may block forever. A separate
        // thread takes that risk and ends with the process.
        let (done, flushed) = mpsc::sync_channel(1);
        let guard = self.guard.lock().take();
        let thread = thread::Builder::new().name("log-flush".into()).spawn(move || {
            drop(guard);
            let _ = done.send(());
        });
        if thread.is_ok() {
            let _ = flushed.recv_timeout(FLUSH_TIMEOUT);
        }
    }
}

/// The level was validated before, so parsing does not fail here.
fn filter(level: &str) -> EnvFilter {
    EnvFilter::builder().parse_lossy(level)
}

fn stderr_layer(format: Format, queue: NonBlocking) -> BoxLayer {
    let is_terminal = io::stderr().is_terminal();
    let color = is_terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    layer(format, is_terminal, color, queue)
}

fn layer(format: Format, is_terminal: bool, color: bool, queue: NonBlocking) -> BoxLayer {
    if format == Format::Json || (format == Format::Auto && !is_terminal) {
        let layer = fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(false);
        layer.with_writer(queue).boxed()
    } else {
        fmt::layer().with_ansi(color).with_target(false).with_writer(queue).boxed()
    }
}

/// Logs a panic as an event, because the default hook prints text between the JSON lines.
fn log_panic(info: &panic::PanicHookInfo<'_>) {
    let message = info.payload_as_str().unwrap_or("no panic message");
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = thread::current().name().unwrap_or_default().to_owned();
    tracing::error!(target: "switchboard", error = message, location, thread, "panic");
}

#[cfg(test)]
mod tests;
