//! A session over a stream connection.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use switchboard::Endpoint;
use switchboard::framing::{AnyCodec, Framing};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::codec::{Decoder, Encoder};

use super::session::{Ended, Input, Printer, Result, Target, failed, print_reply, print_unsent};
use crate::dial::sent_tls_alert;
use crate::exit;

/// Wait for a greeting before the first message of a pipe.
const GREETING_TIMEOUT: Duration = Duration::from_millis(250);
/// On a terminal without --framing, the silence after which a part of a line is printed.
const PART_TIMEOUT: Duration = Duration::from_millis(250);
/// A hint for a server that sent nothing.
const NO_REPLY_TO_RAW: &str = "note: the server sent nothing; the framing raw sends no line ends, so for a server that \
                               reads lines use --framing lines\n";
/// Maximum size of one read.
const READ_SIZE: usize = 64 * 1024;
/// Maximum size of a message. Buffers grow with the data.
const MAX_MESSAGE: usize = 16 << 20;

pub(super) async fn run(
    stream: impl AsyncRead + AsyncWrite,
    mut input: Input<impl AsyncRead + Unpin>,
    target: &Target,
    out: &mut impl Printer,
) -> Result<Ended> {
    let (reader, mut writer) = split(stream);
    let (read_done, mut reads) = watch::channel(());
    let received = reads.clone();
    let (mut has_unsent, mut has_sent) = (false, false);
    let is_piped = matches!(input, Input::Piped(..));
    let mut receiving = Box::pin(receive(reader, target, &read_done, out));
    tokio::select! {
        // The server closed first, or a reply was invalid.
        received = &mut receiving => return received.map(|()| Ended { has_unsent, by_server: true }),
        sent = send(&mut writer, &mut input, reads.clone(), target, (&mut has_sent, &mut has_unsent)) => sent?,
    }
    let silence = async { while let Ok(Ok(())) = timeout(target.wait, reads.changed()).await {} };
    tokio::select! {
        received = &mut receiving => received?,
        () = silence => {
            let is_silent = received.has_changed().is_ok_and(|has_changed| !has_changed);
            if is_silent && has_sent && is_piped && target.framing.name() == "raw" {
                exit::print_error(NO_REPLY_TO_RAW);
            }
        }
    }
    Ok(Ended { has_unsent, by_server: false })
}

/// Sends every line as a message, then closes the sending side.
async fn send(
    writer: &mut (impl AsyncWrite + Unpin),
    input: &mut Input<impl AsyncRead + Unpin>,
    mut reads: watch::Receiver<()>,
    target: &Target,
    (has_sent, has_unsent): (&mut bool, &mut bool),
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
            *has_unsent = true;
            continue;
        }
        if buffer.is_empty() {
            continue;
        }
        reads.mark_unchanged();
        // TLS keeps what does not fit into the buffer of the socket until it is flushed.
        let sent = async { writer.write_all(&buffer).await.and(writer.flush().await) };
        if let Err(error) = sent.await {
            return ignore_closed(&error, target);
        }
        buffer.clear();
        *has_sent = true;
        if waits_for_replies {
            let _ = timeout(target.wait, reads.changed()).await;
        }
    }
    writer.shutdown().await.or_else(|error| ignore_closed(&error, target))
}

/// If the server has closed, the receiving side ends the session, after it has printed the remaining replies.
fn ignore_closed(error: &io::Error, target: &Target) -> Result<()> {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected => Ok(()),
        _ => Err(broken("cannot send", error, target)),
    }
}

fn broken(context: &str, error: &io::Error, target: &Target) -> String {
    match &target.server.tls {
        Some(tls) => format!("{context}: {}", tls.explain(error)),
        None => failed(context, error),
    }
}

/// Prints every reply until the server closes. Notifies `read_done` after each read.
async fn receive(
    mut reader: impl AsyncRead + Unpin,
    target: &Target,
    read_done: &watch::Sender<()>,
    out: &mut impl Printer,
) -> Result<()> {
    let mut codec = target.framing.codec(MAX_MESSAGE);
    let mut buffer = BytesMut::new();
    let mut is_first = true;
    let invalid = |error| format!("a reply is invalid for the framing {}: {error}", target.framing.name());
    loop {
        // With raw framing each read is one reply, so the buffer needs space for it.
        buffer.reserve(READ_SIZE);
        let is_part = target.prints_parts && !buffer.is_empty();
        let read = reader.read_buf(&mut buffer);
        let read = if is_part { timeout(PART_TIMEOUT, read).await } else { Ok(read.await) };
        let count = match read {
            Ok(Ok(count)) => count,
            // The server closed before it had read all messages.
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            Ok(Err(error)) => return Err(broken("the connection failed", &error, target)),
            Err(_) => {
                print_reply(out, &buffer.split())?;
                // A codec may remember how far it has searched the buffer.
                codec = target.framing.codec(MAX_MESSAGE);
                continue;
            }
        };
        if is_first
            && let Endpoint::Tcp(at) = &target.server.address
            && sent_tls_alert(&buffer)
        {
            return Err(format!("the server sent a TLS alert, so it expects TLS; use tls://{at}"));
        }
        is_first = false;
        decode(&mut codec, &mut buffer, count == 0, out, invalid)?;
        read_done.send_replace(());
        if count == 0 {
            return Ok(());
        }
    }
}

/// Prints every whole message of the buffer.
fn decode(
    codec: &mut AnyCodec,
    buffer: &mut BytesMut,
    is_end: bool,
    out: &mut impl Printer,
    invalid: impl Fn(switchboard::framing::FrameError) -> String,
) -> Result<()> {
    while !buffer.is_empty() {
        let decoded = if is_end { codec.decode_eof(buffer) } else { codec.decode(buffer) };
        match decoded.map_err(&invalid)? {
            Some(reply) => print_reply(out, &reply)?,
            None => break,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
