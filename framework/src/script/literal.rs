//! Items of data: texts in quotes, hexadecimal bytes, repetitions and unknown bytes.

use std::ops::Range;

use crate::script::MAX_UNKNOWN;
use crate::script::data::Data;
use crate::script::error::Problem;
use crate::script::token::{Token, TokenKind};
use crate::settings::text::quoted;

/// The number of bytes that the data of a script may still have.
pub(super) struct Budget(pub(super) usize);

/// An item, before its bytes are computed.
#[derive(Debug)]
struct Literal<'a> {
    /// The part without the quotes and the repetition, and its offset in the text.
    inner: &'a str,
    offset: usize,
    kind: Kind,
    times: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Hex,
    Unknown,
}

/// Whether a word looks like data.
pub(super) fn is_data(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit() || c == '*')
        || word.split('*').next().is_some_and(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Appends the bytes of an item.
pub(super) fn decode(token: &Token, text: &str, data: &mut Data, budget: &mut Budget) -> Result<(), Problem> {
    let literal = Literal::read(token, text)?;
    let mut bytes = Vec::new();
    for unit in literal.units() {
        bytes.extend_from_slice(unit?.1.as_slice());
    }
    let unit = if literal.kind == Kind::Unknown { 1 } else { bytes.len() };
    let total = unit.checked_mul(literal.times).filter(|total| *total <= budget.0);
    let Some(total) = total else {
        let limit = crate::script::MAX_DATA >> 20;
        return Err(Problem::new(token.span.clone(), format!("the data of the script are larger than {limit} MiB")));
    };
    budget.0 -= total;
    match literal.kind {
        Kind::Unknown => data.push_unknown(literal.times),
        Kind::Text | Kind::Hex if literal.times == 1 => data.push(&bytes),
        Kind::Text | Kind::Hex => data.push(&bytes.repeat(literal.times)),
    }
    Ok(())
}

/// Where the byte with this index is written, or how many bytes the valid item has.
pub(super) fn locate(token: &Token, text: &str, index: usize) -> Result<Range<usize>, usize> {
    let Ok(literal) = Literal::read(token, text) else { return Err(0) };
    if literal.kind == Kind::Unknown {
        return if index < literal.times { Ok(token.span.clone()) } else { Err(literal.times) };
    }
    let units: Vec<(Range<usize>, usize)> =
        literal.units().filter_map(|unit| unit.ok().map(|(span, unit)| (span, unit.len))).collect();
    let len: usize = units.iter().map(|(_, len)| len).sum();
    if index >= len * literal.times {
        return Err(len * literal.times);
    }
    let mut index = index % len;
    for (span, len) in units {
        if index < len {
            return Ok(span);
        }
        index -= len;
    }
    Ok(token.span.clone())
}

/// The bytes of one character, escape or pair of digits.
#[derive(Debug, Clone, Copy)]
struct Unit {
    bytes: [u8; 4],
    len: usize,
}

impl Unit {
    fn byte(byte: u8) -> Self {
        Self { bytes: [byte, 0, 0, 0], len: 1 }
    }

    fn character(c: char) -> Self {
        let mut bytes = [0; 4];
        let len = c.encode_utf8(&mut bytes).len();
        Self { bytes, len }
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl<'a> Literal<'a> {
    fn read(token: &Token, text: &'a str) -> Result<Self, Problem> {
        let (written, span) = (&text[token.span.clone()], &token.span);
        if token.kind == TokenKind::Quoted {
            let end = written.rfind('"').unwrap_or_default();
            let times = match written[end + 1..].strip_prefix('*') {
                None => 1,
                Some(digits) => number(digits, span.end - digits.len()..span.end)?,
            };
            return Ok(Self { inner: &written[1..end], offset: span.start + 1, kind: Kind::Text, times });
        }
        if token.kind != TokenKind::Word || !is_data(written) {
            return Err(Problem::new(span.clone(), format!("{} is not data; {FORMS}", quoted(written))));
        }
        let (hex, times) = match written.split_once('*') {
            None => (written, 1),
            Some((hex, digits)) => (hex, number(digits, span.end - digits.len()..span.end)?),
        };
        if hex.is_empty() {
            if times > MAX_UNKNOWN {
                let limit = MAX_UNKNOWN >> 20;
                return Err(Problem::new(span.clone(), format!("one item can have at most {limit} MiB of any value")));
            }
            return Ok(Self { inner: hex, offset: span.start, kind: Kind::Unknown, times });
        }
        if !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Problem::new(span.clone(), format!("{} is not hexadecimal; {FORMS}", quoted(hex))));
        }
        if hex.len() % 2 == 1 {
            let what = format!("{} has an odd number of digits; a byte has two, such as 0a", quoted(hex));
            return Err(Problem::new(span.clone(), what));
        }
        Ok(Self { inner: hex, offset: span.start, kind: Kind::Hex, times })
    }

    /// The bytes and where each is written.
    fn units(&self) -> impl Iterator<Item = Result<(Range<usize>, Unit), Problem>> {
        let mut rest = self.inner;
        std::iter::from_fn(move || {
            let start = self.offset + self.inner.len() - rest.len();
            let (len, unit) = match self.kind {
                Kind::Unknown => return None,
                Kind::Hex => (2, Ok(Unit::byte(byte(rest.get(..2)?)?))),
                Kind::Text => character(rest)?,
            };
            rest = rest.get(len..).unwrap_or_default();
            let span = start..start + len;
            Some(match unit {
                Ok(unit) => Ok((span, unit)),
                Err(message) => Err(Problem::new(span, message)),
            })
        })
    }
}

const FORMS: &str = "write text in quotes, bytes in hexadecimal such as 00ff, and *12 for 12 bytes of any value";

/// The first character or escape of a text: its length and its bytes.
fn character(text: &str) -> Option<(usize, Result<Unit, String>)> {
    let first = text.chars().next()?;
    if first != '\\' {
        return Some((first.len_utf8(), Ok(Unit::character(first))));
    }
    let escaped = text[1..].chars().next()?;
    let byte = match escaped {
        'n' => Some(b'\n'),
        'r' => Some(b'\r'),
        't' => Some(b'\t'),
        '"' => Some(b'"'),
        '\\' => Some(b'\\'),
        'x' => match text.get(2..4).and_then(byte) {
            Some(byte) => return Some((4, Ok(Unit::byte(byte)))),
            None => return Some((2, Err("\\x needs two hexadecimal digits, such as \\x0a".to_owned()))),
        },
        _ => None,
    };
    let len = 1 + escaped.len_utf8();
    Some((
        len,
        byte.map(Unit::byte)
            .ok_or_else(|| format!("\\{escaped} is not an escape; there are \\n, \\r, \\t, \\\", \\\\ and \\xHH")),
    ))
}

fn byte(digits: &str) -> Option<u8> {
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)
}

/// A number from 1, in decimal digits.
fn number(digits: &str, span: Range<usize>) -> Result<usize, Problem> {
    let is_decimal = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    match digits.parse::<usize>() {
        Ok(number @ 1..) if is_decimal => Ok(number),
        _ => Err(Problem::new(span, format!("{} is not a number from 1 on, which is needed after *", quoted(digits)))),
    }
}
