//! The log: events on standard error, as text or JSON (Cargo feature `log`).
//!
//! The framework emits `tracing` events. A program without a subscriber prints none of them. [`install`] installs the
//! subscriber of the `switchboard` program:
//!
//! ```no_run
//! use switchboard::log;
//! use switchboard::prelude::*;
//! use switchboard::settings::LogSettings;
//!
//! #[tokio::main]
//! async fn main() -> Result<()> {
//!     let _log = log::install(&LogSettings::default())?; // dropped at the end of main
//!     let echo = handler_fn(|_: Context, message: Bytes| async move { Ok(Reply::send(message)) });
//!     Server::bind("tcp://127.0.0.1:9999").framing(Lines::default()).serve(echo).await
//! }
//! ```
//!
//! ```text
//! {"timestamp":"…","level":"INFO","message":"listening","listener":"main","address":"tcp://127.0.0.1:9999"}
//! ```
//!
//! Logging never blocks the server. Lines go through a bounded queue to a thread. If standard error stalls or is
//! closed, lines are dropped and counted, and the count is logged later. Lines above a rate are counted too.

mod escaped_lines;
mod journal;
mod line_limit;
mod queue;
mod tail;
mod writer;

pub use tail::LOG_TAIL;

use std::env;
use std::fmt;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::panic;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::level_filters::LevelFilter;
use tracing_log::{AsLog, LogTracer};
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

pub use crate::log::journal::journal_prefix;

use crate::error::debug_as_display;
use crate::log::escaped_lines::EscapedLines;
use crate::log::line_limit::LineLimit;
use crate::log::queue::LogQueue;
use crate::log::writer::{LineWriter, WriterState};
use crate::settings::log::parse_level;
use crate::settings::{LogFormat, LogSettings};

/// The target of the events of the log itself.
const TARGET: &str = "switchboard";
/// Maximum wait for space in a full pipe or on a full disk, before lines are dropped.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// Installs the subscriber for the whole process, and a panic hook that logs panics.
///
/// The defaults of [`LogSettings`] are level info, text on a terminal and otherwise JSON, and 100 lines per second of
/// one event and listener. The environment variable `RUST_LOG` takes precedence over [`LogSettings::level`], unless it
/// is empty. `NO_COLOR` disables colours. If the systemd journal reads standard error, each line begins with its
/// [priority](journal_prefix).
///
/// Keep the returned value until the program ends. Dropping it writes the queued lines, and later lines are lost.
///
/// # Errors
///
/// The level or `RUST_LOG` is invalid, or the process has another subscriber. Then nothing has changed.
pub fn install(settings: &LogSettings) -> Result<Log, InstallError> {
    let level = match LogSettings::level_of_rust_log(&env::var_os("RUST_LOG").unwrap_or_default()) {
        Ok(level) => level.unwrap_or_else(|| settings.level.clone()),
        Err(error) => return Err(InstallError::InvalidLevel("environment variable RUST_LOG", error)),
    };
    let first_filter = parse_level(&level).map_err(|error| InstallError::InvalidLevel("log level", error))?;
    let (state, limit) = (Arc::new(WriterState::default()), LineLimit::default());
    limit.set_rate(settings.lines);
    // A duplicate of standard error bypasses the lock of std, because the log thread may block while it writes.
    let stderr = io::stderr().as_fd().try_clone_to_owned().ok().map(File::from);
    let queue = LogQueue::new(LineWriter::new(stderr, MAX_WAIT, state.clone()), state, limit.clone());
    let (format_layer, format) = reload::Layer::new(stderr_layer(settings.format, queue.clone()));
    let (filter_layer, filter) = reload::Layer::new(first_filter);
    let subscriber = tracing_subscriber::registry().with(format_layer).with(filter_layer).with(limit.clone());
    tracing::subscriber::set_global_default(subscriber).map_err(|_| InstallError::AlreadyInstalled)?;
    // Fails if the program has a logger of the crate log, which then stays in use.
    let _ = LogTracer::builder().with_max_level(LevelFilter::current().as_log()).init();
    panic::set_hook(Box::new(log_panic));
    Ok(Log { queue, limit, level: Mutex::new(level), filter, format })
}

