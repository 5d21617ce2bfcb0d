//! The canonical text of a script. Two scripts that differ in one message differ in the lines of that message.

use std::fmt::{self, Write};
use std::ops::Range;
use std::time::Duration;

use crate::script::VERSION;
use crate::script::data::{Data, Part};
use crate::script::model::{Action, Script, Step};
use crate::settings::text::is_unsafe;

/// Equal bytes that are written as a repetition.
const REPEATED: usize = 32;
/// Text between other bytes that is shorter is written in hexadecimal.
const SHORT_TEXT: usize = 3;
/// Bytes of one item in hexadecimal.
const HEX_BYTES: usize = 32;
/// Columns of an item in quotes, and of all items of a line.
const COLUMNS: usize = 80;

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "switchboard script {VERSION}")?;
        if let Some(framing) = &self.framing {
            writeln!(f, "framing {framing}")?;
        }
        for (name, value) in &self.info {
            writeln!(f, "info {name} {}", text_item(value))?;
        }
        for peer in &self.peers {
            writeln!(f, "peer {peer}")?;
        }
        for step in &self.steps {
            match step {
                Step::Wait(duration) => writeln!(f, "wait {}", Short(*duration))?,
                Step::Timeout(duration) => writeln!(f, "timeout {}", Short(*duration))?,
                Step::Peer(peer, action) => {
                    if let Some(name) = self.peers.get(*peer) {
                        write!(f, "{name} ")?;
                    }
                    writeln!(f, "{action}")?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("> open"),
            Self::Send(data) => write!(f, "> {}", lines(data).join("\n  ")),
            Self::HalfClose => f.write_str("> end"),
            Self::Close => f.write_str("> close"),
            Self::Reset => f.write_str("> reset"),
            Self::Pause => f.write_str("> pause"),
            Self::Resume => f.write_str("> resume"),
            Self::Expect(data) => write!(f, "< {}", lines(data).join("\n  ")),
            Self::ExpectEnd => f.write_str("< end"),
            Self::ExpectReset => f.write_str("< reset"),
            Self::ExpectClosed(None) => f.write_str("< closed"),
            Self::ExpectClosed(Some(reason)) => write!(f, "< closed {reason}"),
            Self::ExpectNothing(duration) => write!(f, "< nothing {}", Short(*duration)),
        }
    }
}

impl fmt::Display for Data {
    /// The data as they are written in a script, in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&lines(self).join(" "))
    }
}

/// A duration as one number with the largest unit that divides it.
struct Short(Duration);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let units = [(1_000_000_000, "s"), (1_000_000, "ms"), (1000, "us"), (1, "ns")];
        let (unit, name) = units.into_iter().find(|(unit, _)| nanos.is_multiple_of(*unit)).unwrap_or((1, "ns"));
        write!(f, "{}{name}", nanos / unit)
    }
}

/// The items of the data, in lines. A line ends after a line feed of the data.
fn lines(data: &Data) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut ends_line = false;
    for item in items(data) {
        let is_full = lines.last().is_some_and(|line| !line.is_empty() && line.len() + item.len() > COLUMNS);
        if ends_line || is_full {
            lines.push(String::new());
        }
        ends_line = item.ends_with("\\n\"");
        if let Some(line) = lines.last_mut() {
            let separator = if line.is_empty() { "" } else { " " };
            let _ = write!(line, "{separator}{item}"); // writing to a string cannot fail
        }
    }
    lines
}

fn items(data: &Data) -> Vec<String> {
    let mut items = Vec::new();
    for part in data.parts() {
        match part {
            Part::Unknown(count) => items.push(format!("*{count}")),
            Part::Bytes(bytes) => runs(bytes).into_iter().for_each(|(kind, range)| {
                let bytes = &bytes[range];
                match kind {
                    Kind::Repeated => {
                        let one = if is_text(char::from(bytes[0])) && bytes[0].is_ascii() {
                            text_item(&char::from(bytes[0]).to_string())
                        } else {
                            hex(&bytes[..1])
                        };
                        items.push(format!("{one}*{}", bytes.len()));
                    }
                    Kind::Text => text_items(&String::from_utf8_lossy(bytes), &mut items),
                    Kind::Hex => items.extend(bytes.chunks(HEX_BYTES).map(hex)),
                }
            }),
        }
    }
    if items.is_empty() {
        items.push("\"\"".to_owned());
    }
    items
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Hex,
    Repeated,
}

/// The bytes in runs of one kind.
fn runs(bytes: &[u8]) -> Vec<(Kind, Range<usize>)> {
    let mut runs: Vec<(Kind, Range<usize>)> = Vec::new();
    let mut add = |kind, range: Range<usize>| match runs.last_mut() {
        Some((last, run)) if *last == kind && kind != Kind::Repeated => run.end = range.end,
        _ => runs.push((kind, range)),
    };
    let mut at = 0;
    while at < bytes.len() {
        let equal = bytes[at..].iter().take_while(|byte| **byte == bytes[at]).count();
        let (kind, len) = match first_character(&bytes[at..]) {
            _ if equal >= REPEATED => (Kind::Repeated, equal),
            Some(c) if is_text(c) => (Kind::Text, c.len_utf8()),
            _ => (Kind::Hex, 1),
        };
        add(kind, at..at + len);
        at += len;
    }
    // A few letters between other bytes are rarely text.
    let is_hex = |at: usize| runs.get(at).is_some_and(|(kind, _)| *kind == Kind::Hex);
    let is_short = |at: usize| {
        let (kind, run) = &runs[at];
        *kind == Kind::Text && run.len() < SHORT_TEXT && (is_hex(at + 1) || at > 0 && is_hex(at - 1))
    };
    let mut merged: Vec<(Kind, Range<usize>)> = Vec::new();
    for (at, (kind, run)) in runs.iter().enumerate() {
        let kind = if is_short(at) { Kind::Hex } else { *kind };
        match merged.last_mut() {
            Some((Kind::Hex, last)) if kind == Kind::Hex => last.end = run.end,
            _ => merged.push((kind, run.clone())),
        }
    }
    merged
}

fn first_character(bytes: &[u8]) -> Option<char> {
    let chunk = bytes[..bytes.len().min(4)].utf8_chunks().next()?;
    chunk.valid().chars().next()
}

/// Whether a character is shown as it is, or by an escape that every reader knows.
fn is_text(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\t' | '"' | '\'' | '\\') || (!is_unsafe(c) && c.escape_debug().eq([c]))
}

/// Text in items that end after each line feed and are not wider than a line.
fn text_items(text: &str, items: &mut Vec<String>) {
    for line in text.split_inclusive('\n') {
        let mut rest = line;
        while !rest.is_empty() {
            let mut end = rest.floor_char_boundary(COLUMNS);
            // The line feed stays with its line.
            if end + 1 == rest.len() && rest.ends_with('\n') {
                end = rest.len();
            }
            items.push(text_item(&rest[..end]));
            rest = &rest[end..];
        }
    }
}

fn text_item(text: &str) -> String {
    let mut item = String::from("\"");
    for c in text.chars() {
        match c {
            '\n' => item.push_str("\\n"),
            '\r' => item.push_str("\\r"),
            '\t' => item.push_str("\\t"),
            '"' | '\\' => item.extend(['\\', c]),
            c if is_text(c) => item.push(c),
            c => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    let _ = write!(item, "\\x{byte:02x}"); // writing to a string cannot fail
                }
            }
        }
    }
    item + "\""
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
