//! Reads a configuration file (TOML, JSON or YAML) into a tree with the line of each key.

mod contents;
mod toml;
mod yaml_json;

pub(crate) use contents::{Contents, Lines};

use std::path::{Path as FilePath, PathBuf};
use std::{fs, io};

use switchboard::settings::file as bounded;

use super::diagnostic::{Diagnostic, Origin};
use crate::exit;

/// The file to read: the named one, or else the first that exists.
pub(crate) fn choose(named: Option<&FilePath>, search: &[PathBuf]) -> Option<PathBuf> {
    // A file that exists but cannot be read is an error when it is read.
    let there = |path: &&PathBuf| !matches!(fs::metadata(path), Err(error) if error.kind() == io::ErrorKind::NotFound);
    named.map(FilePath::to_owned).or_else(|| search.iter().find(there).cloned())
}

/// Reads a file. `origin` is the flag or variable that names the file.
pub(crate) fn read(path: &FilePath, origin: Option<Origin>) -> Result<Contents, Diagnostic> {
    let text = bounded::read_text(path).map_err(|error| {
        let what = match error.kind() {
            io::ErrorKind::InvalidData => "is not UTF-8 text".to_owned(),
            _ => format!("cannot be read: {}", exit::reason(&error)),
        };
        Diagnostic::general(format!("{} {what}", path.display())).from(origin)
    })?;
    parse_named(path, &text)
}

/// Reads the text of a file; an error has the file and line.
pub(crate) fn parse_named(path: &FilePath, text: &str) -> Result<Contents, Diagnostic> {
    parse(path, text).map_err(|(line, what)| {
        let at = Origin::file(&path.display().to_string(), line);
        Diagnostic::general(format!("{at}: {}", what.trim().replace('\n', "; ")))
    })
}

/// Reads a text in the format of the file's extension, or returns the line and an error message.
fn parse(path: &FilePath, text: &str) -> Result<Contents, (Option<usize>, String)> {
    // Editors on Windows may write a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase).as_deref() {
        Some("json") => yaml_json::parse_json(text),
        Some("yaml" | "yml") => yaml_json::parse_yaml(text),
        _ => toml::parse(text),
    }
}

#[cfg(test)]
mod tests;
