//! The log: events of the framework and of this crate on standard error, as text for people or JSON for programs.
//!
//! It never makes the server wait. Lines go through a bounded queue to a thread of their own; when the reader of standard
//! error stalls or is gone, lines are dropped and counted, and the count is logged as soon as a line gets through again.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::{self, Format};

/// Lines that may wait for the reader; some megabytes at most.
const WAITING: usize = 8192;
/// How long the last lines have at the end. The queue's own guard waits a second.
const LAST_LINES: Duration = Duration::from_millis(1500);

/// The log of this process, while it runs.
pub(crate) struct Log {
    guard: Mutex<Option<WorkerGuard>>,
    lost: Lost,
    queue: NonBlocking,
    /// As it was said, and as it is followed.
    level: Mutex<String>,
    filter: reload::Handle<EnvFilter, Layered<Shape, Registry>>,
    shape: reload::Handle<BoxLayer, Registry>,
}

type BoxLayer = Box<dyn Layer<Registry> + Send + Sync>;
type Shape = reload::Layer<BoxLayer, Registry>;

/// Lines that nobody will see.
#[derive(Debug, Clone)]
struct Lost {
    queue: ErrorCounter,
    writer: Arc<AtomicUsize>,
}

impl Lost {
    fn count(&self) -> usize {
        self.queue.dropped_lines().saturating_add(self.writer.load(Relaxed))
    }
}

impl Log {
    /// Begins to log, and from here on logs panics too.
    pub(crate) fn start(log: &config::Log) -> Self {
        let writer = Arc::new(AtomicUsize::new(0));
        let sink = BufWriter::new(Sink { out: standard_error(), lost: writer.clone() });
        let (queue, guard) =
            NonBlockingBuilder::default().lossy(true).buffered_lines_limit(WAITING).thread_name("log").finish(sink);
        let lost = Lost { queue: queue.error_counter(), writer };
        let (shape, shape_handle) = reload::Layer::new(for_reader(log.format, queue.clone()));
        let (filter, filter_handle) = reload::Layer::new(filter(&log.level));
        // Only a second start in one process fails, and then the first log goes on.
        let _ = tracing_subscriber::registry().with(shape).with(filter).try_init();
        panic::set_hook(Box::new(log_panic));
        Self {
            guard: Mutex::new(Some(guard)),
            lost,
            queue,
            level: Mutex::new(log.level.clone()),
            filter: filter_handle,
            shape: shape_handle,
        }
    }

