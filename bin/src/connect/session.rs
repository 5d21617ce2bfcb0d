//! Input, result and errors that stream and datagram sessions share.

use std::fmt::Display;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use switchboard::framing::AnyFraming;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::sync::mpsc;

use crate::dial::Server;
use crate::exit;

pub(super) type Result<T> = std::result::Result<T, String>;

/// An I/O error without the error number of the operating system.
pub(super) fn failed(context: impl Display, error: &io::Error) -> String {
    format!("{context}: {}", exit::reason(error))
}

/// The server to connect to, and how to talk to it.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) server: Server,
    pub(super) framing: AnyFraming,
    /// After the end of the input, the silence of the server after which the client stops.
    pub(super) wait: Duration,
    /// Every reply is printed as a hex dump.
    pub(super) hex: bool,
    /// A part of a message is printed when no more bytes arrive, because the server may use another framing.
    pub(super) prints_parts: bool,
}

/// How a session ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ended {
    /// Lines that could not be encoded or sent.
    pub(super) has_unsent: bool,
    /// The server closed the connection before the input ended.
    pub(super) by_server: bool,
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

/// Prints replies.
pub(super) trait Printer {
    fn print(&mut self, reply: &[u8]) -> io::Result<()>;
}

pub(super) fn print_reply(printer: &mut impl Printer, reply: &[u8]) -> Result<()> {
    printer.print(reply).map_err(|error| failed("cannot write to standard output", &error))
}

pub(super) fn print_unsent(error: impl Display) {
    exit::print_error(&format!("error: line not sent: {error}\n"));
}
