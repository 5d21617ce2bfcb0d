//! A session on a terminal: a line editor with history, and replies in colour above the prompt.

mod history;
mod prompt;

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::Receiver;
use std::time::Duration;
use std::{env, thread};

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use rustyline::error::ReadlineError;
use rustyline::{ColorMode, Config, ExternalPrinter};
use tokio::sync::mpsc;

use self::history::{HISTORY_LINES, History};
use self::prompt::LineEditor;
use super::output::render;
use super::session::Printer;

/// Typed lines that wait to be sent.
const QUEUED_LINES: usize = 16;
/// Timeout of the first prompt.
const PROMPT_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether input and output are a terminal.
pub(super) fn is_terminal() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// A line editor in a thread. Prints replies above the prompt.
pub(super) struct Editor {
    printer: Box<dyn ExternalPrinter + Send>,
    hex: bool,
    use_color: bool,
    modes: Termios,
    shows_prompt: Arc<AtomicBool>,
    /// Until the start.
    reader: Option<(LineEditor, mpsc::Sender<String>, Receiver<()>)>,
}

impl Editor {
    /// Prepares the line editor, if the terminal supports it. The receiver returns the lines.
    pub(super) fn open(hex: bool) -> Option<(mpsc::Receiver<String>, Self)> {
        let modes = tcgetattr(io::stdin()).ok()?;
        // Bracketed paste would deliver several pasted lines as one, and needs to be reset at the end.
        let config = Config::builder().max_history_size(HISTORY_LINES).ok()?;
        // The state of a search is known only in colour mode; the prompt itself has no colour.
        let config = config.auto_add_history(true).bracketed_paste(false).color_mode(ColorMode::Forced).build();
        let mut editor = LineEditor::with_config(config).ok()?;
        let prompt = prompt::bind(&mut editor);
        let printer = Box::new(editor.create_external_printer().ok()?);
        let is_disabled = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let use_color = !is_disabled && env::var_os("TERM").is_none_or(|term| term != "dumb");
        let (send, lines) = mpsc::channel(QUEUED_LINES);
        let (shows_prompt, reader) = (Arc::new(AtomicBool::new(false)), Some((editor, send, prompt)));
        Some((lines, Self { printer, hex, use_color, modes, shows_prompt, reader }))
    }

    /// Shows the prompt. Keys that are typed before belong to another mode of the terminal, in which Ctrl-D is lost.
    pub(super) fn start(&mut self) {
        let Some((mut editor, lines, prompt)) = self.reader.take() else { return };
        let shows_prompt = self.shows_prompt.clone();
        shows_prompt.store(true, Relaxed);
        thread::spawn(move || {
            read_lines(&mut editor, &lines);
            shows_prompt.store(false, Relaxed);
        });
        let _ = prompt.recv_timeout(PROMPT_TIMEOUT); // a simple terminal does not report its prompt
    }
}

/// Restores the terminal modes, even while the editor reads a line.
impl Drop for Editor {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &self.modes); // the terminal may be closed
        if self.shows_prompt.load(Relaxed) {
            let _ = writeln!(io::stdout());
        }
    }
}

impl Printer for Editor {
    fn print(&mut self, reply: &[u8]) -> io::Result<()> {
        self.printer.print(render(reply, self.hex, self.use_color)).map_err(io::Error::other)
    }
}

/// Reads until Ctrl-C, Ctrl-D or the end of the session.
fn read_lines(editor: &mut LineEditor, lines: &mpsc::Sender<String>) {
    let mut history = History::load(editor);
    loop {
        let line = match editor.readline("> ") {
            Ok(line) => line,
            Err(ReadlineError::Signal(_)) => continue, // the window was resized
            Err(_) => return,
        };
        history.append(editor);
        if lines.blocking_send(line).is_err() {
            return;
        }
    }
}
