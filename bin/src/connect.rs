//! `switchboard connect`: a client. A line of standard input is a message, a reply is a line of standard output.
//!
//! It knows addresses and framings, and nothing of the server's configuration. What comes is printed as its bytes.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use switchboard::Endpoint;
use switchboard::framing::{AnyCodec, AnyFraming, Framing};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UdpSocket, UnixDatagram, UnixStream, lookup_host};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::codec::{Decoder, Encoder};

use crate::cli::ConnectOptions;

/// How long a server has to greet before the first message of a pipe is sent.
const GREETING: Duration = Duration::from_millis(250);
/// What one read can bring.
const CHUNK: usize = 64 * 1024;
/// The largest reply that is taken. The buffer grows with what comes.
const LARGEST: usize = 1 << 30;

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
    let input = Input::new(tokio::io::stdin(), io::stdin().is_terminal());
    let status = runtime.block_on(converse(options, input, &mut io::stdout()));
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
        Endpoint::Systemd(_) => Err(ConnectError(format!(
            "cannot connect to {}: {} is not in this build",
            options.address,
            options.address.scheme()
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
struct Input<R> {
    lines: BufReader<R>,
    is_terminal: bool,
    /// The beginning of a line, kept where a wait for the rest was given up.
    line: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Input<R> {
    fn new(reader: R, is_terminal: bool) -> Self {
        Self { lines: BufReader::new(reader), is_terminal, line: Vec::new() }
    }

    /// The next line without its line feed; `None` at the end. Cancel safe.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let read = self.lines.read_until(b'\n', &mut self.line).await;
        read.map_err(|error| because("standard input cannot be read", &error))?;
        let mut line = std::mem::take(&mut self.line);
        if line.last() == Some(&b'\n') {
            line.pop();
        } else if line.is_empty() {
            return Ok(None);
        }
        Ok(Some(line.into()))
    }
}

/// What the side that prints tells the side that sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Heard {
    /// Bytes that came so far.
    bytes: u64,
    /// Whether the server has closed.
    closed: bool,
}

/// A conversation over a connection.
async fn talk<R, W>(
    (reader, mut writer): (R, W),
    mut input: Input<impl AsyncRead + Unpin>,
    options: &ConnectOptions,
    out: &mut impl Write,
) -> Result<u8>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (heard, ears) = watch::channel(Heard::default());
    let codec = options.framing.codec(LARGEST);
    let mut unsent = false;
    let send = send_lines(&mut writer, &mut input, ears.clone(), options, &mut unsent);
    let listen = print_replies(reader, codec, &heard, out);
    let mut listen = Box::pin(listen);
    let sent = {
        tokio::pin!(send);
        tokio::select! {
            // The server closed first, or what it sends is no message.
            listened = &mut listen => Err(listened),
            sent = &mut send => Ok(sent?),
        }
    };
    let status = u8::from(unsent);
    if let Err(listened) = sent {
        return listened.map(|()| status);
    }
    // It is our turn to be silent; the server may have more to say.
    let quiet = async {
        let mut ears = ears;
        while let Ok(Ok(())) = timeout(options.wait, ears.changed()).await {}
    };
    tokio::select! {
        listened = &mut listen => listened.map(|()| status),
        () = quiet => Ok(status),
    }
}

/// Sends every line as a message, then closes our side.
async fn send_lines(
    writer: &mut (impl AsyncWrite + Unpin),
    input: &mut Input<impl AsyncRead + Unpin>,
    mut ears: watch::Receiver<Heard>,
    options: &ConnectOptions,
    unsent: &mut bool,
) -> Result<()> {
    // In raw framing a message is what one read brings. A pipe is faster than the network, so its lines would come as one
    // message, and the first of them before the greeting; a person at a terminal leaves time enough.
    let one_by_one = matches!(options.framing, AnyFraming::Raw(_)) && !input.is_terminal;
    let (mut codec, mut buffer) = (options.framing.codec(LARGEST), BytesMut::new());
    if one_by_one {
        let _ = timeout(GREETING, ears.changed()).await;
    }
    while let Some(line) = input.next().await? {
        if let Err(error) = codec.encode(line, &mut buffer) {
            complain(&format!("a line was not sent: {error}"));
            buffer.clear();
            *unsent = true;
            continue;
        }
        if buffer.is_empty() {
            continue;
        }
        ears.mark_unchanged();
        if let Err(error) = writer.write_all(&buffer).await {
            return gone(&error);
        }
        buffer.clear();
        if one_by_one {
            let _ = timeout(options.wait, ears.changed()).await;
        }
    }
    match writer.shutdown().await {
        Ok(()) => Ok(()),
        Err(error) => gone(&error),
    }
}

/// Writing failed. Where that is because the server has closed, the side that reads ends the conversation, after what is
/// still to be printed.
fn gone(error: &io::Error) -> Result<()> {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected => Ok(()),
        _ => Err(because("cannot send", error)),
    }
}

