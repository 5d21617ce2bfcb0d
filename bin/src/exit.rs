//! Exit statuses, and output on standard output and standard error.

use std::env;
use std::io::{self, IsTerminal, Write};

use switchboard::log::journal_prefix;

pub(crate) use switchboard::settings::file::reason;
use switchboard::settings::text::escape_unsafe;
use tracing::Level;

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

/// Prints to standard output. A closed pipe is an error.
pub(crate) fn write_stdout(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let text = shown(text.to_owned(), out.is_terminal());
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

/// Prints an error to standard error.
pub(crate) fn print_error(text: &str) {
    print_sentence(text, Level::ERROR);
}

/// Prints text that may contain text of others to standard error.
pub(crate) fn print_sentence(text: &str, level: Level) {
    let text = shown(text.to_owned(), io::stderr().is_terminal());
    print_lines(&text, level);
}

/// Prints lines without unsafe text to standard error. In the systemd journal each line has the priority of the level.
pub(crate) fn print_lines(text: &str, level: Level) {
    let prefix = journal_prefix(level);
    let lines: String = text.split_inclusive('\n').map(|line| [prefix, line].concat()).collect();
    // One write, because standard error is unbuffered and the log writes there too.
    let _ = io::stderr().write_all(lines.as_bytes());
}

/// Whether text on standard error has colours (no-color.org).
pub(crate) fn has_color() -> bool {
    io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The text for a terminal, which text of others must not control, or for a file or pipe.
fn shown(text: String, is_terminal: bool) -> String {
    if is_terminal { escape_unsafe(&text, |c| matches!(c, '\n' | '\t')) } else { text }
}
