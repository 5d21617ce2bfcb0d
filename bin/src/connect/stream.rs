//! A session over a stream connection.

use std::io::{self, Write};
use std::time::Duration;

use bytes::BytesMut;
use switchboard::framing::{AnyCodec, Framing};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::codec::{Decoder, Encoder};

use crate::cli::ConnectOptions;
use crate::connect::io::{Input, Result, failed, print_reply, print_unsent};

/// Wait for a greeting before the first message of a pipe.
const GREETING_TIMEOUT: Duration = Duration::from_millis(250);
/// Maximum size of one read.
const READ_SIZE: usize = 64 * 1024;
/// Maximum size of a message. Buffers grow with the data.
const MAX_MESSAGE: usize = 1 << 30;

pub(super) async fn run(
    stream: impl AsyncRead + AsyncWrite,
    mut input: Input<impl AsyncRead + Unpin>,
    options: &ConnectOptions,
    out: &mut impl Write,
) -> Result<u8> {
    let (reader, mut writer) = split(stream);
    let (read_done, mut reads) = watch::channel(());
    let codec = options.framing.codec(MAX_MESSAGE);
    let mut status = 0;
    let mut receiving = Box::pin(receive(reader, codec, &read_done, out));
    tokio::select! {
        // The server closed first, or a reply was invalid.
        received = &mut receiving => return received.map(|()| status),
        sent = send(&mut writer, &mut input, reads.clone(), options, &mut status) => sent?,
    }
    let silence = async { while let Ok(Ok(())) = timeout(options.wait, reads.changed()).await {} };
    tokio::select! {
        received = &mut receiving => received.map(|()| status),
        () = silence => Ok(status),
    }
}

/// Sends every line as a message, then closes the sending side. Sets the status to 1 if a line cannot be encoded.
async fn send(
    writer: &mut (impl AsyncWrite + Unpin),
    input: &mut Input<impl AsyncRead + Unpin>,
    mut reads: watch::Receiver<()>,
    options: &ConnectOptions,
    status: &mut u8,
) -> Result<()> {
    // With raw framing each read of the server is one message. Lines of a pipe would arrive in one read, and the first
    // one before the greeting, so wait for a reply to each.
    let waits_for_replies = options.framing.name() == "raw" && matches!(input, Input::Piped(..));
    let (mut codec, mut buffer) = (options.framing.codec(MAX_MESSAGE), BytesMut::new());
    if waits_for_replies {
        let _ = timeout(GREETING_TIMEOUT, reads.changed()).await;
    }
    while let Some(line) = input.next().await? {
        if let Err(error) = codec.encode(line, &mut buffer) {
            print_unsent(error);
            buffer.clear();
            *status = 1;
            continue;
        }
        if buffer.is_empty() {
            continue;
        }
        reads.mark_unchanged();
        if let Err(error) = writer.write_all(&buffer).await {
            return ignore_closed(&error);
        }
        buffer.clear();
        if waits_for_replies {
            let _ = timeout(options.wait, reads.changed()).await;
        }
    }
    writer.shutdown().await.or_else(|error| ignore_closed(&error))
}

/// If the server has closed, the receiving side ends the session, after it has printed the remaining replies.
fn ignore_closed(error: &io::Error) -> Result<()> {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected => Ok(()),
        _ => Err(failed("cannot send", error)),
    }
}

/// Prints every reply until the server closes. Notifies `read_done` after each read.
async fn receive(
    mut reader: impl AsyncRead + Unpin,
    mut codec: AnyCodec,
    read_done: &watch::Sender<()>,
    out: &mut impl Write,
) -> Result<()> {
    let mut buffer = BytesMut::new();
    let invalid = |error| format!("a reply is invalid for this framing: {error}");
    loop {
        // With raw framing each read is one reply, so the buffer needs space for it.
        buffer.reserve(READ_SIZE);
        let count = match reader.read_buf(&mut buffer).await {
            Ok(count) => count,
            // The server closed before it had read all messages.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            Err(error) => return Err(failed("cannot receive", &error)),
        };
        while !buffer.is_empty() {
            let decoded = if count == 0 { codec.decode_eof(&mut buffer) } else { codec.decode(&mut buffer) };
            match decoded.map_err(invalid)? {
                Some(reply) => print_reply(out, &reply)?,
                None => break,
            }
        }
        read_done.send_replace(());
        if count == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{BufReader, DuplexStream, duplex};

    use super::*;

    fn options(framing: &str) -> ConnectOptions {
        let framing = crate::config::read_framing(framing).unwrap();
        ConnectOptions { address: "tcp://127.0.0.1:1".parse().unwrap(), framing, wait: Duration::from_secs(1) }
    }

    /// Runs a session with these lines and this server; returns what the server read and what was printed.
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
        let input = Input::Piped(BufReader::new(lines.as_bytes()), Vec::new());
        let status = run(near, input, &options(framing), &mut out).await;
        let reads = server.await.unwrap();
        (status, format!("{}|{}", reads.join(","), String::from_utf8_lossy(&out)))
    }

    /// Sends a greeting after a while, replies slowly to each read, and returns the reads.
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
        assert!(status.unwrap_err().starts_with("a reply is invalid for this framing"));
    }
}