/// Prints every reply until the server closes.
async fn print_replies(
    mut reader: impl AsyncRead + Unpin,
    mut codec: AnyCodec,
    heard: &watch::Sender<Heard>,
    out: &mut impl Write,
) -> Result<()> {
    let mut buffer = BytesMut::new();
    let broken = |error| ConnectError(format!("a reply is not a message of this framing: {error}"));
    loop {
        // In raw framing a reply is what one read brings, so there must be room for it.
        buffer.reserve(CHUNK);
        let count = match reader.read_buf(&mut buffer).await {
            Ok(count) => count,
            // It closed while something of ours was still under way.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            Err(error) => return Err(because("cannot receive", &error)),
        };
        while !buffer.is_empty() {
            let decoded = if count == 0 { codec.decode_eof(&mut buffer) } else { codec.decode(&mut buffer) };
            match decoded.map_err(broken)? {
                Some(reply) => print(out, &reply)?,
                None => break,
            }
        }
        heard.send_modify(|heard| {
            heard.bytes += count as u64;
            heard.closed = count == 0;
        });
        if count == 0 {
            return Ok(());
        }
    }
}

/// A socket whose messages are datagrams.
enum Datagrams {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Datagrams {
    async fn send(&self, message: &[u8]) -> io::Result<usize> {
        match self {
            Self::Udp(socket) => socket.send(message).await,
            Self::Unix(socket) => socket.send(message).await,
        }
    }

    async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Udp(socket) => socket.recv(buffer).await,
            Self::Unix(socket) => socket.recv(buffer).await,
        }
    }
}

/// A conversation in datagrams: it ends when the input has ended and nothing more came for long enough.
async fn exchange(
    socket: &Datagrams,
    mut input: Input<impl AsyncRead + Unpin>,
    options: &ConnectOptions,
    out: &mut impl Write,
) -> Result<u8> {
    let mut buffer = vec![0; 65_536];
    let (mut open, mut status) = (true, 0);
    let mut silent_at = Instant::now();
    loop {
        tokio::select! {
            line = input.next(), if open => match line? {
                None => {
                    open = false;
                    silent_at = Instant::now() + options.wait;
                }
                Some(line) => {
                    let sent = match options.framing.datagram_out(line) {
                        Ok(datagram) => socket.send(&datagram).await.map_err(|error| refused(&error, options)),
                        Err(error) => Err(ConnectError(error.to_string())),
                    };
                    if let Err(error) = sent {
                        complain(&format!("a line was not sent: {error}"));
                        status = 1;
                    }
                }
            },
            received = socket.receive(&mut buffer) => match received {
                Ok(count) => {
                    let reply = options.framing.datagram_in(Bytes::copy_from_slice(&buffer[..count]));
                    print(out, &reply.map_err(|error| ConnectError(error.to_string()))?)?;
                    silent_at = Instant::now() + options.wait;
                }
                Err(error) => return Err(refused(&error, options)),
            },
            () = tokio::time::sleep_until(silent_at), if !open => return Ok(status),
        }
    }
}

fn refused(error: &io::Error, options: &ConnectOptions) -> ConnectError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ConnectError(format!("nobody listens on {}", options.address)),
        _ => because(&options.address, error),
    }
}