    /// What is logged: a level, or a filter.
    pub(crate) fn level(&self) -> String {
        self.level.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Logs at another level until somebody says otherwise; else a sentence that says what is wrong with it.
    pub(crate) fn set_level(&self, level: &str) -> Result<(), String> {
        config::check_level(level)?;
        self.filter_by(level);
        Ok(())
    }

    fn filter_by(&self, level: &str) {
        let mut said = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        level.clone_into(&mut said);
        // Only a log that is gone cannot change.
        let _ = self.filter.reload(filter(level));
    }

    /// Goes on as another configuration says.
    pub(crate) fn follow(&self, log: &config::Log) {
        self.filter_by(&log.level);
        let _ = self.shape.reload(for_reader(log.format, self.queue.clone()));
    }

    /// Looks now and then for lines that were lost, and logs how many.
    pub(crate) async fn watch(&self, every: Duration) -> Infallible {
        let mut told = 0;
        loop {
            tokio::time::sleep(every).await;
            let before = self.lost.count();
            if before == told {
                continue;
            }
            tracing::warn!(target: "switchboard", lost = before - told, "log lines lost");
            // If that line was lost as well, it will be told again.
            if self.lost.count() == before {
                told = before;
            }
        }
    }

    /// Lets the last lines be written, unless the reader stalls.
    pub(crate) fn finish(&self) {
        // The guard may wait for ever on a reader that shares standard output with us: when the queue is full, it says so
        // there. A thread of its own takes that risk, and does not outlive the process.
        let (done, wait) = mpsc::sync_channel(1);
        let guard = self.guard.lock().unwrap_or_else(PoisonError::into_inner).take();
        let end = thread::Builder::new().name("log-end".into()).spawn(move || {
            drop(guard);
            let _ = done.send(());
        });
        if end.is_ok() {
            let _ = wait.recv_timeout(LAST_LINES);
        }
    }
}

/// The configuration has read the filter before; it cannot fail here.
fn filter(level: &str) -> EnvFilter {
    EnvFilter::builder().parse_lossy(level)
}

/// In the shape that fits the reader of standard error.
fn for_reader(format: Format, queue: NonBlocking) -> BoxLayer {
    let is_terminal = io::stderr().is_terminal();
    let colour = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    layer(format, is_terminal, colour, queue)
}

fn layer(format: Format, is_terminal: bool, colour: bool, queue: NonBlocking) -> BoxLayer {
    let is_json = match format {
        Format::Auto => !is_terminal,
        Format::Text => false,
        Format::Json => true,
    };
    if is_json {
        // Fields side by side with the message, not inside an object of their own: easy to query everywhere.
        let layer = fmt::layer().json().flatten_event(true).with_current_span(false).with_span_list(false);
        layer.with_writer(queue).boxed()
    } else {
        fmt::layer().with_ansi(colour).with_target(false).with_writer(queue).boxed()
    }
}

/// Standard error without the lock that std puts around it: the log's thread may wait there for long, and an error
/// message elsewhere must not wait with it.
fn standard_error() -> Option<File> {
    io::stderr().as_fd().try_clone_to_owned().ok().map(File::from)
}

/// Writes lines, and counts those that nobody reads.
struct Sink {
    out: Option<File>,
    lost: Arc<AtomicUsize>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written =
            self.out.as_mut().map_or_else(|| Err(io::ErrorKind::NotConnected.into()), |out| out.write_all(bytes));
        if written.is_err() {
            self.lost.fetch_add(bytes.iter().filter(|byte| **byte == b'\n').count(), Relaxed);
        }
        // Reported here, the error would keep the lines in the buffer, where more and more would join them.
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A panic is one event like any other: text in between would break a log of JSON.
fn log_panic(info: &panic::PanicHookInfo<'_>) {
    let message = info.payload_as_str().unwrap_or("a panic without a message");
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = thread::current().name().unwrap_or_default().to_owned();
    tracing::error!(target: "switchboard", error = message, location, thread, "panic");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_its_fields_side_by_side_and_text_has_no_colour_unasked() {
        for (format, is_terminal, is_json) in [
            (Format::Auto, false, true),
            (Format::Auto, true, false),
            (Format::Text, false, false),
            (Format::Json, true, true),
        ] {
            let file = tempfile::NamedTempFile::new().unwrap();
            let (queue, guard) = tracing_appender::non_blocking(file.reopen().unwrap());
            let subscriber = tracing_subscriber::registry().with(layer(format, is_terminal, false, queue));
            tracing::subscriber::with_default(subscriber, || {
                tracing::info!(listener = "main", peer = "a\n\u{1b}[31mb", messages = 3, "connection closed");
            });
            drop(guard);
            let text = std::fs::read_to_string(file.path()).unwrap();
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(!text.contains('\u{1b}'), "{text}");
            let json = serde_json::from_str::<serde_json::Value>(&text);
            assert_eq!(json.is_ok(), is_json, "{text}");
            if let Ok(json) = json {
                let keys = ["timestamp", "level", "message", "listener", "messages"];
                assert!(keys.iter().all(|key| json.get(key).is_some()), "{text}");
                assert_eq!((&json["message"], &json["level"]), (&"connection closed".into(), &"INFO".into()));
            }
        }
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_do_not_pile_up() {
        let lost = Arc::new(AtomicUsize::new(0));
        let mut sink = BufWriter::new(Sink { out: None, lost: lost.clone() });
        sink.write_all(b"one\ntwo\n").and_then(|()| sink.flush()).unwrap();
        assert_eq!(lost.load(Relaxed), 2);
        assert!(sink.buffer().is_empty());
    }
}
