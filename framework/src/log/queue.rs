//! The bounded queue of log lines and its thread.
//!
//! The thread starts with the first line. A program with one worker that logs nothing has only one thread, and its
//! system calls cost less. The thread also reports the lines that were suppressed or dropped.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;

use crate::log::line_limit::LineLimit;
use crate::log::tail::LogTail;
use crate::log::writer::{LineWriter, WriterState};

/// Lines in the queue; a few megabytes at most.
const QUEUED_LINES: usize = 8192;
/// Maximum lines before they are flushed.
const LINES_PER_FLUSH: usize = 256;
/// Timeout of the final flush.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(1500);
/// Interval of reports about suppressed and dropped log lines.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// A handle to the queue. A write contains whole lines and never waits.
#[derive(Clone)]
pub(super) struct LogQueue(Arc<Shared>);

struct Shared {
    entries: Sender<Entry>,
    /// What the thread needs. The thread takes it when it has started.
    idle: Mutex<Option<(Receiver<Entry>, LineWriter)>>,
    is_started: AtomicBool,
    /// Disconnected when the thread has ended; `None` before it starts.
    ended: Mutex<Option<Receiver<()>>>,
    state: Arc<WriterState>,
    limit: LineLimit,
    tail: LogTail,
}

enum Entry {
    Lines(Vec<u8>),
    /// The thread ends.
    Close,
}

impl LogQueue {
    pub(super) fn new(out: LineWriter, state: Arc<WriterState>, limit: LineLimit) -> Self {
        let (entries, received) = bounded(QUEUED_LINES);
        Self(Arc::new(Shared {
            entries,
            idle: Mutex::new(Some((received, out))),
            is_started: AtomicBool::new(false),
            ended: Mutex::new(None),
            state,
            limit,
            tail: LogTail::default(),
        }))
    }

    fn start(&self) {
        let mut thread_ended = self.0.ended.lock();
        if self.0.is_started.load(Relaxed) {
            return;
        }
        let (shared, (running, ended)) = (self.0.clone(), bounded(0));
        let thread = thread::Builder::new().name("log".into()).spawn(move || {
            shared.run();
            drop(running);
        });
        // After an error, the next line tries again.
        if thread.is_ok() {
            *thread_ended = Some(ended);
            self.0.is_started.store(true, Relaxed);
        }
    }

    /// The last lines: see [`LogTail::after`].
    pub(super) fn tail(&self, after: u64) -> (u64, Vec<String>) {
        self.0.tail.after(after)
    }

    /// Writes the queued lines, unless standard error stalls, and ends the thread. Later lines are lost.
    pub(super) fn close(&self) {
        let Shared { entries, ended, state, limit, .. } = &*self.0;
        limit.report();
        state.is_closing.store(true, Relaxed);
        let Some(ended) = ended.lock().take() else { return };
        let deadline = Instant::now() + FLUSH_TIMEOUT;
        if entries.send_deadline(Entry::Close, deadline).is_ok() {
            let _ = ended.recv_deadline(deadline);
        }
    }
}

impl Write for LogQueue {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        if !self.0.is_started.load(Relaxed) {
            self.start();
        }
        if self.0.entries.try_send(Entry::Lines(lines.to_vec())).is_err() {
            self.0.state.dropped.fetch_add(1, Relaxed);
        }
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    /// Writes lines, and reports in each interval, until the queue is closed.
    fn run(&self) {
        let Some((entries, out)) = self.idle.lock().take() else { return };
        let mut out = BufWriter::new(out);
        let (mut reported, mut next_report) = (0, Instant::now() + REPORT_INTERVAL);
        loop {
            let (mut entry, mut written) = (entries.recv_deadline(next_report), 0);
            while let Ok(Entry::Lines(lines)) = entry {
                self.tail.add(&lines);
                let _ = out.write_all(&lines); // counts what it does not write
                written += 1;
                let next = if written < LINES_PER_FLUSH { entries.try_recv().ok() } else { None };
                entry = next.ok_or(RecvTimeoutError::Timeout);
            }
            let _ = out.flush();
            if entry.is_ok() {
                return; // closed
            }
            if Instant::now() >= next_report {
                next_report = Instant::now() + REPORT_INTERVAL;
                self.report(&mut reported);
            }
        }
    }

    /// Reports the numbers of suppressed and dropped lines. `reported`: the dropped lines that are reported.
    fn report(&self, reported: &mut usize) {
        self.limit.report();
        let dropped = || self.state.dropped.load(Relaxed);
        let total = dropped();
        if total == *reported {
            return;
        }
        // The total stays correct if this line is dropped after it was queued.
        tracing::warn!(target: "switchboard", count = total - *reported, total, "log lines dropped");
        // If this line was dropped at once, report the count again.
        if dropped() == total {
            *reported = total;
        }
    }
}
