//! The words of a line.

use std::ops::Range;

use crate::script::error::Problem;
use crate::settings::text::{is_unsafe, quoted};

/// A word of a line, and where it is in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) span: Range<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// `>`
    Client,
    /// `<`
    Server,
    /// A text in quotes, and a repetition behind it.
    Quoted,
    /// Anything else without spaces.
    Word,
}

impl Token {
    /// Whether it is `>` or `<`.
    pub(super) fn is_direction(&self) -> bool {
        matches!(self.kind, TokenKind::Client | TokenKind::Server)
    }
}

/// Nothing more is allowed in a line.
pub(super) fn no_more(rest: &[Token], text: &str) -> Result<(), Problem> {
    match rest.first() {
        None => Ok(()),
        Some(token) => {
            let what = format!("{} is not expected at the end of this line", quoted(&text[token.span.clone()]));
            Err(Problem::new(token.span.clone(), what))
        }
    }
}

/// The words of a line that begins at an offset of the text, without its comment.
pub(super) fn tokens(line: &str, offset: usize) -> Result<Vec<Token>, Problem> {
    let mut tokens = Vec::new();
    let mut rest = line;
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        let start = line.len() - rest.len();
        let Some(first) = rest.chars().next() else { return Ok(tokens) };
        let (kind, len) = match first {
            '#' => {
                check_comment(rest, offset + start)?;
                return Ok(tokens);
            }
            '>' => (TokenKind::Client, 1),
            '<' => (TokenKind::Server, 1),
            '"' => (TokenKind::Quoted, quoted_text(rest, offset + start)?),
            _ => (TokenKind::Word, word(rest, offset + start)?),
        };
        tokens.push(Token { kind, span: offset + start..offset + start + len });
        rest = &rest[len..];
    }
}

/// The length of the text in quotes at the start of `rest`, with its repetition.
fn quoted_text(rest: &str, offset: usize) -> Result<usize, Problem> {
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if is_unsafe(c) {
            return Err(unsafe_character(c, offset + at, "write it as an escape, such as"));
        }
        match c {
            '"' if !is_escaped => {
                let end = at + 1;
                let suffix = rest[end..].strip_prefix('*');
                let digits = |suffix: &str| suffix.len() - suffix.trim_start_matches(char::is_alphanumeric).len();
                return Ok(end + suffix.map_or(0, |suffix| 1 + digits(suffix)));
            }
            _ => is_escaped = c == '\\' && !is_escaped,
        }
    }
    Err(Problem::new(offset..offset + rest.len(), "the text has no closing quote; write \\\" for a quote in the text"))
}

fn word(rest: &str, offset: usize) -> Result<usize, Problem> {
    for (at, c) in rest.char_indices() {
        if matches!(c, ' ' | '\t' | '"' | '#' | '<' | '>') {
            return Ok(at);
        }
        if is_unsafe(c) {
            return Err(unsafe_character(c, offset + at, "write it in quotes as an escape, such as"));
        }
    }
    Ok(rest.len())
}

/// A character that changes how an editor shows the text could hide a step from a reader.
fn check_comment(comment: &str, offset: usize) -> Result<(), Problem> {
    match comment.char_indices().find(|(_, c)| is_unsafe(*c) && *c != '\t') {
        None => Ok(()),
        Some((at, c)) => {
            let span = offset + at..offset + at + c.len_utf8();
            Err(Problem::new(span, format!("the comment has the control character U+{:04X}; remove it", u32::from(c))))
        }
    }
}

fn unsafe_character(c: char, at: usize, advice: &str) -> Problem {
    let escape = match c {
        '\t' => "\\t".to_owned(),
        '\r' => "\\r".to_owned(),
        _ => {
            let mut bytes = [0; 4];
            c.encode_utf8(&mut bytes).bytes().map(|byte| format!("\\x{byte:02x}")).collect()
        }
    };
    let name = u32::from(c);
    Problem::new(at..at + c.len_utf8(), format!("the control character U+{name:04X} is invisible; {advice} {escape}"))
}
