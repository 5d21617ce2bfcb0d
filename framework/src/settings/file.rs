//! Reads the files that settings name. Their size is bounded, because a device such as `/dev/zero` never ends.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Maximum size of a configuration file, a certificate, a key or a token.
const MAX_FILE: u64 = 16 << 20;

/// Reads a whole file.
///
/// # Errors
///
/// The file cannot be read, or is larger than 16 MiB.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    read_opened(File::open(path)?)
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
    read_opened_text(File::open(path)?)
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
    error.to_string().split(" (os error").next().unwrap_or_default().to_owned()
}
