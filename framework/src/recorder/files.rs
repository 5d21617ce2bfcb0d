//! The files of a recorder: a bounded number in one directory, at most one per second.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::facts::Facts;
use crate::close_reason::CloseReason;
use crate::settings::file::reason;

/// Shortest time between two files.
const INTERVAL: Duration = Duration::from_secs(1);
/// The end of the name of each file.
const EXTENSION: &str = ".script";
/// The beginning of the name of a file that is being written.
const UNFINISHED: &str = ".record-";

/// A record cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct RecordError(String);

impl RecordError {
    pub(super) fn too_many() -> Self {
        Self("at most one record per second is written; try again".to_owned())
    }

    /// The writer of the connection has its records.
    pub(super) fn busy() -> Self {
        Self("the handler of the connection occupies its thread, so its messages cannot be read; try again".to_owned())
    }
}

#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
    limit: usize,
    /// When the last file was written.
    last: Mutex<Option<Instant>>,
    /// One file at a time is written.
    writing: Mutex<()>,
}

impl Files {
    pub(super) fn new(directory: PathBuf, limit: usize) -> Self {
        Self { directory, limit, last: Mutex::default(), writing: Mutex::default() }
    }

    /// Whether a file may be written now. If so, the next one has to wait.
    pub(super) fn may_write(&self) -> bool {
        let mut last = self.last.lock();
        let may_write = last.is_none_or(|last| last.elapsed() >= INTERVAL);
        if may_write {
            *last = Some(Instant::now());
        }
        may_write
    }

    /// Creates the directory and checks that a file can be written.
    pub(super) fn check(&self) -> Result<(), RecordError> {
        let path = self.directory.join(format!("{UNFINISHED}check-{}", std::process::id()));
        let checked = self.create_directory().and_then(|()| write_new(&path, b""));
        let _ = fs::remove_file(&path); // it exists only if it was written
        checked.map_err(|error| self.error(&error))
    }

    /// Writes a file, and removes the oldest ones above the limit.
    pub(super) fn write(&self, facts: &Facts, text: &str) -> Result<PathBuf, RecordError> {
        let _guard = self.writing.lock();
        self.try_write(facts, text).map_err(|error| self.error(&error))
    }

    fn try_write(&self, facts: &Facts, text: &str) -> io::Result<PathBuf> {
        self.create_directory()?;
        self.remove_oldest()?;
        let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string().replace(['-', ':'], "");
        let why = facts.reason.map_or("demand", CloseReason::as_str);
        let name = format!("{time}-{}-{why}{EXTENSION}", facts.connection);
        let unfinished = self.directory.join(format!("{UNFINISHED}{name}"));
        let path = self.directory.join(name);
        let written = write_new(&unfinished, text.as_bytes()).and_then(|()| fs::rename(&unfinished, &path));
        if written.is_err() {
            let _ = fs::remove_file(&unfinished); // the first error is the interesting one
        }
        written.map(|()| path)
    }

    fn create_directory(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)
    }

    /// Leaves room for one file. The names begin with the time.
    fn remove_oldest(&self) -> io::Result<()> {
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            if name.to_str().is_some_and(is_record) {
                records.push(name);
            }
        }
        records.sort_unstable();
        let surplus = (records.len() + 1).saturating_sub(self.limit);
        for name in &records[..surplus.min(records.len())] {
            match fs::remove_file(self.directory.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn error(&self, error: &io::Error) -> RecordError {
        let directory = self.directory.display();
        RecordError(format!("recorder.directory: {directory}: cannot write a record: {}", reason(error)))
    }
}

/// Whether the recorder has written a file with this name: a time in UTC, the id of the connection and the reason.
fn is_record(name: &str) -> bool {
    let bytes = name.as_bytes();
    name.ends_with(EXTENSION)
        && bytes.len() > "20261128T130501.123Z-".len()
        && bytes[..8].iter().all(u8::is_ascii_digit)
        && bytes[8] == b'T'
        && bytes[19..21] == *b"Z-"
}

fn write_new(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(contents)
}

#[cfg(test)]
mod tests;
