//! A datagram socket that sends messages and measures their replies, one at a time: replies have no numbers, so that a
//! lost one could not be noticed among several.

use std::cell::RefCell;
use std::io;

use bytes::Bytes;
use switchboard::framing::Framing;
use tokio::time::{Instant, timeout_at};

use super::arrivals::Source;
use super::load::Load;
use super::results::{Error, Kind, Results, wrong_size};
use crate::dial::DatagramSocket;
use crate::exit;

/// The largest datagram.
const MAX_DATAGRAM: usize = 65_536;

/// Runs until the source is finished. Counts the message of an error. A late reply must not be taken for that of the
/// next message, so the socket cannot be used after an error.
pub(super) async fn run(
    socket: &mut DatagramSocket,
    source: &mut Source,
    load: &Load,
    results: &RefCell<Results>,
) -> Result<(), ()> {
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let Some(due) = source.take() else {
            if source.is_finished() {
                return Ok(());
            }
            source.changed().await;
            continue;
        };
        let exchanged = exchange(socket, load, &mut buffer).await;
        let mut results = results.borrow_mut();
        match exchanged {
            Ok((sent, received)) => results.answered(due, Instant::now(), sent, received),
            Err(error) => {
                // The replies have the right number, so that the socket is still usable.
                let is_usable = error.kind == Kind::WrongSize;
                results.failed(1, error);
                if !is_usable {
                    return Err(());
                }
            }
        }
    }
}

/// Sends a message and receives its replies. Returns the sizes of both.
async fn exchange(socket: &mut DatagramSocket, load: &Load, buffer: &mut [u8]) -> Result<(usize, usize), Error> {
    let datagram = load.framing.datagram_out(load.message.clone());
    let datagram = datagram.map_err(|error| Error::new(Kind::Io, format!("a message cannot be encoded: {error}")))?;
    let deadline = Instant::now() + load.timeout;
    socket.send(&datagram).await.map_err(|error| failed(&error, load, datagram.len()))?;
    let (mut received, mut wrong) = (0, None);
    for _ in 0..load.replies {
        let reply = timeout_at(deadline, socket.receive(buffer)).await;
        let reply = reply.map_err(|_| {
            let hint = "it was lost, or the server does not answer this message";
            Error::new(Kind::Timeout, format!("no reply within {:?}; {hint}", load.timeout))
        })?;
        let count = reply.map_err(|error| failed(&error, load, datagram.len()))?;
        received += count;
        let reply = load.framing.datagram_in(Bytes::copy_from_slice(&buffer[..count]));
        let reply = reply.map_err(|error| Error::new(Kind::InvalidReply, format!("a reply is invalid: {error}")))?;
        if load.reply_size.is_some_and(|expected| reply.len() != expected) {
            wrong = Some(reply.len());
        }
    }
    wrong.map_or(Ok((datagram.len(), received)), |size| Err(wrong_size(size, load)))
}

fn failed(error: &io::Error, load: &Load, size: usize) -> Error {
    let address = &load.server.address;
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::new(Kind::Connect, format!("nothing is listening on {address}")),
        _ => Error::new(Kind::Io, format!("a datagram of {size} bytes to {address} failed: {}", exit::reason(error))),
    }
}
