//! Replies on standard output: unchanged bytes in a pipe or file; text or a hex dump on a terminal.

use std::io::{self, IsTerminal, Write};

use pretty_hex::{HexConfig, config_hex};
use switchboard::settings::text::escape_unsafe;

use super::session::Printer;

/// The output of a session without a line editor.
#[derive(Debug)]
pub(super) struct Output<W> {
    pub(super) out: W,
    pub(super) shape: Shape,
}

/// How replies are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// The bytes, with a line feed unless they end in one.
    Bytes,
    /// Text with escaped control characters, or a hex dump if the reply is not text.
    Text,
    Hex,
}

impl Output<io::Stdout> {
    pub(super) fn open(hex: bool) -> Self {
        let out = io::stdout();
        let shape = match (hex, out.is_terminal()) {
            (true, _) => Shape::Hex,
            (false, true) => Shape::Text,
            (false, false) => Shape::Bytes,
        };
        Self { out, shape }
    }
}

impl<W: Write> Printer for Output<W> {
    fn print(&mut self, reply: &[u8]) -> io::Result<()> {
        match self.shape {
            Shape::Bytes => {
                self.out.write_all(reply)?;
                let end: &[u8] = if reply.ends_with(b"\n") { b"" } else { b"\n" };
                self.out.write_all(end)?;
            }
            shape => self.out.write_all(render(reply, shape == Shape::Hex, false).as_bytes())?,
        }
        self.out.flush()
    }
}

/// A reply for a terminal, in green if colour is used. Control characters are escaped, so that a server cannot control
/// the terminal.
pub(super) fn render(reply: &[u8], hex: bool, use_color: bool) -> String {
    let rendered = match str::from_utf8(reply) {
        Ok(text) if !hex && is_text(reply) => {
            escape_unsafe(text.strip_suffix('\n').unwrap_or(text), |c| matches!(c, '\n' | '\t'))
        }
        _ => config_hex(&reply, HexConfig { title: false, ..HexConfig::default() }),
    };
    if use_color { format!("\x1b[32m{rendered}\x1b[0m\n") } else { rendered + "\n" }
}

/// Whether bytes have no control characters except those of text and of terminals: BEL to CR, and ESC. file(1) uses
/// the same rule.
fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| !matches!(byte, 0..=6 | 14..=26 | 28..=31 | 127))
}

#[cfg(test)]
mod tests;
