//! A session over a stream connection.

use std::io::{self, Write};
use std::time::Duration;

use bytes::BytesMut;
use switchboard::framing::{AnyCodec, Framing};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::codec::{Decoder, Encoder};

use crate::connect::io::{Input, Result, Target, failed, print_reply, print_unsent};

/// Wait for a greeting before the first message of a pipe.
const GREETING_TIMEOUT: Duration = Duration::from_millis(250);
/// Maximum size of one read.
const READ_SIZE: usize = 64 * 1024;
/// Maximum size of a message. Buffers grow with the data.
const MAX_MESSAGE: usize = 16 << 20;

pub(super) async fn run(
    stream: impl AsyncRead + AsyncWrite,
    mut input: Input<impl AsyncRead + Unpin>,
    target: &Target,
    out: &mut impl Write,
) -> Result<u8> {
    let (reader, mut writer) = split(stream);
    let (read_done, mut reads) = watch::channel(());
    let codec = target.framing.codec(MAX_MESSAGE);
    let mut status = 0;
    let mut receiving = Box::pin(receive(reader, codec, &read_done, out));
    tokio::select! {
        // The server closed first, or a reply was invalid.
        received = &mut receiving => return received.map(|()| status),
        sent = send(&mut writer, &mut input, reads.clone(), target, &mut status) => sent?,
    }
    let silence = async { while let Ok(Ok(())) = timeout(target.wait, reads.changed()).await {} };
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
    target: &Target,
    status: &mut u8,
) -> Result<()> {
    // With raw framing each read of the server is one message. Lines of a pipe would arrive in one read, and the first
    // one before the greeting, so wait for a reply to each.
    let waits_for_replies = target.framing.name() == "raw" && matches!(input, Input::Piped(..));
    let (mut codec, mut buffer) = (target.framing.codec(MAX_MESSAGE), BytesMut::new());
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
            let _ = timeout(target.wait, reads.changed()).await;
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
mod tests;
