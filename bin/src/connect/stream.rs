//! A conversation over a connection.

use std::io::{self, Write};
use std::time::Duration;

use bytes::BytesMut;
use switchboard::framing::{AnyCodec, Framing};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::codec::{Decoder, Encoder};

use super::{ConnectError, Input, Result, because, complain, print};
use crate::cli::ConnectOptions;

/// How long a server has to greet before the first message of a pipe is sent.
const GREETING: Duration = Duration::from_millis(250);
/// What one read can bring.
const CHUNK: usize = 64 * 1024;
/// The largest reply that is taken. The buffer grows with what comes.
const LARGEST: usize = 1 << 30;

/// What the side that prints tells the side that sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Heard {
    /// Bytes that came so far.
    bytes: u64,
    /// Whether the server has closed.
    closed: bool,
}

/// Talks until either side has had its last word.
pub(super) async fn talk<R, W>(
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
    let one_by_one = options.framing.name() == "raw" && !input.is_typed();
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
        let input = Input::piped(lines.as_bytes());
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
