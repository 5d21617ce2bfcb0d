//! The terminal: a line editor with history, and replies in colour above the prompt.
//!
//! Control characters in replies are escaped, so that a server cannot control the terminal.

use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::{env, fs, thread};

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use rustyline::{Config, DefaultEditor, ExternalPrinter, error::ReadlineError};
use switchboard::settings::text::escape_unsafe;
use tokio::sync::mpsc;

/// Maximum lines of the history.
const HISTORY_LINES: usize = 1000;
/// Typed lines that wait to be sent.
const QUEUED_LINES: usize = 16;

/// A terminal on standard input and output, with a line editor in a thread. Prints replies above the prompt.
pub(super) struct Terminal {
    printer: Box<dyn ExternalPrinter + Send>,
    use_color: bool,
    buffer: Vec<u8>,
    modes: Termios,
    shows_prompt: Arc<AtomicBool>,
}

impl Terminal {
    /// Starts the line editor, unless input or output is redirected. The receiver returns the lines.
    pub(super) fn open() -> Option<(mpsc::Receiver<String>, Self)> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            return None;
        }
        let modes = tcgetattr(io::stdin()).ok()?;
        // Bracketed paste would deliver several pasted lines as one, and needs to be reset at the end.
        let config = Config::builder().max_history_size(HISTORY_LINES).ok()?;
        let config = config.auto_add_history(true).bracketed_paste(false).build();
        let mut editor = DefaultEditor::with_config(config).ok()?;
        let printer = Box::new(editor.create_external_printer().ok()?);
        let is_disabled = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let use_color = !is_disabled && env::var_os("TERM").is_none_or(|term| term != "dumb");
        let shows_prompt = Arc::new(AtomicBool::new(true));
        let terminal = Self { printer, use_color, buffer: Vec::new(), modes, shows_prompt: shows_prompt.clone() };
        let (send, lines) = mpsc::channel(QUEUED_LINES);
        thread::spawn(move || {
            read_lines(&mut editor, &send);
            shows_prompt.store(false, Relaxed);
        });
        Some((lines, terminal))
    }
}

/// Standard output when standard input is not a terminal. Replies are escaped if they are shown on a terminal.
pub(super) enum Output {
    File(io::Stdout),
    Terminal(Vec<u8>),
}

impl Output {
    pub(super) fn open() -> Self {
        let out = io::stdout();
        if out.is_terminal() { Self::Terminal(Vec::new()) } else { Self::File(out) }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(out) => out.write(bytes),
            Self::Terminal(buffer) => buffer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(out) => out.flush(),
            Self::Terminal(buffer) => {
                let text = render(&std::mem::take(buffer), false);
                let mut out = io::stdout();
                out.write_all(text.as_bytes()).and_then(|()| out.flush())
            }
        }
    }
}

/// Restores the terminal modes, even while the editor reads a line.
impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.modes); // the terminal may be closed
        if self.shows_prompt.load(Relaxed) {
            let _ = writeln!(io::stdout());
        }
    }
}

impl Write for Terminal {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let text = render(&std::mem::take(&mut self.buffer), self.use_color);
        self.printer.print(text).map_err(io::Error::other)
    }
}

/// Reads until Ctrl-C, Ctrl-D or the end of the session.
fn read_lines(editor: &mut DefaultEditor, lines: &mpsc::Sender<String>) {
    let history = history_file();
    let _ = history.as_ref().map(|path| editor.load_history(path)); // the file may not exist yet
    loop {
        let line = match editor.readline("> ") {
            Ok(line) => line,
            Err(ReadlineError::Signal(_)) => continue, // the window was resized
            Err(_) => return,
        };
        let _ = history.as_ref().map(|path| editor.append_history(path)); // the history is optional
        if lines.blocking_send(line).is_err() {
            return;
        }
    }
}

/// The history file of the XDG base directory specification, in a directory that only its owner can read.
fn history_file() -> Option<PathBuf> {
    let state = env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || env::var_os("HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let state = state.or_else(|| Some(home()?.join(".local/state")))?;
    let directory = state.join("switchboard");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory).ok()?;
    Some(directory.join("connect_history"))
}

/// A reply as it is printed: in green, with escaped control characters.
fn render(reply: &[u8], use_color: bool) -> String {
    let text = String::from_utf8_lossy(reply);
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let rendered = escape_unsafe(text, |c| matches!(c, '\n' | '\t'));
    if use_color { format!("\x1b[32m{rendered}\x1b[0m\n") } else { rendered + "\n" }
}

#[cfg(test)]
mod tests;
