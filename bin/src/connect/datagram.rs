//! A session over datagrams.

use std::io::{self, Write};

use bytes::Bytes;
use switchboard::framing::Framing;
use tokio::io::AsyncRead;
use tokio::net::{UdpSocket, UnixDatagram};
use tokio::time::{Instant, sleep_until};

use crate::connect::io::{self as session, Input, Result, Target, print_reply, print_unsent};

pub(super) enum DatagramSocket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl DatagramSocket {
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

/// Runs until the input has ended and no reply arrived for `--wait`.
pub(super) async fn run(
    socket: &DatagramSocket,
    mut input: Input<impl AsyncRead + Unpin>,
    target: &Target,
    out: &mut impl Write,
) -> Result<u8> {
    let mut buffer = vec![0; 65_536];
    let (mut is_open, mut status, mut deadline) = (true, 0, Instant::now());
    loop {
        tokio::select! {
            line = input.next(), if is_open => match line? {
                None => (is_open, deadline) = (false, Instant::now() + target.wait),
                Some(line) => {
                    if let Err(error) = send(socket, line, target).await {
                        print_unsent(error);
                        status = 1;
                    }
                }
            },
            received = socket.receive(&mut buffer) => {
                let count = received.map_err(|error| failed(&error, target))?;
                let reply = target.framing.datagram_in(Bytes::copy_from_slice(&buffer[..count]));
                print_reply(out, &reply.map_err(|error| error.to_string())?)?;
                deadline = Instant::now() + target.wait;
            }
            () = sleep_until(deadline), if !is_open => return Ok(status),
        }
    }
}

async fn send(socket: &DatagramSocket, line: Bytes, target: &Target) -> Result<()> {
    let datagram = target.framing.datagram_out(line).map_err(|error| error.to_string())?;
    socket.send(&datagram).await.map_err(|error| failed(&error, target))?;
    Ok(())
}

fn failed(error: &io::Error, target: &Target) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("nothing is listening on {}", target.address),
        _ => session::failed(&target.address, error),
    }
}
