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
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
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
    String::from_utf8(read(path)?).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
}
