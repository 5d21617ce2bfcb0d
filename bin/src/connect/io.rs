//! Input, output and errors that stream and datagram sessions share.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use switchboard::Endpoint;
use switchboard::framing::AnyFraming;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::mpsc;

use crate::exit;

pub(super) type Result<T> = std::result::Result<T, String>;

/// An I/O error without the error number of the operating system.
pub(super) fn failed(context: impl Display, error: &io::Error) -> String {
    format!("{context}: {}", exit::reason(error))
}

/// The server to connect to, and how to talk to it.
pub(crate) struct Target {
    pub(crate) address: Endpoint,
    pub(crate) framing: AnyFraming,
    /// After the end of the input, the silence of the server after which the client stops.
    pub(crate) wait: Duration,
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
    exit::print_error(&format!("error: line not sent: {error}\n"));
}

#[cfg(test)]
mod tests;
