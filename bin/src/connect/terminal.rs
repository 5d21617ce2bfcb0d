//! A person at a terminal: lines are edited and remembered, replies stand above the line that is being typed, in colour.
//!
//! What a server sends may hold anything, so what would move the cursor is shown instead of done.

use std::env;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use rustyline::{Config, DefaultEditor, ExternalPrinter, error::ReadlineError};
use tokio::sync::mpsc;

/// Lines that are remembered.
const REMEMBERED: usize = 1000;
/// Lines that wait to be sent.
const WAITING: usize = 16;

/// How the terminal was; it is so again when this is dropped, whoever reads a line at that moment.
pub(super) struct Before {
    modes: Termios,
    /// Somebody reads a line.
    reads: Arc<AtomicBool>,
}

impl Drop for Before {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.modes); // it may have been closed
        if self.reads.load(Relaxed) {
            let _ = writeln!(io::stdout()); // what comes next should not stand behind the prompt
        }
    }
}

/// What the editor's thread gives: lines, and a place above it to print at.
pub(super) struct Typing {
    pub(super) lines: mpsc::Receiver<String>,
    pub(super) screen: Screen,
    pub(super) before: Before,
}

/// Begins to read lines, if a person sits there.
pub(super) fn typing() -> Option<Typing> {
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return None;
    }
    let reads = Arc::new(AtomicBool::new(true));
    let before = Before { modes: tcgetattr(io::stdin()).ok()?, reads: reads.clone() };
    // Pasted lines are messages like others, and the terminal is left as it was.
    let config = Config::builder().max_history_size(REMEMBERED).ok()?;
    let config = config.auto_add_history(true).bracketed_paste(false).build();
    let mut editor = DefaultEditor::with_config(config).ok()?;
    let printer = editor.create_external_printer().ok()?;
    let (send, lines) = mpsc::channel(WAITING);
    let history = history();
    thread::spawn(move || {
        if let Some(path) = &history {
            let _ = editor.load_history(path); // there is none the first time
        }
        loop {
            let line = match editor.readline("> ") {
                Ok(line) => line,
                Err(ReadlineError::Signal(_)) => continue, // the window has another size
                // Ctrl-C and Ctrl-D: there is no more to say.
                Err(_) => return reads.store(false, Relaxed),
            };
            if let Some(path) = &history {
                let _ = editor.append_history(path); // remembered for now, then
            }
            if send.blocking_send(line).is_err() {
                return;
            }
        }
    });
    let screen = Screen { above: Box::new(printer), paint: has_colours(), text: Vec::new() };
    Some(Typing { lines, screen, before })
}

/// Where lines are remembered; for nobody else to read.
fn history() -> Option<PathBuf> {
    let state = env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let state = state.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".local/state")))?;
    let place = state.join("switchboard");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&place).ok()?;
    Some(place.join("connect_history"))
}

/// Whether this terminal shows colours, and nobody minds them.
fn has_colours() -> bool {
    let minds = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !minds && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Prints above the line that is being typed.
pub(super) struct Screen {
    above: Box<dyn ExternalPrinter + Send>,
    paint: bool,
    text: Vec<u8>,
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let text = shown(&std::mem::take(&mut self.text), self.paint);
        self.above.print(text).map_err(io::Error::other)
    }
}

/// A reply as it is shown: green, and what is no text of one line as an escape.
fn shown(reply: &[u8], paint: bool) -> String {
    let text = String::from_utf8_lossy(reply);
    let mut line = String::with_capacity(text.len() + 16);
    let (begin, end) = if paint { ("\x1b[32m", "\x1b[0m") } else { ("", "") };
    line.push_str(begin);
    for one in text.strip_suffix('\n').unwrap_or(&text).chars() {
        match one {
            '\n' | '\t' => line.push(one),
            one if one.is_control() => line.extend(one.escape_default()),
            one => line.push(one),
        }
    }
    line.push_str(end);
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_move_the_cursor_is_shown() {
        assert_eq!(shown(b"hi\n", false), "hi\n");
        assert_eq!(shown(b"hi", true), "\x1b[32mhi\x1b[0m\n");
        assert_eq!(shown(b"a\x1b[2Jb\r\x07\tc", false), "a\\u{1b}[2Jb\\r\\u{7}\tc\n");
        assert_eq!(shown(b"\xff", false), "\u{fffd}\n");
    }
}
