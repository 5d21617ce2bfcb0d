//! Writes whole lines to standard error, and waits within a bound while there is no space.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

/// Time between two attempts to write to a full disk, and between two checks whether the log closes.
const RETRY: u16 = 50;

/// What the log thread reports to the rest of the process.
#[derive(Debug, Default)]
pub(super) struct WriterState {
    /// Lines that were not written, or only in part.
    pub(super) dropped: AtomicUsize,
    /// The process exits, so a full disk is not waited for.
    pub(super) is_closing: AtomicBool,
}

/// The writer of the log thread. Each write has one or more whole lines.
#[derive(Debug)]
pub(super) struct LineWriter {
    out: Option<File>,
    state: Arc<WriterState>,
    /// Maximum wait without progress. Meanwhile the queue takes new lines.
    max_wait: Duration,
    /// The last line that was written is incomplete.
    is_mid_line: bool,
}

impl LineWriter {
    pub(super) fn new(out: Option<File>, max_wait: Duration, state: Arc<WriterState>) -> Self {
        Self { out, state, max_wait, is_mid_line: false }
    }

    /// Returns the number of bytes written. Fewer than all: the output has an error, or no space for too long.
    fn write_within_bound(&mut self, bytes: &[u8]) -> usize {
        let Some(out) = &mut self.out else { return 0 };
        let (mut written, mut deadline) = (0, Instant::now() + self.max_wait);
        while written < bytes.len() {
            match out.write(&bytes[written..]) {
                Ok(0) => break,
                Ok(count) => (written, deadline) = (written + count, Instant::now() + self.max_wait),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if Instant::now() >= deadline => break,
                Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                    // A non-blocking pipe or terminal is full (write(2)).
                    Some(Errno::EAGAIN) => {
                        let _ = poll(&mut [PollFd::new(out.as_fd(), PollFlags::POLLOUT)], RETRY); // write again anyway
                    }
                    // The disk or quota is full: poll(2) cannot wait for that.
                    Some(Errno::ENOSPC | Errno::EDQUOT) if !self.state.is_closing.load(Relaxed) => {
                        thread::park_timeout(Duration::from_millis(RETRY.into()));
                    }
                    _ => break,
                },
            }
        }
        written
    }
}

impl Write for LineWriter {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        // After a partial line, the next line begins on a new one.
        if self.is_mid_line {
            self.is_mid_line = self.write_within_bound(b"\n") == 0;
        }
        let written = if self.is_mid_line { 0 } else { self.write_within_bound(lines) };
        let (done, lost) = lines.split_at(written);
        self.is_mid_line |= done.last().is_some_and(|last| *last != b'\n');
        self.state.dropped.fetch_add(lost.iter().filter(|byte| **byte == b'\n').count(), Relaxed);
        // After an error, BufWriter would keep the lines, and its buffer would grow without limit.
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
