//! The text of a source (a file, a variable or a flag), and the line of it that an error message shows.
//!
//! A secret is never shown. Text that nothing is known about, such as the value of an unknown key, may be a misspelled
//! secret and is not shown either.

use std::fmt;
use std::ops::Range;

use switchboard::settings::text::is_unsafe;

/// Bytes of a line that an error message shows.
const SHOWN: usize = 120;
/// Of a longer line, the bytes before the mark that it shows.
const SHOWN_BEFORE: usize = 50;
/// What is shown instead of a secret.
const HIDDEN: &str = "***";

/// Where a key and its value are in a text, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) key: Range<usize>,
    /// None for a table.
    pub(crate) value: Option<Range<usize>>,
}

/// The text of one source.
#[derive(PartialEq, Eq)]
pub(crate) struct SourceText {
    text: String,
    /// The parts that are not shown.
    hidden: Vec<Range<usize>>,
    is_file: bool,
    /// The start of each line.
    starts: Vec<usize>,
}

/// A line of a text, cut around a part of it, without secrets and control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excerpt {
    pub(crate) text: String,
    /// The marked bytes of `text`.
    pub(crate) marked: Range<usize>,
    /// The number of the line in a file.
    pub(crate) line: Option<usize>,
}

impl SourceText {
    pub(crate) fn file(text: String, hidden: Vec<Range<usize>>) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, hidden, is_file: true, starts }
    }

    /// A variable `NAME=value` or a flag `--flag value`, and where its name and its value are.
    pub(crate) fn assignment(name: &str, separator: &str, value: &str, is_secret: bool) -> (Self, Mark) {
        let text = [name, separator, value].concat();
        let value = name.len() + separator.len()..text.len();
        let hidden = if is_secret { vec![value.clone()] } else { Vec::new() };
        let mark = Mark { key: 0..name.len(), value: Some(value) };
        (Self { text, hidden, is_file: false, starts: vec![0] }, mark)
    }

    /// The number of the line and of the character of a byte, from 1.
    pub(crate) fn position(&self, at: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= at).max(1);
        let before = self.text.get(self.starts[line - 1]..at).unwrap_or_default();
        (line, before.chars().count() + 1)
    }

    /// The line that contains the start of a part of the text.
    pub(crate) fn excerpt(&self, part: &Range<usize>) -> Excerpt {
        let (line, _) = self.position(part.start);
        let start = if self.is_file { self.starts[line - 1] } else { 0 };
        let next = self.starts.get(line).map_or(self.text.len(), |next| next - 1);
        let end = if self.is_file { next } else { self.text.len() };
        // A line of a JSON file can have megabytes.
        let (from, to) = match end - start {
            0..=SHOWN => (start, end),
            _ => (
                part.start.saturating_sub(SHOWN_BEFORE).max(start).min(end),
                (part.start + SHOWN - SHOWN_BEFORE).min(end),
            ),
        };
        let (from, to) = (self.text.floor_char_boundary(from), self.text.floor_char_boundary(to));
        let hidden: Vec<_> = self.hidden.iter().filter(|range| range.start < to && range.end > from).collect();
        let mut shown = String::from(if from > start { "…" } else { "" });
        let (mut marked, mut hides) = (None::<Range<usize>>, None);
        for (at, c) in self.text[from..to].char_indices().map(|(at, c)| (from + at, c)) {
            let before = shown.len();
            match hidden.iter().position(|range| range.contains(&at)) {
                Some(index) if hides == Some(index) => {}
                Some(index) => {
                    hides = Some(index);
                    shown.push_str(HIDDEN);
                }
                None if c == '\t' => shown.push_str("    "),
                None if c == '\r' && at + 1 == end => {}
                None if is_unsafe(c) => shown.extend(c.escape_default()),
                None => shown.push(c),
            }
            if part.contains(&at) || at == part.start {
                let begin = marked.map_or_else(|| before.min(shown.len()), |marked| marked.start);
                marked = Some(begin..shown.len());
            }
        }
        let end_of_text = shown.len();
        // A mark at the end of the line, such as that of a missing value.
        let mut marked = marked.unwrap_or(end_of_text..end_of_text);
        if marked.is_empty() && marked.start == end_of_text && shown.ends_with(HIDDEN) {
            marked = end_of_text - HIDDEN.len()..end_of_text;
        }
        if to < end {
            shown.push('…');
        }
        Excerpt { text: shown, marked, line: self.is_file.then_some(line) }
    }
}

impl fmt::Debug for SourceText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The text may contain secrets.
        f.debug_struct("SourceText").field("bytes", &self.text.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
