//! Escapes what tracing-subscriber leaves in a log line: one event is one line, and no text controls a terminal.

use std::io::{self, Write};

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use crate::log::journal::journal_prefix;
use crate::log::queue::LogQueue;
use crate::settings::text::{escape_unsafe, is_unsafe};

/// A writer of whole lines.
#[derive(Clone)]
pub(super) struct EscapedLines {
    pub(super) queue: LogQueue,
    /// The lines contain colours.
    pub(super) color: bool,
    /// What each line begins with.
    pub(super) prefix: &'static str,
}

impl Write for EscapedLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let keep = |c: char| c == '\t' || (self.color && c == '\x1b');
        match str::from_utf8(bytes).map(|text| text.strip_suffix('\n').unwrap_or(text)) {
            Ok(line) if !self.prefix.is_empty() || line.chars().any(|c| is_unsafe(c) && !keep(c)) => {
                let line = [self.prefix, &escape_unsafe(line, keep), "\n"].concat();
                self.queue.write_all(line.as_bytes()).map(|()| bytes.len())
            }
            _ => self.queue.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.queue.flush()
    }
}

impl<'a> MakeWriter<'a> for EscapedLines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Self {
        Self { prefix: journal_prefix(*event.level()), ..self.clone() }
    }
}
