//! Reads the files that settings name. Their size is bounded, because a device such as `/dev/zero` never ends.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use nix::unistd::{User, geteuid};

/// Maximum size of a configuration file, a certificate, a key or a token.
const MAX_FILE: u64 = 16 << 20;

/// Reads a whole file.
///
/// # Errors
///
/// The file cannot be read, or is larger than 16 MiB.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_opened(open(path)?)
}

/// Opens a file. If that is not permitted, the error names the user of this process.
///
/// # Errors
///
/// As for [`File::open`].
pub fn open(path: &Path) -> io::Result<File> {
    File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            // Without the permission to enter a directory, the file is not found either.
            let what = if fs::metadata(path).is_ok() { "read it" } else { "enter a directory of its path" };
            let text = format!("{}: {} cannot {what}", reason(&error), current_user());
            io::Error::new(io::ErrorKind::PermissionDenied, text)
        }
        _ => error,
    })
}

/// The user of this process: `user switchboard (uid 998)`.
pub fn current_user() -> String {
    let uid = geteuid();
    match User::from_uid(uid) {
        Ok(Some(user)) => format!("user {} (uid {uid})", user.name),
        _ => format!("user {uid}"),
    }
}

fn read_opened(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {} MiB", MAX_FILE >> 20)));
    }
    Ok(bytes)
}

/// Reads a whole text file.
///
/// # Errors
///
/// The file cannot be read, is larger than 16 MiB, or is not UTF-8 text (`InvalidData`).
pub fn read_text(path: &Path) -> io::Result<String> {
    read_opened_text(open(path)?)
}

/// Like [`read_text`], for a file that is already open.
///
/// # Errors
///
/// As for [`read_text`].
pub fn read_opened_text(file: File) -> io::Result<String> {
    let invalid = |_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text");
    String::from_utf8(read_opened(file)?).map_err(invalid)
}

/// The text of an I/O error without the number of the system.
pub fn reason(error: &io::Error) -> String {
    without_number(&error.to_string())
}

/// The text of an I/O error without ` (os error 98)`, also inside the text of another error.
pub(crate) fn without_number(text: &str) -> String {
    match text.split_once(" (os error ") {
        Some((before, after)) => [before, after.split_once(')').map_or("", |(_, rest)| rest)].concat(),
        None => text.to_owned(),
    }
}
