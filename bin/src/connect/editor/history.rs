//! The history file of the line editor.

use std::fmt::Display;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use rustyline::error::ReadlineError;

use super::prompt::LineEditor;
use crate::exit;

/// Maximum lines of the history.
pub(super) const HISTORY_LINES: usize = 1000;

/// The file; none without a home directory, and after the first error.
pub(super) struct History(Option<PathBuf>);

impl History {
    /// Reads the lines of earlier sessions.
    pub(super) fn load(editor: &mut LineEditor) -> Self {
        let Some(path) = path() else { return Self(None) };
        let mut history = Self(Some(path.clone()));
        let created = path.parent().map_or(Ok(()), create);
        match created.map_err(ReadlineError::Io).and_then(|()| editor.load_history(&path)) {
            Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => history.fail(&path, &error),
            Ok(()) => {}
        }
        history
    }

    /// Writes the last line of the editor.
    pub(super) fn append(&mut self, editor: &mut LineEditor) {
        let Some(path) = self.0.clone() else { return };
        if let Err(error) = editor.append_history(&path) {
            self.fail(&path, &error);
        }
    }

    /// Warns once. The history continues in memory.
    fn fail(&mut self, path: &Path, error: &ReadlineError) {
        self.0 = None;
        let reason: &dyn Display = match error {
            ReadlineError::Io(error) => &exit::reason(error),
            error => error,
        };
        exit::print_error(&format!("warning: the history is not kept: {}: {reason}\n", path.display()));
    }
}

/// The history file of the XDG base directory specification.
fn path() -> Option<PathBuf> {
    let directory = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = directory("XDG_STATE_HOME").or_else(|| Some(directory("HOME")?.join(".local/state")))?;
    Some(state.join("switchboard/connect_history"))
}

/// Creates a directory that only its owner can read.
fn create(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}
