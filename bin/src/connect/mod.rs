//! `switchboard connect`: a client. A line of standard input is a message, a reply is a line of standard output.
//!
//! It knows addresses and framings, and nothing of the server's configuration. What comes is printed as its bytes, but for a
//! person at a terminal.

mod datagram;
mod stream;
mod terminal;

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;

use bytes::Bytes;
use switchboard::Endpoint;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, UnixStream, lookup_host};
use tokio::sync::mpsc;

use crate::cli::ConnectOptions;
use crate::connect::datagram::{Datagrams, OwnPath, exchange};
use crate::connect::stream::talk;
use crate::connect::terminal::{Typing, typing};

/// Why there was no conversation, or why it broke off.
#[derive(Debug)]
pub(crate) struct ConnectError(String);

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

type Result<T> = std::result::Result<T, ConnectError>;

fn because(what: impl fmt::Display, error: &io::Error) -> ConnectError {
    let error = error.to_string();
    // The number of a system error says nothing to a person.
    ConnectError(format!("{what}: {}", error.split(" (os error").next().unwrap_or_default()))
}

/// Talks until the input has ended and the server has closed, or was silent for long enough. The status is 0 if every line
/// could be sent.
pub(crate) fn connect(options: &ConnectOptions) -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| because("the runtime cannot be started", &error))?;
    let status = match typing() {
        Some(Typing { lines, mut screen, before }) => {
            let status = runtime.block_on(converse(options, Input::<tokio::io::Stdin>::Typed(lines), &mut screen));
            drop(before);
            status
        }
        None => runtime.block_on(converse(options, Input::piped(tokio::io::stdin()), &mut io::stdout())),
    };
    // A thread may still wait for a line of the terminal.
    runtime.shutdown_background();
    status
}

async fn converse(options: &ConnectOptions, input: Input<impl AsyncRead + Unpin>, out: &mut impl Write) -> Result<u8> {
    let failed = |error: io::Error| because(format_args!("cannot connect to {}", options.address), &error);
    match &options.address {
        Endpoint::Tcp(at) => {
            let stream = TcpStream::connect((at.host.as_str(), at.port)).await.map_err(failed)?;
            // A line that a person typed should not wait for the next one.
            let _ = stream.set_nodelay(true);
            let (reader, writer) = stream.into_split();
            talk((reader, writer), input, options, out).await
        }
        Endpoint::Unix(path) => {
            let (reader, writer) = UnixStream::connect(path).await.map_err(failed)?.into_split();
            talk((reader, writer), input, options, out).await
        }
        Endpoint::Udp(at) => {
            let address = lookup_host((at.host.as_str(), at.port)).await.map_err(failed)?.next();
            let address = address.ok_or_else(|| failed(io::Error::other("the host has no address")))?;
            let any: SocketAddr = if address.is_ipv4() { ([0; 4], 0).into() } else { ([0; 16], 0).into() };
            let socket = UdpSocket::bind(any).await.map_err(failed)?;
            socket.connect(address).await.map_err(failed)?;
            exchange(&Datagrams::Udp(socket), input, options, out).await
        }
        Endpoint::Unixgram(path) => {
            let own = OwnPath::new();
            let socket = UnixDatagram::bind(&own.0).map_err(|error| because(own.0.display(), &error))?;
            socket.connect(path).map_err(failed)?;
            exchange(&Datagrams::Unix(socket), input, options, out).await
        }
        Endpoint::Tls(at) => Err(ConnectError(format!(
            "cannot connect to {}: this client does not speak TLS; openssl s_client -connect {at} does",
            options.address
        ))),
        Endpoint::Systemd(name) => Err(ConnectError(format!(
            "cannot connect to {}: {name:?} is a name within its server; use the socket's own address (systemctl status shows it)",
            options.address
        ))),
        Endpoint::Memory(_) => Err(ConnectError(format!(
            "cannot connect to {}: mem does not reach beyond its own process; tcp, udp, unix and unixgram do",
            options.address
        ))),
        other => Err(ConnectError(format!(
            "cannot connect to {other}: {:?} is not a transport of this client; tcp, udp, unix and unixgram are",
            other.scheme()
        ))),
    }
}

/// The messages to send: lines.
enum Input<R> {
    /// Of a pipe or a file.
    Piped {
        lines: BufReader<R>,
        /// The beginning of a line, kept where a wait for the rest was given up.
        line: Vec<u8>,
    },
    /// Of a person, who edits them first.
    Typed(mpsc::Receiver<String>),
}

impl<R: AsyncRead + Unpin> Input<R> {
    fn piped(reader: R) -> Self {
        Self::Piped { lines: BufReader::new(reader), line: Vec::new() }
    }

    fn is_typed(&self) -> bool {
        matches!(self, Self::Typed(_))
    }

    /// The next line without its line feed; `None` at the end. Cancel safe.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        match self {
            Self::Typed(lines) => Ok(lines.recv().await.map(Bytes::from)),
            Self::Piped { lines, line } => {
                let read = lines.read_until(b'\n', line).await;
                read.map_err(|error| because("standard input cannot be read", &error))?;
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

/// Prints a reply as its bytes, on a line of its own, at once.
fn print(out: &mut impl Write, reply: &[u8]) -> Result<()> {
    let end: &[u8] = if reply.ends_with(b"\n") { b"" } else { b"\n" };
    let written = out.write_all(reply).and_then(|()| out.write_all(end)).and_then(|()| out.flush());
    written.map_err(|error| because("standard output cannot be written", &error))
}

fn complain(what: &str) {
    let _ = writeln!(io::stderr().lock(), "error: {what}");
}