/// A path of our own, for the answers of a Unix datagram socket. It is gone when we are.
struct OwnPath(PathBuf);

impl OwnPath {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("switchboard-connect-{}.sock", std::process::id()));
        // One that an earlier process of this number left behind.
        let _ = std::fs::remove_file(&path);
        Self(path)
    }
}

impl Drop for OwnPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
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

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex, split};

    use super::*;

    fn options(framing: &str) -> ConnectOptions {
        let framing = crate::config::read_framing(framing).unwrap();
        ConnectOptions { address: "tcp://127.0.0.1:1".parse().unwrap(), framing, wait: Duration::from_secs(1) }
    }

    /// What is printed when these lines meet this server.
    async fn printed<F>(
        lines: &'static str,
        framing: &str,
        server: impl FnOnce(DuplexStream) -> F,
    ) -> (Result<u8>, String)
    where
        F: Future<Output = Vec<String>> + Send + 'static,
    {
        let (near, far) = duplex(4096);
        let server = tokio::spawn(server(far));
        let mut out = Vec::new();
        let input = Input::new(lines.as_bytes(), false);
        let status = talk(split(near), input, &options(framing), &mut out).await;
        let reads = server.await.unwrap();
        (status, format!("{}|{}", reads.join(","), String::from_utf8_lossy(&out)))
    }

    /// Greets after a while, answers each read slowly, and tells what each read brought.
    async fn slow(mut far: DuplexStream) -> Vec<String> {
        let mut reads = Vec::new();
        let mut buffer = [0; 64];
        tokio::time::sleep(Duration::from_millis(100)).await;
        far.write_all(b"welcome!").await.unwrap();
        while let Ok(count @ 1..) = far.read(&mut buffer).await {
            reads.push(String::from_utf8_lossy(&buffer[..count]).into_owned());
            tokio::time::sleep(Duration::from_millis(300)).await;
            if reads.last().is_some_and(|read| read == "exit") {
                break;
            }
            far.write_all(b"ok").await.unwrap();
        }
        reads
    }

    #[tokio::test(start_paused = true)]
    async fn lines_of_a_pipe_are_not_glued_together_in_raw_framing() {
        let (status, text) = printed("a\nb\nc\n", "raw", slow).await;
        assert_eq!((status.unwrap(), text.as_str()), (0, "a,b,c|welcome!\nok\nok\nok\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_closes_first_ends_it() {
        let (status, text) = printed("a\nexit\nnever\n", "raw", slow).await;
        assert_eq!((status.unwrap(), text.as_str()), (0, "a,exit|welcome!\nok\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_end_of_input_it_waits_for_silence() {
        let (status, text) = printed("a\nb", "lines", |mut far| async move {
            let mut got = String::new();
            far.read_to_string(&mut got).await.unwrap();
            for reply in ["one\n", "two\n", "three\n"] {
                tokio::time::sleep(Duration::from_millis(700)).await;
                far.write_all(reply.as_bytes()).await.unwrap();
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
            vec![got]
        })
        .await;
        assert_eq!((status.unwrap(), text.as_str()), (0, "a\nb\n|one\ntwo\nthree\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_that_is_no_message_and_a_line_that_is_none_are_told() {
        let (status, text) = printed("nonsense\n1\n", "json-lines", |mut far| async move {
            let mut got = String::new();
            far.read_to_string(&mut got).await.unwrap();
            vec![got]
        })
        .await;
        assert_eq!((status.unwrap(), text.as_str()), (1, "1\n|"));
        let (status, _) = printed("1\n", "json-lines", |mut far| async move {
            far.write_all(b"nonsense\n").await.unwrap();
            Vec::new()
        })
        .await;
        assert!(status.unwrap_err().to_string().starts_with("a reply is not a message of this framing"));
    }

    #[test]
    fn a_reply_is_printed_as_its_bytes_on_a_line_of_its_own() {
        let mut out = Vec::new();
        print(&mut out, b"\xff\xfe").unwrap();
        print(&mut out, b"line\n").unwrap();
        print(&mut out, b"").unwrap();
        assert_eq!(out, b"\xff\xfe\nline\n\n");
    }
}
