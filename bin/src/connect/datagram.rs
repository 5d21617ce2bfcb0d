//! A session over datagrams.

use std::io;

use bytes::Bytes;
use switchboard::framing::Framing;
use tokio::io::AsyncRead;
use tokio::time::{Instant, sleep_until};

use super::session::{Ended, Input, Printer, Result, Target, failed, print_reply, print_unsent};
use crate::dial::DatagramSocket;

/// Datagrams that are sent again to the next address of the host, if there is no server at the first one.
const KEPT: usize = 16;
/// The largest datagram.
const MAX_DATAGRAM: usize = 65_536;

/// Runs until the input has ended and no reply arrived for `--wait`.
pub(super) async fn run(
    socket: &mut DatagramSocket,
    mut input: Input<impl AsyncRead + Unpin>,
    target: &Target,
    out: &mut impl Printer,
) -> Result<Ended> {
    let mut buffer = vec![0; MAX_DATAGRAM];
    let (mut is_open, mut ended, mut deadline) = (true, Ended::default(), Instant::now());
    // Until the first reply.
    let mut unanswered = Some(Vec::new());
    loop {
        let result = tokio::select! {
            line = input.next(), if is_open => match line? {
                None => {
                    (is_open, deadline) = (false, Instant::now() + target.wait);
                    Ok(())
                }
                Some(line) => match target.framing.datagram_out(line) {
                    Ok(datagram) => {
                        if let Some(kept) = unanswered.as_mut().filter(|kept| kept.len() < KEPT) {
                            kept.push(datagram.clone());
                        }
                        send(socket, &datagram, target).await
                    }
                    Err(error) => Err(SendError::Unsent(error.to_string())),
                },
            },
            received = socket.receive(&mut buffer) => match received {
                Ok(count) => {
                    let reply = target.framing.datagram_in(Bytes::copy_from_slice(&buffer[..count]));
                    print_reply(out, &reply.map_err(|error| error.to_string())?)?;
                    (unanswered, deadline) = (None, Instant::now() + target.wait);
                    Ok(())
                }
                Err(error) => Err(SendError::of(error)),
            },
            () = sleep_until(deadline), if !is_open => return Ok(ended),
        };
        match result {
            Ok(()) => {}
            Err(SendError::Refused) => {
                try_next_address(socket, unanswered.as_deref(), target).await?;
                deadline = Instant::now() + target.wait;
            }
            Err(SendError::Unsent(reason)) => {
                print_unsent(reason);
                ended.has_unsent = true;
            }
            Err(SendError::Failed(error)) => return Err(failed(&target.server.address, &error)),
        }
    }
}

enum SendError {
    /// No server is listening at the address.
    Refused,
    Unsent(String),
    Failed(io::Error),
}

impl SendError {
    fn of(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            _ => Self::Failed(error),
        }
    }
}

/// Sends a datagram. A Unix server can be started again at its path, so its absence concerns only this datagram.
async fn send(socket: &DatagramSocket, datagram: &[u8], target: &Target) -> std::result::Result<(), SendError> {
    let Err(error) = socket.send(datagram).await else { return Ok(()) };
    Err(match SendError::of(error) {
        SendError::Refused if socket.address.is_none() => SendError::Unsent(nothing_listens(target)),
        SendError::Failed(error) => SendError::Unsent(failed(&target.server.address, &error)),
        other => other,
    })
}

fn nothing_listens(target: &Target) -> String {
    format!("nothing is listening on {}", target.server.address)
}

/// Sends the datagrams to the other addresses of the host, until one accepts them. After the first reply, the address
/// is the right one.
async fn try_next_address(socket: &mut DatagramSocket, unanswered: Option<&[Bytes]>, target: &Target) -> Result<()> {
    let unanswered = unanswered.ok_or_else(|| nothing_listens(target))?;
    'addresses: while socket.use_next_address().await {
        for datagram in unanswered {
            if send(socket, datagram, target).await.is_err() {
                continue 'addresses;
            }
        }
        return Ok(());
    }
    Err(nothing_listens(target))
}
