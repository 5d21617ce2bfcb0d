//! Exit statuses, and output on standard output and standard error.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

pub(crate) use switchboard::settings::file::reason;
use switchboard::settings::text::escape_unsafe;

/// The server could not start, or stopped because of an error.
pub(crate) const FAILED: u8 = 1;
/// The configurations differ, as in diff(1).
pub(crate) const DIFFERENT: u8 = 1;
/// Wrong usage of the command line.
pub(crate) const USAGE: u8 = 2;
/// Connections were aborted, or a handler's stop failed.
pub(crate) const INCOMPLETE: u8 = 3;
/// Invalid configuration (EX_CONFIG of sysexits.h).
pub(crate) const CONFIG: u8 = 78;

#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    status: u8,
}

impl Failure {
    /// A failure while running: one line on standard error.
    pub(crate) fn new(error: impl Display) -> Self {
        Self { message: format!("error: {error}\n"), status: FAILED }
    }

    /// Wrong usage of the command line.
    pub(crate) fn usage(error: impl Display) -> Self {
        Self { status: USAGE, ..Self::new(error) }
    }

    /// An invalid configuration; the diagnostics are complete lines.
    pub(crate) fn config(diagnostics: impl Display) -> Self {
        Self { message: diagnostics.to_string(), status: CONFIG }
    }

    pub(crate) fn print(self) -> u8 {
        print_error(&self.message);
        self.status
    }
}

/// Prints to standard output and returns the exit status. A closed pipe is not an error.
pub(crate) fn print_stdout(text: impl Display) -> Result<u8, Failure> {
    match write_stdout(&text.to_string()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(cannot_write(&error)),
        _ => Ok(0),
    }
}

/// Prints to standard output. A closed pipe is an error.
pub(crate) fn write_stdout(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let text = shown(text.to_owned(), out.is_terminal());
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

pub(crate) fn cannot_write(error: &io::Error) -> Failure {
    Failure::new(format_args!("cannot write to standard output: {}", reason(error)))
}

pub(crate) fn print_error(text: &str) {
    // One write, because standard error is unbuffered and the log writes there too.
    let mut out = io::stderr().lock();
    let text = shown(text.to_owned(), out.is_terminal());
    let _ = out.write_all(text.as_bytes());
}

/// The text for a terminal, which text of others must not control, or for a file or pipe.
fn shown(text: String, is_terminal: bool) -> String {
    if is_terminal { escape_unsafe(&text, |c| matches!(c, '\n' | '\t')) } else { text }
}
