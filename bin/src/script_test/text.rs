//! The report for people, and the text of a failure in every format.

use std::fmt::Write as _;

use super::load::Loaded;
use super::outcome::{Excerpt, Played};
use crate::config::{self, Escaped};

/// The lines of one script.
pub(super) fn script(script: &Loaded, played: &Played) -> String {
    let name = Escaped(&script.name);
    match played.result {
        Ok(()) => format!("passed  {name}{}\n", note(played)),
        Err(_) => format!("failed  {name}\n{}", failure(script, played)),
    }
}

pub(super) fn summary(passed: usize, failed: usize) -> String {
    let count = passed + failed;
    let scripts = if count == 1 { "1 script".to_owned() } else { format!("{count} scripts") };
    format!("{scripts}: {passed} passed, {failed} failed\n")
}

/// What was not compared, in parentheses.
pub(super) fn note(played: &Played) -> String {
    match played.unseen_reasons {
        0 => String::new(),
        1 => " (1 close reason is not compared: only the server knows it)".to_owned(),
        count => format!(" ({count} close reasons are not compared: only the server knows them)"),
    }
}

/// The failure of a script: its line, and the bytes around the first difference.
pub(crate) fn failure(script: &Loaded, played: &Played) -> String {
    let Err(mismatch) = &played.result else { return String::new() };
    let mut text = match mismatch.step {
        Some(step) => {
            let has_bytes = mismatch.excerpt.as_ref().is_some_and(|excerpt| !excerpt.expected.is_empty());
            let part = match has_bytes {
                true => script.file.byte_span(step, mismatch.byte),
                false => script.file.step_span(step),
            };
            config::located(&script.name, &script.source, &part, &mismatch.what, false)
        }
        None => format!("{}: error: {}\n", Escaped(&script.name), Escaped(&mismatch.what)),
    };
    if let Some(excerpt) = &mismatch.excerpt {
        text += &rendered(excerpt);
    }
    text
}

/// Expected and received bytes below each other, with a mark below the first difference.
fn rendered(excerpt: &Excerpt) -> String {
    let is_text = |bytes: &mut dyn Iterator<Item = u8>| {
        let (mut text, mut all) = (0, 0);
        bytes.for_each(|byte| {
            all += 1;
            text += usize::from(matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~'));
        });
        text * 4 >= all * 3
    };
    let known = &mut excerpt.expected.iter().copied().flatten();
    let as_text = is_text(known) && is_text(&mut excerpt.received.iter().copied());
    let expected: Vec<String> = excerpt.expected.iter().map(|byte| shown(*byte, as_text)).collect();
    let received: Vec<String> = excerpt.received.iter().map(|byte| shown(Some(*byte), as_text)).collect();
    let quote = if as_text { "\"" } else { "" };
    let separator = if as_text { "" } else { " " };
    let before = if excerpt.has_before { "…" } else { "" };
    let line = |bytes: &[String], has_more: bool| {
        if bytes.is_empty() {
            return "nothing".to_owned();
        }
        let after = if has_more { "…" } else { "" };
        format!("{before}{quote}{}{quote}{after}", bytes.join(separator))
    };
    let mut text = String::new();
    if !expected.is_empty() {
        let _ = writeln!(text, "  expected  {}", line(&expected, excerpt.has_more_expected));
    }
    let _ = writeln!(text, "  received  {}", line(&received, excerpt.has_more_received));
    if !expected.is_empty() {
        // Unknown bytes have another width than the received ones, so the mark counts in the received bytes.
        let widths: usize = received.iter().take(excerpt.at).map(|byte| byte.len() + separator.len()).sum();
        let indent = before.chars().count() + quote.len() + widths;
        let _ = writeln!(text, "{:>width$}", "^", width = "  received  ".len() + indent + 1);
    }
    text
}

/// A byte as an escape or two digits. A byte of any value is as wide as most others.
fn shown(byte: Option<u8>, as_text: bool) -> String {
    match byte {
        None if as_text => "*".to_owned(),
        None => "**".to_owned(),
        Some(byte @ (b'\'' | b'*')) if as_text => char::from(byte).to_string(),
        Some(byte) if as_text => byte.escape_ascii().to_string(),
        Some(byte) => format!("{byte:02x}"),
    }
}

#[cfg(test)]
mod tests;
