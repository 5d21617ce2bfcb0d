//! Reads the scripts before any of them is played.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use switchboard::Registry;
use switchboard::framing::AnyFraming;
use switchboard::script::{Action, MAX_TEXT, ScriptFile, Step};

use crate::config::{self, Escaped, SourceText};
use crate::exit;

/// A script that can be played.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The name of the file.
    pub(crate) name: String,
    pub(crate) file: ScriptFile,
    /// The source, for errors that show a line of it.
    pub(crate) source: SourceText,
    /// The framing of the messages; none if the data are bytes.
    pub(crate) framing: Option<AnyFraming>,
}

impl Loaded {
    /// A fact about the script.
    pub(crate) fn info(&self, name: &str) -> Option<&str> {
        self.file.script().info.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str())
    }
}

/// Reads all files with [`load`] or [`load_any`]. If one is invalid, prints all errors and returns the exit status.
pub(crate) fn load_all(
    paths: &[PathBuf],
    registry: &Registry,
    load: impl Fn(&Path, &Registry) -> Result<Loaded, String>,
) -> Result<Vec<Loaded>, u8> {
    let (mut scripts, mut errors) = (Vec::new(), String::new());
    for path in paths {
        match load(path, registry) {
            Ok(script) => scripts.push(script),
            Err(error) => errors += &error,
        }
    }
    if errors.is_empty() {
        return Ok(scripts);
    }
    exit::print_lines(&errors, tracing::Level::ERROR);
    Err(exit::CONFIG)
}

/// Reads a script that can be played. The error is a text for the terminal.
pub(crate) fn load(path: &Path, registry: &Registry) -> Result<Loaded, String> {
    load_any(path, registry).and_then(playable)
}

/// Reads a script, which can contain messages that are known in part.
pub(crate) fn load_any(path: &Path, registry: &Registry) -> Result<Loaded, String> {
    let name = path.display().to_string();
    let text = read(path).map_err(|reason| format!("error: {}: {reason}\n", Escaped(&name)))?;
    parsed(name, text, registry)
}

/// The script of a text. The error is a text for the terminal.
pub(crate) fn loaded(name: String, text: String, registry: &Registry) -> Result<Loaded, String> {
    parsed(name, text, registry).and_then(playable)
}

fn parsed(name: String, text: String, registry: &Registry) -> Result<Loaded, String> {
    let source = SourceText::file(text.clone(), Vec::new());
    let color = exit::has_color();
    let file = ScriptFile::parse(text).map_err(|errors| {
        let rendered = errors.iter().map(|error| config::located(&name, &source, &error.span, &error.message, color));
        rendered.collect::<String>()
    })?;
    let framing = match &file.script().framing {
        None => None,
        Some(framing) => {
            let at = file.text().find(framing.as_str()).unwrap_or_default();
            let framing = config::read_framing(framing, registry)
                .map_err(|error| config::located(&name, &source, &(at..at + framing.len()), &error, color))?;
            // Its messages depend on how the network cuts the stream.
            Some(framing).filter(|framing| framing.name() != "raw")
        }
    };
    Ok(Loaded { name, file, source, framing })
}

/// Rejects a script whose client sends bytes that are not known.
fn playable(script: Loaded) -> Result<Loaded, String> {
    let Loaded { name, file, source, .. } = &script;
    for (nth, step) in file.script().steps.iter().enumerate() {
        if let Step::Peer(_, Action::Send(data)) = step
            && let Some(byte) = data.first_unknown()
        {
            let what = "a client cannot send bytes of any value; write the bytes, or record whole messages with a larger \
                        recorder.message";
            return Err(config::located(name, source, &file.byte_span(nth, byte), what, exit::has_color()));
        }
    }
    Ok(script)
}

fn read(path: &Path) -> Result<String, String> {
    let limit = MAX_TEXT as u64;
    let mut bytes = Vec::new();
    let opened = File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes));
    opened.map_err(|error| format!("the script cannot be read: {}", exit::reason(&error)))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8; write such bytes as \\xHH in quotes, or in hexadecimal")
    })
}