/// The log could not be installed.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// The level in the settings or in the environment is not a level or filter.
    #[error("{0}: {1}")]
    InvalidLevel(&'static str, String),
    /// The process has a `tracing` subscriber already, which stays in use.
    #[error("cannot install the log: this process already has a tracing subscriber; install only one of them")]
    AlreadyInstalled,
}

debug_as_display!(InstallError);

/// The installed log. Dropping it [closes](Self::close) the log.
#[must_use = "the log is closed when this value is dropped; `let _log = …` keeps it"]
pub struct Log {
    queue: LogQueue,
    limit: LineLimit,
    /// The level or filter as it was configured.
    level: Mutex<String>,
    filter: reload::Handle<EnvFilter, Layered<reload::Layer<BoxLayer, Registry>, Registry>>,
    format: reload::Handle<BoxLayer, Registry>,
}

type BoxLayer = Box<dyn Layer<Registry> + Send + Sync>;

impl Log {
    /// The current level or filter.
    pub fn level(&self) -> String {
        self.level.lock().clone()
    }

    /// Changes the level or filter.
    ///
    /// # Errors
    ///
    /// The text is not a level or filter. Then nothing changes.
    pub fn set_level(&self, level: &str) -> Result<(), String> {
        let filter = parse_level(level)?;
        let before = std::mem::replace(&mut *self.level.lock(), level.to_owned());
        let log = || tracing::info!(target: TARGET, before, after = level, "log level changed");
        // A level such as error hides the event, so it is logged under the filter that shows it.
        let is_shown = tracing::enabled!(target: TARGET, tracing::Level::INFO);
        if is_shown && before != level {
            log();
        }
        // Fails only after the subscriber was dropped.
        let _ = self.filter.reload(filter);
        if !is_shown && before != level {
            log();
        }
        Ok(())
    }

    /// Changes all settings. `RUST_LOG` is not read again.
    ///
    /// # Errors
    ///
    /// The level is invalid. Then nothing changes.
    pub fn apply(&self, settings: &LogSettings) -> Result<(), String> {
        self.set_level(&settings.level)?;
        self.limit.set_rate(settings.lines);
        let _ = self.format.reload(stderr_layer(settings.format, self.queue.clone()));
        Ok(())
    }

    /// The number of lines so far, and those of the last [`LOG_TAIL`] lines that came after the first `after` lines.
    /// Lines are as they were printed, without colours, and at most 4 KiB of each. While standard error stalls, no
    /// lines are added.
    pub fn tail(&self, after: u64) -> (u64, Vec<String>) {
        self.queue.tail(after)
    }

    /// Writes the queued lines, unless standard error stalls. Later lines are lost.
    pub fn close(&self) {
        self.queue.close();
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("level", &self.level).finish_non_exhaustive()
    }
}

/// Whether events on the standard error of this process are JSON in this format.
pub fn is_json(format: LogFormat) -> bool {
    writes_json(format, io::stderr().is_terminal())
}

fn writes_json(format: LogFormat, is_terminal: bool) -> bool {
    format == LogFormat::Json || (format == LogFormat::Auto && !is_terminal)
}

fn stderr_layer(format: LogFormat, queue: LogQueue) -> BoxLayer {
    let is_terminal = io::stderr().is_terminal();
    let color = is_terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    layer(format, is_terminal, color, queue)
}

fn layer(format: LogFormat, is_terminal: bool, color: bool, queue: LogQueue) -> BoxLayer {
    let lines = |color| EscapedLines { queue, color, prefix: "" };
    if writes_json(format, is_terminal) {
        let layer =
            tracing_subscriber::fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(false);
        layer.with_writer(lines(false)).boxed()
    } else {
        tracing_subscriber::fmt::layer().with_ansi(color).with_target(false).with_writer(lines(color)).boxed()
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
