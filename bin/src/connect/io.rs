//! Input, output and errors that stream and datagram sessions share.

use std::fmt;
use std::io::{self, Write};

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::mpsc;

/// The reason why a session failed.
#[derive(Debug)]
pub(crate) struct ConnectError(pub(super) String);

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ConnectError {
    /// Omits the error number of the operating system.
    pub(super) fn io(context: impl fmt::Display, error: &io::Error) -> Self {
        let error = error.to_string();
        Self(format!("{context}: {}", error.split(" (os error").next().unwrap_or_default()))
    }
}

pub(super) type Result<T> = std::result::Result<T, ConnectError>;

/// The lines to send.
pub(super) enum Input<R> {
    /// From a pipe or file.
    Piped {
        reader: BufReader<R>,
        /// The part of the current line that was read before a cancelled call.
        line: Vec<u8>,
    },
    /// From the line editor of a terminal.
    Terminal(mpsc::Receiver<String>),
}

impl<R: AsyncRead + Unpin> Input<R> {
    pub(super) fn piped(reader: R) -> Self {
        Self::Piped { reader: BufReader::new(reader), line: Vec::new() }
    }

    pub(super) fn is_terminal(&self) -> bool {
        matches!(self, Self::Terminal(_))
    }

    /// The next line without its line feed; `None` at the end. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        match self {
            Self::Terminal(lines) => Ok(lines.recv().await.map(Bytes::from)),
            Self::Piped { reader, line } => {
                let read = reader.read_until(b'\n', line).await;
                read.map_err(|error| ConnectError::io("cannot read standard input", &error))?;
                let mut line = std::mem::take(line);
                if line.last() == Some(&b'\n') {
                    line.pop();
                } else if line.is_empty() {
                    return Ok(None);
                }
                Ok(Some(line.into()))
            }
        }
    }
}

/// Prints the bytes of a reply, with a line feed unless it ends in one, and flushes.
pub(super) fn print_reply(out: &mut impl Write, reply: &[u8]) -> Result<()> {
    let end: &[u8] = if reply.ends_with(b"\n") { b"" } else { b"\n" };
    let written = out.write_all(reply).and_then(|()| out.write_all(end)).and_then(|()| out.flush());
    written.map_err(|error| ConnectError::io("cannot write to standard output", &error))
}

/// Reports a line that was not sent; the session continues.
pub(super) fn print_unsent(error: impl fmt::Display) {
    crate::exit::print_error(&format!("error: line not sent: {error}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_printed_as_its_bytes_on_a_line_of_its_own() {
        let mut out = Vec::new();
        print_reply(&mut out, b"\xff\xfe").unwrap();
        print_reply(&mut out, b"line\n").unwrap();
        print_reply(&mut out, b"").unwrap();
        assert_eq!(out, b"\xff\xfe\nline\n\n");
    }
}
