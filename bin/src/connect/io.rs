//! Input, output and errors that stream and datagram sessions share.

use std::fmt::Display;
use std::io::{self, Write};

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::mpsc;

pub(super) type Result<T> = std::result::Result<T, String>;

/// An I/O error without the error number of the operating system.
pub(super) fn failed(context: impl Display, error: &io::Error) -> String {
    let error = error.to_string();
    format!("{context}: {}", error.split(" (os error").next().unwrap_or_default())
}

pub(super) enum Input<R> {
    /// From a pipe or file, and the part of the current line that was read before a cancelled call.
    Piped(BufReader<R>, Vec<u8>),
    Terminal(mpsc::Receiver<String>),
}

impl<R: AsyncRead + Unpin> Input<R> {
    /// The next line without its line feed; `None` at the end. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        match self {
            Self::Terminal(lines) => Ok(lines.recv().await.map(Bytes::from)),
            Self::Piped(reader, line) => {
                let read = reader.read_until(b'\n', line).await;
                read.map_err(|error| failed("cannot read standard input", &error))?;
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
    written.map_err(|error| failed("cannot write to standard output", &error))
}

pub(super) fn print_unsent(error: impl Display) {
    crate::exit::print_error(&format!("error: line not sent: {error}\n"));
}

#[cfg(test)]
mod tests;
