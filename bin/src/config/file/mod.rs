//! Reads a configuration file (TOML, JSON or YAML) into a tree with the place of each key.

mod contents;
mod toml;
mod yaml_json;

pub(crate) use contents::Contents;

use contents::SyntaxError;

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use figment::value::Value;
use nix::unistd::geteuid;
use switchboard::settings::file as bounded;

use super::diagnostic::Diagnostic;
use super::expected::Schemas;
use super::hidden;
use super::origin::Origin;
use super::resolve::optional;
use super::source_text::{Mark, SourceText};

/// The file to read: the named one, or else the first that exists.
pub(crate) fn choose(named: Option<&FilePath>, search: &[PathBuf]) -> Option<PathBuf> {
    // A file that exists but cannot be read is an error when it is read.
    let there = |path: &&PathBuf| !matches!(fs::metadata(path), Err(error) if error.kind() == io::ErrorKind::NotFound);
    named.map(FilePath::to_owned).or_else(|| search.iter().find(there).cloned())
}

/// Reads a file. `origin` is the flag or variable that names the file.
pub(crate) fn read(path: &FilePath, origin: Option<Origin>, schemas: &Schemas<'_>) -> Result<Contents, Diagnostic> {
    let text = bounded::read_text(path).map_err(|error| unreadable(path, &error).from(origin))?;
    parse_named(path, &text, schemas)
}

/// Reads a file that was found in the working directory. Another user may have put it there, so it must belong to root
/// or to the user of this process, and not be writable by everyone (CWE-426).
pub(crate) fn read_trusted(path: &FilePath, schemas: &Schemas<'_>) -> Result<Contents, Diagnostic> {
    let failed = |error: io::Error| unreadable(path, &error);
    let rejected = |what: &str| {
        let name = path.display();
        let advice = format!("it was found in the working directory; to use it, name it with --config ./{name}");
        Diagnostic::general(format!("./{name} is not used, because {what}; {advice}"))
    };
    let is_own = |file: &Metadata| file.uid() == 0 || file.uid() == geteuid().as_raw();
    // To open a pipe of another user could block forever.
    let (link, target) = (fs::symlink_metadata(path).map_err(failed)?, fs::metadata(path).map_err(failed)?);
    if !is_own(&link) || !is_own(&target) {
        return Err(rejected("it belongs to another user"));
    }
    if !target.is_file() {
        return Err(rejected("it is not a regular file"));
    }
    let file = bounded::open(path).map_err(failed)?;
    // The path may have been replaced since, so the opened file is checked too.
    let opened = file.metadata().map_err(failed)?;
    if !is_own(&opened) {
        return Err(rejected("it belongs to another user"));
    }
    if opened.mode() & 0o002 != 0 {
        return Err(rejected("every user can write it"));
    }
    let text = bounded::read_opened_text(file).map_err(failed)?;
    parse_named(path, &text, schemas)
}

fn unreadable(path: &FilePath, error: &io::Error) -> Diagnostic {
    let what = match error.kind() {
        io::ErrorKind::InvalidData => "is not UTF-8 text".to_owned(),
        _ => format!("cannot be read: {}", bounded::reason(error)),
    };
    Diagnostic::general(format!("{} {what}", path.display()))
}

/// Reads the text of a file; an error has the file and its place there.
pub(crate) fn parse_named(path: &FilePath, text: &str, schemas: &Schemas<'_>) -> Result<Contents, Diagnostic> {
    // Editors on Windows may write a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let contents = parse(path, text).map_err(|SyntaxError { at, what }| {
        let mut origin = Origin::file(&path.display().to_string());
        if let Some(at) = at {
            let hidden = hidden::in_unreadable_line(text, at.start, schemas).into_iter().collect();
            let text = Arc::new(SourceText::file(text.to_owned(), hidden));
            origin = origin.at(&text, Mark { key: at, value: None });
        }
        Diagnostic::general(what.trim().replace('\n', "; ")).from(Some(origin))
    })?;
    Ok(Contents { text: text.to_owned(), ..contents })
}

/// Rejects a file that sets no key: a file that was emptied by mistake would otherwise replace every setting by its
/// default. An empty section sets no key, unless it is absent by default, such as `[recorder]`.
pub(crate) fn require_keys(
    path: &FilePath,
    contents: Contents,
    schemas: &Schemas<'_>,
    origin: Option<Origin>,
) -> Result<Contents, Diagnostic> {
    let sets_nothing = |(key, value): (&String, &Value)| match value {
        Value::Dict(_, table) => table.is_empty() && optional(key).is_none(),
        Value::Empty(..) => schemas.expected(std::slice::from_ref(key)).accepts("object"),
        _ => false,
    };
    if contents.unsupported.is_empty() && contents.tree.iter().all(sets_nothing) {
        let what = format!("{} sets no key; set at least one key, such as listen, or use no file", path.display());
        return Err(Diagnostic::general(what).from(origin));
    }
    Ok(contents)
}

/// Reads a text in the format of the file's extension.
fn parse(path: &FilePath, text: &str) -> Result<Contents, SyntaxError> {
    match path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase).as_deref() {
        Some("json") => yaml_json::parse_json(text),
        Some("yaml" | "yml") => yaml_json::parse_yaml(text),
        _ => toml::parse(text),
    }
}

#[cfg(test)]
mod tests;
