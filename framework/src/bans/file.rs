//! The file of bans: JSON with one ban per line. It is replaced as a whole, so a crash never leaves a part of it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::unistd::{AccessFlags, access};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::ban::{Ban, BanError, BanOrigin};
use super::strikes::Repeat;
use crate::address::Source;
use crate::settings::file::{current_user, open, reason};
use crate::settings::{Network, deadline_after};

/// The version of the format.
const VERSION: u32 = 1;
/// Maximum bytes of a ban, or of a remembered source, in the file.
const MAX_ENTRY: u64 = 640;
/// Maximum bytes of the remembered sources in the file.
const MAX_REPEATS: u64 = 16 << 20;

/// The file of bans cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", .path.display())]
pub struct BanFileError {
    path: PathBuf,
    problem: String,
}

/// What a file contains.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) bans: Vec<Ban>,
    pub(super) repeats: Vec<Repeat>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with the keys version, bans and repeats")]
struct Document {
    version: u32,
    bans: Vec<StoredBan>,
    repeats: Vec<StoredRepeat>,
}

#[derive(Deserialize)]
#[serde(expecting = "an object with the key version")]
struct Head {
    version: u32,
}

/// Times are whole seconds since the epoch.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredBan {
    network: Network,
    began: u64,
    until: u64,
    origin: BanOrigin,
    reason: String,
    times: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRepeat {
    source: Network,
    times: u32,
    until: u64,
}

/// One moment on two clocks: bans end by the monotonic one, and the file has the time of day.
#[derive(Debug, Clone, Copy)]
struct Moment {
    instant: Instant,
    since_epoch: Duration,
}

impl Moment {
    fn now() -> Self {
        Self { instant: Instant::now(), since_epoch: since_epoch(SystemTime::now()) }
    }

    /// The nearest second. The two clocks are not read at exactly the same time. If the end of a ban were rounded up,
    /// it could be a second later each time the file is read and written again.
    fn stored(self, until: Instant) -> u64 {
        let time = self.since_epoch + until.saturating_duration_since(self.instant);
        (time + Duration::from_millis(500)).as_secs()
    }

    /// `None` if that time has passed.
    fn loaded(self, until: u64) -> Option<Instant> {
        let left = Duration::from_secs(until).checked_sub(self.since_epoch).filter(|left| !left.is_zero())?;
        Some(deadline_after(self.instant, left))
    }
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Reads a file of at most `entries` bans. A missing file has no bans, if the file can be created.
pub(super) fn read(path: &Path, entries: usize) -> Result<Contents, BanFileError> {
    read_file(path, entries).map_err(|problem| BanFileError { path: path.to_owned(), problem })
}

fn read_file(path: &Path, entries: usize) -> Result<Contents, String> {
    check_directory(path)?;
    let limit = (entries as u64).saturating_mul(MAX_ENTRY).saturating_add(MAX_REPEATS);
    let mut text = String::new();
    let read = match open(path) {
        Ok(file) => file.take(limit + 1).read_to_string(&mut text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Contents::default()),
        Err(error) => Err(error),
    };
    read.map_err(|error| format!("{}; {RESTORE}", reason(&error)))?;
    if text.len() as u64 > limit {
        return Err(format!("it is larger than {entries} bans can be; raise bans.entries, or {RESTORE}"));
    }
    parse(&text)
}

/// What to do with a file that cannot be used.
const RESTORE: &str = "restore the file, or move it away to start without its bans";

fn parse(text: &str) -> Result<Contents, String> {
    let damaged = |error: serde_json::Error| format!("it is damaged: {error}; {RESTORE}");
    let document = match serde_json::from_str::<Document>(text) {
        Ok(document) => document,
        Err(error) => {
            return Err(match serde_json::from_str::<Head>(text) {
                Ok(Head { version }) if version != VERSION => other_version(version),
                _ => damaged(error),
            });
        }
    };
    if document.version != VERSION {
        return Err(other_version(document.version));
    }
    if let Some(ban) = document.bans.iter().find(|ban| ban.network.prefix_len() == 0) {
        return Err(format!("{}; {RESTORE}", BanError::Everyone(ban.network)));
    }
    let now = Moment::now();
    let bans = document.bans.into_iter().filter_map(|ban| {
        let StoredBan { network, began, until, origin, reason, times } = ban;
        let (began, until) = (UNIX_EPOCH + Duration::from_secs(began.min(until)), now.loaded(until)?);
        Some(Ban { network, reason: reason.into(), origin, times, began, until })
    });
    let repeats = document.repeats.into_iter().filter_map(|repeat| {
        let StoredRepeat { source, times, until } = repeat;
        Some(Repeat { source: Source::of(source.address()), times, until: now.loaded(until)? })
    });
    Ok(Contents { bans: bans.collect(), repeats: repeats.collect() })
}

fn other_version(version: u32) -> String {
    format!("it has version {version}, and this program reads version {VERSION}; {RESTORE}")
}

/// Whether this process can create and replace files in the directory.
fn check_directory(path: &Path) -> Result<(), String> {
    let directory = directory(path);
    match fs::metadata(directory) {
        Ok(metadata) if !metadata.is_dir() => Err(format!("{} is not a directory", directory.display())),
        Ok(_) => access(directory, AccessFlags::W_OK | AccessFlags::X_OK)
            .map_err(|_| format!("{} cannot create a file in the directory {}", current_user(), directory.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(format!("there is no directory {}; create it for the user of the server", directory.display()))
        }
        Err(error) => Err(format!("the directory {}: {}", directory.display(), reason(&error))),
    }
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Replaces the file. After a crash, the old or the new content is there, completely.
pub(super) fn write(path: &Path, contents: &Contents) -> Result<(), BanFileError> {
    // The target of a symbolic link is replaced, not the link.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = target.with_file_name(name);
    let written = write_new(&temporary, contents)
        .and_then(|()| fs::rename(&temporary, &target))
        // The new name survives a crash only when the directory is on the disk (fsync(2)).
        .and_then(|()| File::open(directory(&target))?.sync_all());
    written.map_err(|error| {
        let _ = fs::remove_file(&temporary); // it may not exist
        BanFileError { path: path.to_owned(), problem: format!("cannot write it: {}", reason(&error)) }
    })
}

fn write_new(path: &Path, contents: &Contents) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // The file contains addresses of clients.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let mut out = BufWriter::new(file);
    let now = Moment::now();
    write!(out, "{{\n\"version\": {VERSION},\n\"bans\": [")?;
    let bans = contents.bans.iter().map(|ban| StoredBan {
        network: ban.network,
        began: since_epoch(ban.began).as_secs(),
        until: now.stored(ban.until),
        origin: ban.origin,
        reason: ban.reason.to_string(),
        times: ban.times,
    });
    write_lines(&mut out, bans)?;
    write!(out, "],\n\"repeats\": [")?;
    let repeats = contents.repeats.iter().map(|repeat| StoredRepeat {
        source: repeat.source.into(),
        times: repeat.times,
        until: now.stored(repeat.until),
    });
    write_lines(&mut out, repeats)?;
    writeln!(out, "]\n}}")?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

fn write_lines<T: Serialize>(out: &mut impl Write, entries: impl Iterator<Item = T>) -> io::Result<()> {
    for (at, entry) in entries.enumerate() {
        out.write_all(if at == 0 { b"\n" } else { b",\n" })?;
        serde_json::to_writer(&mut *out, &entry)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
